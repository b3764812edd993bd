from xml.etree import ElementTree

import pytest

from medssl.reporting import histograms
from medssl.reporting.histograms import Mark, Panel

SVG = "{http://www.w3.org/2000/svg}"
EDGES = [0.0, 0.25, 0.5, 0.75, 1.0]
PANELS = [
    Panel(title="Before & <after>", counts=[0, 10, 40, 50], of=100),
    Panel(title="None", counts=[0, 0, 0, 0], of=0),
]


def drawn(mark=None, **more):
    return ElementTree.fromstring(histograms.draw("x", PANELS, EDGES, "Likeness", mark, **more))


def bars_of(root):
    return [
        tuple(float(rect.get(name)) for name in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
    ]


def test_bars_are_as_high_as_their_counts_and_stand_in_their_frame():
    root = drawn()
    _, _, width, height = map(float, root.get("viewBox").split())
    bars = bars_of(root)
    assert [bar[3] for bar in bars] == pytest.approx([74 / 5, 74 * 4 / 5, 74], abs=0.01)
    floor = {round(y + h, 2) for _, y, _, h in bars}
    assert floor == {108}
    assert all(x > 0 and x + w < width and y > 0 and y + h < height for x, y, w, h in bars)
    starts = [x for x, *_ in bars]
    assert starts[2] - starts[1] == pytest.approx(starts[1] - starts[0], abs=0.02)


def test_a_mark_stands_at_its_value_or_nowhere():
    inside = drawn(Mark(value=0.5, text="half"))
    marks = [path.get("d") for path in inside.iter(f"{SVG}path") if path.get("class") == "mark"]
    assert len(marks) == len(PANELS)
    middle = bars_of(inside)[1][0]  # the third bin begins at 0.5
    assert [float(d[1:].split()[0]) for d in marks] == pytest.approx([middle] * 2, abs=0.01)
    assert "half" in "".join(inside.itertext())
    assert "half" not in "".join(drawn(Mark(value=1.01, text="half")).itertext())


def test_the_figure_holds_alone_and_in_words():
    root = drawn(in_percent=True)
    for shape in (*root.iter(f"{SVG}rect"), *root.iter(f"{SVG}text")):
        assert shape.get("fill").startswith("#")
    labels = root.get("aria-labelledby").split()
    named = {part.get("id"): "".join(part.itertext()) for part in root}
    assert named[labels[1]] == (
        "Likeness. Before & <after>: 50 % between 75 % and 100 %. None: none."
    )
