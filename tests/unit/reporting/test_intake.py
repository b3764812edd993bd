import copy
import re
from collections import Counter
from xml.etree import ElementTree

import pytest
from html_outline import listed, outline, text_of

from medssl.artifacts import tables
from medssl.artifacts.archive import IMAGES, LABELS, ArchiveInfo
from medssl.artifacts.quarantine import QUARANTINE
from medssl.ingestion import accounting
from medssl.ingestion.accounting import Account, Finding, Step
from medssl.ingestion.codes import FIXES, STEPS, TITLES, Code
from medssl.reporting import flow, intake, page
from medssl.reporting.contact_sheet import Thumbnail

HOSTILE = "<script>alert(1)</script>"
SVG = "{http://www.w3.org/2000/svg}"
PICTURE = Thumbnail(
    source="data:image/png;base64,AAAA", modality="CT", site=HOSTILE, size="64 × 48 px",
    spacing="1 × 1 × 5", slices=9, series="abcdefgh", warning="a face can be reconstructed",
)  # fmt: skip


def compose(*, rejected=True, flags=("gap", "no_patient"), labels=True, **more):
    """The record of an archive of two sites in which every code there is came up."""
    images = [
        {
            "image_id": f"i{n}", "patient_key": f"p{n}", "study_key": f"t{n}", "slice_index": 0,
            "series_key": f"series-{n}", "site": HOSTILE if n % 2 else "south", "modality": "CT",
            "rows": 64, "columns": 48, "shard": 0, "row": n, "unit": "HU", "flags": [*flags],
            "lossy": n == 0, "transfer_syntax": "1.2.840.10008.1.2.1", "spacing": [1.0, 0.5, 2.25],
            "manufacturer": f"maker{n:02d}",
        }
        for n in range(20)
    ]  # fmt: skip
    rows = [
        {"file_id": f"f{n}", "stage": stage, "code": code.value, "patient_key": f"q{n}"}
        for n, (code, stage) in enumerate((c, s) for c in Code for s in STEPS[c])
        if rejected
    ]
    values = [
        {"image_id": f"i{n}", "target": "finding", "value": None if n == 3 else f"<{n % 2}>"}
        for n in range(20)
        if labels
    ]
    info = ArchiveInfo(
        medssl="0", size=64, spatial_dims=3, key_id="12345678", files_found=20 + len(rows),
        files_written=20, quarantined=Counter(row["code"] for row in rows), images=20, series=20,
        studies=20, patients=20, sites=(HOSTILE, "south"), hash="ab" * 32,
        label_rows={"table_rows": 21, "rows_without_file": 1, "files_without_row": 0},
    )  # fmt: skip
    told = Account(
        info=info,
        images=tables.build(images, IMAGES),
        labels=tables.build(values, LABELS),
        quarantine=tables.build(rows, QUARANTINE),
        settings={"size": 64, "max_rejects": 0.05, "label": ("finding",)},
        warnings=("something to act on",),
        **more,
    )
    return accounting.compose(told)


@pytest.fixture(scope="module")
def record():
    steps = (Step(name="readable", patients=31, studies=40),)
    found = [Finding(series_key="series-3", what="gap", count=4, amount=12.5, unit="mm")]
    return compose(steps=steps, findings=found, decoders={"1.2.840.10008.1.2.1": "pydicom 3.1"})


@pytest.fixture(scope="module")
def html(record):
    return intake.render(record)


