import copy
import re
from dataclasses import asdict

import html_outline
import pytest
from html_outline import listed, outline

from medssl.reporting import redundancy
from medssl.reporting.gallery import Pair, Strip
from medssl.thinning import cautions, retention
from medssl.thinning.retention import Stratum

HOSTILE = "<script>alert(1)</script>"
PAIR = Pair(
    source="data:image/png;base64,AAAA", other_source="data:image/png;base64,BBBB",
    image="abcdefgh", other_image="ijklmnop", similarity=0.90625, is_dropped=True,
)  # fmt: skip
STRIP = Strip(
    source="data:image/png;base64,CCCC", series="qrstuvwx", modality="CT", site=HOSTILE,
    slices=600, kept=40, first=61, last=540, kept_slices="1, 4-6",
)  # fmt: skip


def text_of(html):
    return re.sub(r" +([.,;:)])", r"\1", html_outline.text_of(html).replace("\xa0", " "))


def stratum(column, value, images=1000, kept=600, **more):
    row = Stratum(column=column, value=value, images=images, images_kept=kept,
                  **{"target": None, "n_values": 1, "images_left_out": 7, "patients": 30,
                     "patients_kept": 29, "is_low": False, **more})  # fmt: skip
    return asdict(row) | {"share": row.share}


def likeness(of, n, counts, **more):
    quantiles = dict(zip(retention.QUANTILES, (0.5, 0.6, 0.7, 0.8, 0.9), strict=True))
    return {"of": of, "n": n, "n_alone": 3, "quantiles": quantiles, "n_below": 2,
            "counts": counts, **more}  # fmt: skip


def shares(n):
    quantiles = dict(zip(retention.QUANTILES, (0.0, 0.1, 0.4, 0.8, 1.0), strict=True))
    return {"n": n, "n_without": 2, "quantiles": quantiles, "counts": [1] * 9 + [n - 9]}


def build(**more):
    record = {
        "medssl": "0.1.0",
        "counts": {
            "images": 12_507, "left_out": 507, "pool": 12_000, "kept": 4_000, "dropped": 8_000,
            "protected": 11, "floor": 13, "patients": 60, "patients_without": 2, "series": 70,
            "series_without": 5, "scopes": 70, "scopes_of_one": 1,
        },
        "cautions": [],
        "how": {
            "select": "leader", "within": "series", "keep": None, "budget": None,
            "approximate": {}, "is_control": False,
            "chain": [{"metric": "dhash", "is_likeness": True, "tau": 0.90625, "dropped": 8_000,
                       "similarity": {"min": 0.90625, "p5": 0.921875, "median": 0.953125}}],
        },
        "strata": [
            stratum("label", "1", target=HOSTILE, is_low=True, kept=100),
            stratum("label", None, target=HOSTILE),
            *(stratum("site", f"site{n:02d}", is_low=n == 18, kept=n) for n in range(20)),
            stratum("site", None, n_values=9),
        ],
        "lower": {"by": 0.1, "times": 2, "least_images": 20, "chance": 0.001},
        "shares": {"patients": shares(60), "series": shares(70)},
        "likeness": {
            "metric": "dhash", "tau": 0.90625, "drawn": 2_000,
            "edges": [k / 32 for k in range(33)],
            "before": likeness(12_000, 1_997, [0] * 31 + [1_995]),
            "after": likeness(4_000, 1_997, [0] * 28 + [1_995, 0, 0, 0]),
            "represented": likeness(8_000, 8_000, [0] * 29 + [8_000, 0, 0], n_alone=0),
        },
        "left_out": {"against": 1, "images": 507, "patients": 4, "of_their_patients": 500,
                     "probably_the_same": 7},
        "aliases": {"alias": 3, "shared": 1},
        "controls": ["controls/random-0", "controls/random-2"],
        "smoke": False,
        "archive": {"hash": "ab" * 32},
        "encoder": {"method": "vicreg"},
        "settings": {"within": "series", "shown": {"mask": True}},
        "notes": ["within series (auto)"],
        "warnings": [],
    }  # fmt: skip
    record |= more
    return record | {"cautions": cautions.find(record)}


@pytest.fixture(scope="module")
def record():
    return build()


@pytest.fixture(scope="module")
def html(record):
    return redundancy.render(record)


