"""Plugins are modules: the file name is the name users type, the folder is the registry."""

import ast
import difflib
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from medssl.foundation.errors import UsageError


def names(package: ModuleType) -> list[str]:
    """Return the names users can choose from, read from the folder without importing any."""
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_")


def load(package: ModuleType, name: str) -> Any:  # noqa: ANN401 - the folder's contract is a Protocol
    """Import the plugin called ``name``.

    Raises:
        UsageError: No file of the folder has that name; the closest one is suggested.
    """
    known = names(package)
    if name not in known:
        raise UsageError(f"no {package.KIND} called {name!r}", fix=suggest(name, known))
    return importlib.import_module(f"{package.__name__}.{name}")


def summary(package: ModuleType, name: str) -> str:
    """Return the first docstring line of a plugin, read from its source without importing it."""
    source = Path(package.__path__[0], f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def closest(wrong: str, known: list[str]) -> str | None:
    """Return the known name that is most like a wrong one, None where none is."""
    return next(iter(difflib.get_close_matches(wrong, known, n=1)), None)


def suggest(wrong: str, known: list[str]) -> str:
    """Return the words for a fix line: the closest known name, those that begin so, or all."""
    close = closest(wrong, known)
    begun = [name for name in known if wrong and name.startswith(wrong)]
    if len(begun) > 1 or not close:
        return f"choose from {', '.join(begun or known)}"
    return f"did you mean {close!r}?"
