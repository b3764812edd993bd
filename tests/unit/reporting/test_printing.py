"""`report.pdf`: refused early where it cannot be made; pages that need nothing from elsewhere."""

import builtins
import logging

import pytest

from medssl.foundation.errors import MissingExtra
from medssl.reporting import page, printing


def test_what_is_missing_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(printing, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match="WeasyPrint is not installed") as refused:
        printing.require()
    assert refused.value.exit_code == 5
    assert refused.value.fix == "pip install 'medssl[pdf]'"


def test_libraries_of_the_system_are_told_apart_from_the_package(monkeypatch):
    def importing(name, *args, **kwargs):
        if name == "weasyprint":
            raise OSError("cannot load library 'libpango-1.0-0'")
        return real(name, *args, **kwargs)

    real = builtins.__import__
    monkeypatch.setattr(printing, "find_spec", lambda _: object())
    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(MissingExtra, match="library Pango"):
        printing.require()


@pytest.fixture(scope="module")
def weasyprint():
    return pytest.importorskip("weasyprint")


@pytest.mark.usefixtures("weasyprint")
def test_the_report_becomes_pages_of_equal_bytes(report):
    html = page.fill("report.html.j2", report, {"roc": "", "risks": "", "folds": ""})
    first = printing.pdf(html)
    assert first.startswith(b"%PDF-")
    assert printing.pdf(html) == first


@pytest.mark.usefixtures("weasyprint")
@pytest.mark.parametrize("kind", ["file", "http", "data"])
def test_nothing_is_fetched_but_what_the_page_brings_along(kind, tmp_path, caplog):
    dot = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"></svg>'
    (tmp_path / "dot.svg").write_text(dot)
    urls = {
        "file": (tmp_path / "dot.svg").as_uri(),
        "http": "http://127.0.0.1:9/dot.svg",
        "data": "data:image/svg+xml,"
        + dot.replace("<", "%3C").replace(">", "%3E").replace('"', "'"),
    }
    with caplog.at_level(logging.ERROR, logger="weasyprint"):
        printing.pdf(f'<p>text <img src="{urls[kind]}"></p>')
    refused = [r.message for r in caplog.records if "disallowed protocol" in r.getMessage()]
    assert bool(refused) is (kind != "data")
