"""`medssl doctor` says what is missing, and how to get it, whatever is missing."""

import json
import re
import sys
import tomllib
from importlib import metadata

import pytest


def required(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    return [re.match(r"[\w-]+", line).group() for line in project["dependencies"]]


def facts(cli):
    code, out, err = cli("doctor", "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_every_requirement_is_shown_with_its_version(cli, repository):
    found = facts(cli)
    for name in required(repository):
        assert found[name] == metadata.version(name)


@pytest.fixture
def missing(monkeypatch):
    """Take a library away: neither its metadata nor its module is found."""
    real = metadata.version

    def take(distribution, module):
        def version(name):
            if name == distribution:
                raise metadata.PackageNotFoundError(name)
            return real(name)

        monkeypatch.setattr(metadata, "version", version)
        for name in [n for n in sys.modules if n == module or n.startswith(f"{module}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, module, None)

    return take


@pytest.mark.parametrize(
    ("distribution", "module"),
    [("torch", "torch"), ("pydicom", "pydicom"), ("pyyaml", "yaml")],
)
def test_a_missing_library_is_named_with_the_line_that_installs_it(
    cli, missing, distribution, module
):
    missing(distribution, module)
    found = facts(cli)
    assert re.fullmatch(rf"missing: pip install '{distribution}[<>=\d.,]+'", found[distribution])
    assert found["numpy"] == metadata.version("numpy")
    if distribution == "torch":
        assert found["device"] == "unknown: torch cannot be imported"
    if distribution == "pydicom":
        assert set(found["decoders"].values()) == {"unknown: pydicom cannot be imported"}


def test_a_missing_extra_is_named_with_the_line_that_installs_it(cli, missing):
    missing("pydicom-data", "data_store")
    assert facts(cli)["extras"] == {"demo": "missing: pip install 'medssl[demo]'"}