def test_the_page_needs_nothing_else_and_shows_no_pixels(html):
    parsed = outline(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert set(parsed.links) == {"#action"}
    assert "action" in parsed.ids
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert "@import" not in html
    assert "url(" not in html
    assert "data:" not in html


def test_the_verdict_is_a_sum(html, record):
    text = text_of(html)
    told = re.search(r"accounted for: (.+? rejected)", text)[1]
    found, written, skipped, rejected = map(int, re.findall(r"\d+", told))
    assert re.sub(r"\d+", "N", told) == "N found = N written + N left out by design + N rejected"
    assert found == written + skipped + rejected == record["counts"]["files_found"]
    assert rejected == sum(len(STEPS[code]) for code in Code if not code.is_skip)


def test_every_reason_stands_there_with_its_count_and_what_to_do(html, record):
    text = text_of(html)
    for step in record["flow"]:
        for row in step["left_out"]["codes"] if step["left_out"] else ():
            stands = f"{row['title']} {row['code']} {row['stage']} {row['files']} {row['patients']}"
            assert stands in text
    plain = text.replace(" ,", ",").replace(" )", ")")
    for code in Code:
        fix = FIXES.get(code, "").replace("`", "")
        assert f"To do: {fix}." in re.sub(r" +([.,;)])", r"\1", plain) or not fix


def test_every_number_of_the_record_is_on_the_page(html, record):
    text = text_of(html)
    for row in record["encodings"]:
        assert f"{row['name']} {row['images']} 20 20 {row['lossy']} pydicom 3.1" in text
    for row in record["flags"]:
        assert re.search(rf"{row['flag']} .+? 20 20 20 ", text)
    assert "gap 1 4 12.5 mm series-3 (4, 12.5 mm)" in text
    assert "Distance between slices 20 series 2.25 2.25 2.25 2.25 2.25 mm" in text
    assert "<1> 9 9 9 <0> 10 10 10" in text or "<0> 10 10 10 <1> 9 9 9" in text
    assert "not labelled 1 1 1" in text
    assert "21 rows: 1 row names no file, and every file is named by a row" in text
    assert "something to act on" in text
    assert "max_rejects 0.05" in text
    assert "ab" * 32 in text


def test_privacy_is_told_as_it_is(html):
    text = text_of(html)
    assert "This archive is pseudonymised, not anonymous." in text
    assert "12345678" in text
    assert not re.search(r"\b(is|are) anonym", text)


def test_what_needs_attention_is_on_the_page(html, record):
    text = re.sub(r" +([.,;:)])", r"\1", text_of(html))
    assert f"{len(record['cautions'])} points need attention" in text
    for row in record["cautions"]:
        assert f"{row['about']} {row['text'].replace('`', '')}." in text


def test_words_of_users_and_headers_are_escaped(html):
    assert HOSTILE not in html
    assert "&lt;script&gt;alert(1)" in html


def test_long_tables_are_cut_and_say_so(html):
    text = text_of(html)
    assert "maker11 1 1 1" in text
    assert "maker12" not in text
    assert "8 more 8" in text


def test_an_archive_of_everything_found_has_a_short_page():
    quiet = compose(rejected=False, flags=(), labels=False)
    quiet["cautions"] = []
    text = text_of(intake.render(quiet))
    assert "Every file is accounted for: 20 found = 20 written." in text
    for gone in ("needs attention", "not in the archive", "unusual", "Labels", "rejected:"):
        assert gone not in text


def test_thumbnails_come_with_a_warning(record):
    html = intake.render(record, [PICTURE])
    parsed = outline(html)
    assert parsed.tags.count("img") == 1
    assert [link for link in parsed.links if link != "#action"] == [PICTURE.source]
    text = text_of(html)
    assert "This page shows pixels. They can tell who a patient is" in text
    assert "64 × 48 px 1 × 1 × 5 mm 9 images · abcdefgh a face can be reconstructed" in text
    assert HOSTILE not in html


def test_the_same_record_gives_the_same_page(html, record):
    assert intake.render(copy.deepcopy(record)) == html


def boxes_of(svg):
    root = ElementTree.fromstring(svg)
    boxes = [
        tuple(float(rect.get(name)) for name in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
        if "box" in rect.get("class")
    ]
    return root, boxes


def test_the_flow_stands_in_its_frame_and_no_box_covers_another(record):
    root, boxes = boxes_of(flow.draw(record["flow"]))
    _, _, width, height = map(float, root.get("viewBox").split())
    assert len(boxes) == 6 + 5
    for x, y, w, h in boxes:
        assert x > 0
        assert y > 0
        assert x + w < width
        assert y + h < height
    for number, (x, y, w, h) in enumerate(boxes):
        for other_x, other_y, other_w, other_h in boxes[:number]:
            apart = x >= other_x + other_w or other_x >= x + w
            assert apart or y >= other_y + other_h or other_y >= y + h
    for text in root.iter(f"{SVG}text"):
        x, y = float(text.get("x")), float(text.get("y"))
        assert any(b[0] < x < b[0] + b[2] and b[1] < y < b[1] + b[3] for b in boxes)


def test_the_numbers_of_a_box_add_up(record):
    root, boxes = boxes_of(flow.draw(record["flow"]))
    for x, y, _, height in boxes:
        if x > 1:  # what was left out
            inside = [
                "".join(text.itertext())
                for text in root.iter(f"{SVG}text")
                if text.get("text-anchor") == "end" and y < float(text.get("y")) < y + height
                if float(text.get("x")) > x
            ]
            total, *parts = map(int, inside)
            assert total == sum(parts)
            assert len(parts) <= flow.MOST_REASONS + 1


def test_the_flow_holds_alone_and_in_words(record):
    svg = flow.draw(record["flow"])
    root = ElementTree.fromstring(svg)
    for shape in (*root.iter(f"{SVG}rect"), *root.iter(f"{SVG}text"), *root.iter(f"{SVG}path")):
        assert re.fullmatch("#[0-9a-f]{6}|none", shape.get("fill"))
    labels = root.get("aria-labelledby").split()
    named = {part.get("id"): "".join(part.itertext()) for part in root}
    assert root.get("role") == "img"
    words = " ".join(named[label] for label in labels)
    for code in Code:
        assert TITLES[code] in words
    assert "Files found: " in words
    assert "Images with a usable header: " in words
    assert "31 patients" in words


def test_a_step_that_leaves_nothing_out_is_not_drawn():
    found = compose(rejected=False)["flow"]
    root, boxes = boxes_of(flow.draw(found))
    assert len(boxes) == 2
    assert "20 files" in "".join(root.itertext())


def test_one_of_a_kind_is_singular():
    step = {"step": "written", "title": "W", "files": 1, "patients": 1, "studies": 1, "series": 1,
            "images": 2, "left_out": None}  # fmt: skip
    assert flow.words([step]) == "W: 1 file, 1 patient · 1 study, 1 series · 2 images."


def test_many_reasons_are_summed_up_in_the_figure_but_not_in_its_words():
    """16 reasons with 16, 15, … 1 files: twelve stand alone, the last four have 10 files."""
    codes = [{"title": f"R{n}", "files": n, "is_reject": True} for n in range(16, 0, -1)]
    gone = {
        "title": "Gone",
        "files": 136,
        "patients": 5,
        "patients_without_image": 2,
        "codes": codes,
    }
    step = dict.fromkeys(("patients", "studies", "series", "images")) | {"left_out": None}
    found = step | {"step": "found", "title": "Found", "files": 137}
    kept = step | {"step": "written", "title": "Kept", "files": 1, "left_out": gone}
    root, _ = boxes_of(flow.draw([found, kept]))
    shown = [text.text for text in root.iter(f"{SVG}text")]
    place = shown.index("4 more reasons")
    assert shown[place - 2 : place + 3] == [
        "R5", "5", "4 more reasons", "10",
        "5 patients affected, 2 with no image left",
    ]  # fmt: skip
    assert "R4" not in shown
    assert "R1 1)." in flow.words([found, kept])


def test_only_a_figure_that_fills_a_page_is_called_tall(record):
    """On paper a short one stands beside other things."""
    short = compose(rejected=False)["flow"]
    for steps, is_tall in ((short, False), (record["flow"], True)):
        root, _ = boxes_of(flow.draw(steps))
        assert (float(root.get("viewBox").split()[3]) > flow.TALL) is is_tall
        assert root.get("class").split() == ["flow", "tall"][: 1 + is_tall]


def test_every_value_has_its_name_where_tables_become_lists(html):
    tables, unnamed = listed(html)
    assert tables >= 5
    assert unnamed == []


def test_where_the_figure_has_no_room_a_list_says_the_same(html, record):
    start = html.index('<ol class="flow-list"')
    said = text_of(html[start : html.index("</ol>", start) + 5])
    for step in record["flow"]:
        left = step["left_out"]
        if left:
            assert f"{left['title']} {page.count(left['files'])}" in said
            for row in left["codes"]:
                assert f"{row['title']} {page.count(row['files'])}" in said
    last = record["flow"][-1]
    assert f"{last['title']} {page.count(last['files'])} file" in said
