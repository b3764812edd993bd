"""Maps on the page: one scale for all, no pixel in the record, and beside them what they mean."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medssl.evaluation.saliency import Alike, Chosen, Frame, Map, Picture, Saliency, check
from medssl.reporting import page, saliency


def one(number, kind, high, **changes):
    chosen = Chosen(
        column="finding", kind=kind, patient_key=f"patient{number}", image_id=f"image{number:04d}",
        unit_score=0.9, score=0.8, repeat=0, fold=1, others=((1, 0),),
    )  # fmt: skip
    facts = {"low": 0.0, "high": high, "blank": high == 0, "slice": None,
             "random": Alike(ssim=0.1, rank=-0.2) if high else None, "other": None}  # fmt: skip
    return Map(chosen=chosen, **(facts | changes))


@pytest.fixture
def found():
    """Two maps of which one is blank, of images of 32 × 24 px."""
    image = np.linspace(-2, 2, 32 * 24).reshape(32, 24)
    cells = np.array([[0.0, 1.0], [2.0, 4.0]])
    return Saliency(
        reason="",
        most=2,
        frame=Frame(layer="layer4", input=(32, 24), grid=(2, 2), slices=None),
        shows={"finding": "finding: <b>sick</b>"},
        kinds=("true positive", "false positive"),
        maps=(one(1, "true positive", 4.0), one(2, "true positive", 0.0)),
        pictures=(
            Picture(image=image, cells=cells),
            Picture(image=np.zeros((32, 24)), cells=np.zeros((2, 2))),
        ),
        checks=(check("all weights random", [Alike(ssim=0.1, rank=-0.2)]),),
        verdict="hardly change",
        said="the maps hardly change with the weights: do not read them",
        repeatability="one training only: not assessed",
    )


def pixels(html):
    """The pictures of an HTML element, as arrays."""
    sources = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in sources]


def test_cells_are_drawn_as_they_are_on_one_scale(found):
    drawn = saliency.draw(found)
    assert list(drawn) == ["map-0", "map-1", "map-scale"]
    shown, coloured = pixels(drawn["map-0"])
    assert shown.shape == (160, 120)
    assert coloured.shape == (160, 120, 3)
    assert len(np.unique(coloured.reshape(-1, 3), axis=0)) == 4  # squares, nothing in between
    (scale,) = pixels(drawn["map-scale"])
    blank = pixels(drawn["map-1"])[1]
    assert (blank == scale[0, 0]).all()
    assert (coloured[:80, :60] == scale[0, 0]).all()
    assert (coloured[80:, 60:] == scale[0, -1]).all()
    assert found.scale == 4.0


def test_half_the_range_of_all_is_half_the_scale(found):
    weaker = replace(found.pictures[0], cells=found.pictures[0].cells / 4)
    both = replace(
        found,
        maps=(found.maps[0], one(3, "false positive", 1.0)),
        pictures=(found.pictures[0], weaker),
    )
    strong, weak = (pixels(saliency.draw(both)[f"map-{n}"])[1] for n in range(2))
    assert (weak[80:, 60:] == strong[:80, 60:]).all()  # 1 of 4 in both


def test_the_scale_can_be_told_in_grey(found):
    (scale,) = pixels(saliency.draw(found)["map-scale"])
    luminance = scale[0].astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(luminance) > 0).all()
    assert np.ptp(luminance) > 150


def test_a_large_picture_is_made_small(found):
    large = Picture(image=np.random.default_rng(0).random((500, 400)), cells=np.ones((4, 4)))
    drawn = saliency.draw(replace(found, maps=found.maps[:1], pictures=(large,)))["map-0"]
    assert [picture.shape[:2] for picture in pixels(drawn)] == [(160, 128)] * 2


def test_the_record_holds_numbers_and_no_pixel(found):
    record = saliency.record(found)
    assert saliency.record(None) is None
    assert record["frame"]["cell_px"] == [16, 12]
    assert record["scale"] == 4
    row = record["maps"][0]
    assert (row["image_id"], row["high"], row["random_ssim"], row["other_ssim"]) == (
        "image0001", 4, 0.1, None,
    )  # fmt: skip
    assert "pictures" not in record
    assert "others" not in row
    assert record["checks"][0]["ssim"] == {"median": 0.1, "low": 0.1, "high": 0.1}


@pytest.fixture
def shown(report, found):
    record = dict(report) | {"saliency": saliency.record(found)}
    return page.render(record, saliency.draw(found))


def test_the_page_says_what_a_map_is_worth(shown):
    assert "A map does not show where disease is." in shown
    assert "hardly change with the weights: do not read them" in shown
    assert "one training only: not assessed" in shown
    assert "2 × 2 cells of 16 × 12 px" in shown
    assert "cells 0 to 4" in shown
    assert "blank: nothing in it speaks for this" in shown
    assert "There is no false positive." in shown
    assert "&lt;b&gt;sick&lt;/b&gt;" in shown
    assert shown.count("data:image/png") == 5
    assert not re.search(r'src="(?!data:)', shown)


def test_there_is_no_pixel_unless_asked_for(report):
    assert report["saliency"] is None
    assert "data:image" not in page.render(report)


def test_a_page_without_maps_says_why(report):
    none = saliency.record(Saliency(reason="the archive is <gone>", most=3))
    drawn = page.render(dict(report) | {"saliency": none})
    assert "Maps are not drawn: the archive is &lt;gone&gt;." in drawn
    assert "data:image" not in drawn


def paths(value, path):
    """Yield the documented path of every value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, f"{path}.{'*' if path.endswith('shows') else key}")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from paths(inner, f"{path}[]")
    else:
        yield f"{path}[]" if isinstance(value, list) else path


def test_every_number_is_documented(found, repository):
    text = (repository / "docs" / "reference" / "report-json.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(saliency[^`]*)`", text, flags=re.MULTILINE))
    shown = set(paths(saliency.record(found), "saliency"))
    spread = {re.sub(r"(ssim|rank)\.(median|low|high)$", r"\1.*", path) for path in shown}
    assert spread <= told
    assert {path for path in told if "*" not in path} - spread == {
        "saliency", "saliency.frame", "saliency.checks[].ssim", "saliency.checks[].rank",
    }  # fmt: skip
