"""A folder is a registry: its files are the names, and nothing is imported to list them."""

import importlib
import sys

import pytest

from medssl.foundation import plugins
from medssl.foundation.errors import UsageError


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A plugin folder with two plugins and one file that is none."""
    folder = tmp_path / "shapes_for_tests"
    folder.mkdir()
    (folder / "__init__.py").write_text('KIND = "shape"\n')
    (folder / "circle.py").write_text('"""Round.\n\nNo corners."""\nCORNERS = 0\n')
    (folder / "square.py").write_text('raise RuntimeError("imported")\n')
    (folder / "_contract.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("shapes_for_tests")
    for name in [name for name in sys.modules if name.startswith("shapes_for_tests")]:
        del sys.modules[name]


def test_names_are_the_files_and_nothing_is_imported(shapes):
    assert plugins.names(shapes) == ["circle", "square"]
    assert "shapes_for_tests.square" not in sys.modules


def test_load_imports_the_named_one(shapes):
    assert plugins.load(shapes, "circle").CORNERS == 0


def test_summary_is_the_first_line_read_without_import(shapes):
    assert plugins.summary(shapes, "circle") == "Round."
    assert plugins.summary(shapes, "square") == ""


def test_a_near_miss_is_suggested(shapes):
    with pytest.raises(UsageError, match="no shape called 'circel'") as caught:
        plugins.load(shapes, "circel")
    assert caught.value.fix == "did you mean 'circle'?"


def test_names_that_begin_so_are_listed():
    known = ["resnet18", "resnet50", "vit_s"]
    assert plugins.suggest("resnet", known) == "choose from resnet18, resnet50"
    assert plugins.suggest("resnet19", known) == "did you mean 'resnet18'?"
    assert plugins.suggest("vit", known) == "did you mean 'vit_s'?"
    assert plugins.suggest("", known) == "choose from resnet18, resnet50, vit_s"


@pytest.mark.parametrize("wrong", ["zzz", "_contract", "__init__"])
def test_anything_else_lists_what_there_is(shapes, wrong):
    with pytest.raises(UsageError, match=f"no shape called '{wrong}'") as caught:
        plugins.load(shapes, wrong)
    assert caught.value.fix == "choose from circle, square"


@pytest.mark.parametrize(
    "folder",
    ["methods", "reduction", "freezing", "models.encoders", "ingestion.readers"],
)
def test_every_plugin_of_medssl_says_what_it_is(folder):
    package = importlib.import_module(f"medssl.{folder}")
    assert package.KIND
    for name in plugins.names(package):
        assert plugins.summary(package, name).endswith((".", ")")), name