def test_the_page_needs_nothing_else_and_shows_no_pixels(html):
    parsed = outline(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert set(parsed.links) == {"#action"}
    assert "action" in parsed.ids
    assert len(set(parsed.ids)) == len(parsed.ids)
    for gone in ("@import", "url(", "data:"):
        assert gone not in html


def test_the_numbers_stand_there(html):
    text = text_of(html)
    assert "4 000 of 12 000 images kept" in text
    assert "33.3 % are kept, 8 000 dropped, 507 more left out beforehand" in text
    assert "Patients 58 of 60" in text
    assert "Series 65 of 70" in text
    assert "dhash 0.90625 8 000 0.90625 0.921875 0.953125" in text
    assert "3.00 times shorter" in text
    assert "medssl pretrain --budget-mode updates" in text
    assert "in controls/random-0 to controls/random-2" in text
    assert "Of each patient 60 2 0 % 10 % 40 % 80 % 100 %" in text
    assert "All, to the nearest other 1 997 0.500 0.600 0.700 0.800 0.900" in text
    assert "2 000 drawn at random from 12 000, and as many from the 4 000" in text
    assert "500 show a patient who is there, 7 are probably an image that is there" in text
    assert "3 pairs of patients share an image" in text
    assert "1 pair shares one that many patients have" in text
    assert "shown.mask True" in text


def test_a_marked_stratum_is_marked_in_words(html):
    rows = re.findall(r"<tr class=\"low\">.+?</tr>", html, flags=re.DOTALL)
    assert len(rows) == 2
    assert all("loses more" in row for row in rows)
    assert "10.0&nbsp;%" in rows[0]


def test_long_columns_are_cut_but_marked_rows_stay(html):
    text = text_of(html)
    assert "site13 1" in text
    assert "site14 1" not in text
    assert "site18 ▼ loses more" in text
    assert "6 more in report.json" in text  # of 21 with the rare ones, 14 and a marked one shown


def test_bars_are_as_long_as_their_shares_and_the_line_stands_at_that_of_all(html):
    widths = [float(found) for found in re.findall(r'class="kept" x="0" y="1" width="(.+?)"', html)]
    assert widths[:2] == [10, 60]
    lines = re.findall(r'class="overall" d="M(.+?) 0v10"', html)
    assert set(lines) == {f"{100 * 4000 / 12000:.2f}"}
    assert len(lines) == len(widths) == 17


def test_every_caution_stands_there(html, record):
    text = text_of(html)
    assert f"{len(record['cautions'])} points need attention" in text
    assert len(record["cautions"]) == 4
    for row in record["cautions"]:
        assert row["about"] in text
        assert re.sub(r"(\d),(\d{3})", r"\1 \2", row["text"]).replace("`", "") in text


def test_words_of_users_are_escaped(record):
    html = redundancy.render(record, [PAIR], [STRIP])
    assert HOSTILE not in html
    assert "&lt;script&gt;alert(1)" in html


def test_pixels_come_with_a_warning_and_captions(record):
    html = redundancy.render(record, [PAIR], [STRIP])
    parsed = outline(html)
    sources = [link for link in parsed.links if link != "#action"]
    assert sources == [PAIR.source, PAIR.other_source, STRIP.source]
    text = text_of(html)
    assert "This page shows pixels. They can tell who a patient is" in text
    assert "abcdefgh and ijklmnop similarity 0.90625" in text
    assert "Just alike enough" in text
    assert "both kept" not in text
    assert "qrstuvwx · 40 of 600 slices kept; slices 61 to 540 are shown" in text
    assert 'alt="Series qrstuvwx, kept slices: 1, 4-6"' in html


def test_a_reduction_that_measures_no_likeness_shows_none():
    bare = build(
        likeness=None, aliases=None, strata=[], controls=[],
        left_out=dict.fromkeys(build()["left_out"], 0),
    )  # fmt: skip
    text = text_of(redundancy.render(bare))
    for gone in ("How alike", "two ids", "What the selection gains", "Nearest the threshold"):
        assert gone not in text
    assert "No control" in text
    assert "states nothing" in text


def test_a_reduction_that_drops_nothing_has_a_page():
    counts = build()["counts"] | {"kept": 12_000, "dropped": 0}
    link = {"metric": "dhash", "is_likeness": True, "tau": None, "dropped": 0, "similarity": {}}
    how = build()["how"] | {"chain": [link], "budget": 15_000}
    nothing = likeness(0, 0, [0] * 32, quantiles={}, n_alone=0, n_below=0)
    same = build()["likeness"] | {"represented": nothing}
    text = text_of(redundancy.render(build(counts=counts, how=how, likeness=same)))
    assert "Nothing dropped" in text
    assert "dhash – 0 – – –" in text
    assert "to their representative 0 – – – – –" in text
    assert "At most 15" in text


def test_the_same_record_gives_the_same_page(html, record):
    assert redundancy.render(copy.deepcopy(record)) == html


def test_every_value_has_its_name_where_tables_become_lists(html):
    tables, unnamed = listed(html)
    assert tables >= 4
    assert unnamed == []
