"""`report.pdf`: the page on paper, set by WeasyPrint, an optional extra.

The page holds all that it shows; whatever an element would fetch from elsewhere is refused.
"""

from importlib.util import find_spec

from medssl.foundation.errors import MissingExtra

INSTALL = "pip install 'medssl[pdf]'"
INSIDE = ("data",)  # scheme of what a page brings along; nothing else is fetched


def require() -> None:
    """Check that WeasyPrint is there and finds its libraries, before anything long begins.

    Raises:
        MissingExtra: It is not installed, or Pango is not.
    """
    if find_spec("weasyprint") is None:
        raise MissingExtra("WeasyPrint is not installed", where="pdf", fix=INSTALL)
    try:
        import weasyprint  # noqa: F401, PLC0415 - an optional extra
    except OSError as error:
        raise MissingExtra(
            "WeasyPrint does not find the library Pango",
            where="pdf",
            fix="install Pango (package libpango-1.0-0 and libpangoft2-1.0-0, or pango)",
        ) from error


def pdf(html: str) -> bytes:
    """Return a page as a PDF; equal pages give equal bytes.

    Args:
        html: The whole page, with its styles and figures.

    Raises:
        MissingExtra: As in `require`.
    """
    require()
    import weasyprint  # noqa: PLC0415 - an optional extra

    nothing = weasyprint.URLFetcher(allowed_protocols=INSIDE)
    return bytes(weasyprint.HTML(string=html, url_fetcher=nothing).write_pdf())
