"""`model_card.md`: who the model is for, what it was tested on, and how well it did.

The sections follow model cards (arXiv:1810.03993). What a run cannot know is left to the author.
"""

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from medssl.reporting import numbers, verdicts
from medssl.reporting.cohort_facts import AUTHOR

_ACTS = re.compile(r"([\\`*_\[\]{}<>|#~$&!])")


def render(report: Mapping[str, Any]) -> str:
    """Return the model card of a report as Markdown.

    Args:
        report: As read from `report.json`; nothing else is told.
    """
    environment = Environment(  # Markdown; `md` escapes what others named
        loader=PackageLoader("medssl.reporting"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (numbers.number, numbers.count, numbers.percent, numbers.plain)
    environment.filters |= {filter_.__name__: filter_ for filter_ in filters}
    environment.filters |= {"md": escape, "light_word": verdicts.word}
    environment.filters["capitalize_first"] = lambda text: text[0].upper() + text[1:]
    return environment.get_template("model_card.md.j2").render(report=report, author=AUTHOR) + "\n"


def escape(text: str) -> str:
    r"""Return text on one line without a sign that Markdown or HTML acts on.

    >>> print(escape("a_b | <i>"))
    a\_b \| \<i\>
    """
    return _ACTS.sub(r"\\\1", " ".join(text.split()))
