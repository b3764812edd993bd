"""The progress figure: which panels it has, and that it shows what the file holds."""

import io
import json

import matplotlib as mpl
import matplotlib.image
import pytest
from matplotlib.figure import Figure

from medssl.reporting import progress
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
    first, second = (progress.draw(COURSE, {"feature_std": 0.02}) for _ in range(2))
    assert first == second
    assert progress.draw(COURSE[:2], {"feature_std": 0.02}) != first
    assert progress.draw(COURSE) != first  # the floor is drawn


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
