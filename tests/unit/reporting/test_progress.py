"""The progress figure: which panels it has, and that it shows what the file holds."""

import io
import json

import matplotlib as mpl
import matplotlib.image
import pytest
from matplotlib.figure import Figure

from medssl.reporting import measures, progress
from medssl.reporting.figures import STYLE
from medssl.reporting.progress import ProgressFigure

COURSE = [
    {"step": 0, "epoch": 0, "feature_std": 0.1, "effective_rank": 9.0, "val_loss": 3.4},
    {"step": 4, "epoch": 1, "lr": 1e-3, "total": 3.0, "variance": 0.5},
    {"step": 4, "epoch": 1, "feature_std": 0.3, "effective_rank": 20.0, "knn_auroc": 0.6,
     "val_loss": 3.2},
    {"step": 8, "epoch": 2, "lr": 5e-4, "total": 2.5, "variance": 0.4},
]  # fmt: skip


def size(png):
    height, width, _ = matplotlib.image.imread(io.BytesIO(png), format="png").shape
    return width, height


def write(folder, course):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(point) + "\n" for point in course))


def test_panels_come_in_order_of_importance_and_share_what_belongs_together():
    assert progress._panels(COURSE) == {
        "total": ["total", "val_loss"],
        "feature_std": ["feature_std"],
        "effective_rank": ["effective_rank"],
        "knn_auroc": ["knn_auroc"],
        "lr": ["lr"],
        "variance": ["variance"],
    }


def test_members_of_a_family_share_a_panel():
    course = [{"step": 1, "lr.stem": 1e-4, "lr.head": 1e-3, "knn_auroc.a": 0.5, "knn_auroc.b": 0.6}]
    assert progress._panels(course) == {
        "knn_auroc": ["knn_auroc.a", "knn_auroc.b"],
        "lr": ["lr.stem", "lr.head"],
    }


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 3, 2), (8, 3, 3)]
)
def test_the_figure_grows_with_the_panels(count, columns, rows):
    point = {"step": 1, "epoch": 1} | {f"value{k}": float(k) for k in range(count)}
    width, height = size(progress.draw([point, {**point, "step": 2}]))
    assert (round(width / 130 / 3.7), round(height / 130 / 2.5)) == (columns, rows)


def test_drawing_twice_gives_the_same_bytes_and_other_numbers_others():
    short = COURSE[:2]
    first, second = (progress.draw(short, {"feature_std": 0.02}) for _ in range(2))
    assert first == second
    assert progress.draw(COURSE[:1], {"feature_std": 0.02}) != first
    assert progress.draw(short) != first  # the floor is drawn


def test_it_is_redrawn_on_the_lines_that_are_worth_it(tmp_path):
    figure = ProgressFigure(tmp_path, redraw_on="feature_std")
    path = tmp_path / figure.NAME
    figure.draw()
    assert not path.exists()  # nothing to show yet
    write(tmp_path, COURSE[1:2])
    figure.metrics(4, COURSE[1])
    assert not path.exists()
    write(tmp_path, COURSE[:3])
    figure.metrics(4, COURSE[2])
    assert path.read_bytes() == progress.draw(COURSE[:3])


def test_a_resumed_run_shows_its_whole_course(tmp_path):
    write(tmp_path, COURSE)
    ProgressFigure(tmp_path, redraw_on="feature_std").draw()
    assert (tmp_path / "progress.png").read_bytes() == progress.draw(COURSE)


@pytest.mark.parametrize("name", ["$a_$b", "_hidden", r"\frac{"])
def test_any_target_name_is_shown_as_it_is(name):
    axes = Figure().subplots()
    with mpl.rc_context(STYLE):
        course = [{"step": 1, f"knn_auroc.{name}": 0.5, "knn_auroc.b": 0.6}]
        progress._panel(axes, course, "knn_auroc", [f"knn_auroc.{name}", "knn_auroc.b"])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [name, "b"]
    assert progress.draw(course)


def panel(course, name, members=None, floors=None):
    """One panel as it is drawn, and what is written in it."""
    axes = Figure(figsize=(3.7, 2.5)).subplots()
    members = members or [name]
    progress._panel(axes, course, name, members)
    progress._compare(axes, progress._references(course, name, members, floors or {}))
    return axes, [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("name", measures.MEASURES)
def test_every_panel_says_what_it_shows_beside_its_title_and_nothing_is_cut(name):
    course = [{"step": 0, name: 0.3}, {"step": 5, name: 0.4}]
    axes, texts = panel(course, name)
    assert axes.get_title(loc="left") == measures.of(name).title
    assert texts[0] == measures.of(name).meaning
    width = 3.7 * 100 * 0.82  # of the axes at 100 dpi: what is beside it are the numbers
    for text in axes.texts:
        assert text.get_window_extent().width < width


@pytest.mark.parametrize("name", ["total", "feature_std", "lr", "top1", "knn_auroc", "unheard_of"])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_single_point_is_shown_within_a_sane_axis(name, value):
    axes, _ = panel([{"step": 0, name: value}], name)
    assert axes.get_xlim() == (0, 1)
    low, high = axes.get_ylim()
    assert low <= value <= high
    assert high - low >= 0.2 * abs(value) > 0 or value == 0
    assert high > low


def test_what_is_a_share_is_drawn_from_0_to_1_and_other_values_as_large_as_they_are():
    course = [{"step": 1, "top1": 0.5, "total": 900.0}, {"step": 2, "top1": 0.501, "total": 901.0}]
    low, high = panel(course, "top1")[0].get_ylim()
    assert low == 0
    assert high == pytest.approx(1.06)
    low, high = panel(course, "total")[0].get_ylim()
    assert 899 < low < 900 < 901 < high < 902


@pytest.mark.parametrize(
    ("name", "at", "called"),
    [
        ("knn_auroc", 0.5, "chance"),
        ("share_of_ln_k", 1, "guessing: nothing is learned"),
        ("projection_std", 0, "collapsed"),
        ("variance", 1, "collapsed"),
        ("feature_std", 0.02, "collapsed below"),
    ],
)
def test_lines_mark_what_to_compare_with(name, at, called):
    course = [{"step": 1, name: 0.7}, {"step": 2, name: 0.8}]
    axes, texts = panel(course, name, floors={"feature_std": 0.02})
    assert called in texts
    assert [at, at] in [list(line.get_ydata()) for line in axes.lines]


def test_neighbours_are_compared_with_those_of_the_first_weights():
    course = [{"step": 0, "knn_auroc": 0.61}, {"step": 4, "knn_auroc": 0.7}]
    axes, texts = panel(course, "knn_auroc")
    assert "first weights" in texts
    assert [0.61, 0.61] in [list(line.get_ydata()) for line in axes.lines]
    assert "first weights" not in panel(course[1:], "knn_auroc")[1]  # nothing is known of them


def test_the_lines_of_a_panel_differ_without_colour():
    course = [{"step": step, "total": 1.0, "val_loss": 2.0} for step in (1, 2)]
    axes, _ = panel(course, "total", ["total", "val_loss"])
    first, second = axes.lines
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_marker() != second.get_marker()


def test_counts_and_shares_never_share_an_axis_with_the_loss():
    names = dict.fromkeys([*measures.MEASURES, "val_loss"], 1.0)
    panels = progress._panels([{"step": 1, **names}])
    assert panels.pop("total") == ["total", "val_loss"]
    assert panels == {name: [name] for name in measures.MEASURES if name != "total"}


def test_what_a_plugin_reports_is_named_after_it():
    assert measures.of("share_of_zeros").title == "Share of zeros"
