"""No t-test and no Wilcoxon test exists in the package: folds share training patients."""

import ast
import re
from pathlib import Path

import medssl

PACKAGE = Path(medssl.__file__).parent
FORBIDDEN = re.compile(r"ttest|t_test|wilcoxon|mannwhitney|signrank|DescrStatsW|CompareMeans", re.I)


def names(tree):
    """Every name that code uses or imports; not what texts say."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias | ast.FunctionDef):
            yield node.name


def test_the_package_calls_none():
    sources = sorted(PACKAGE.rglob("*.py"))
    assert len(sources) > 100
    texts = {path: path.read_text(encoding="utf-8") for path in sources}
    found = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path, text in texts.items()
        if FORBIDDEN.search(text)  # most need no parsing
        for name in names(ast.parse(text))
        if FORBIDDEN.search(name)
    ]
    assert not found


def test_it_would_be_seen():
    text = "import scipy.stats as s\ns.ttest_rel(a, b)\nfrom scipy.stats import wilcoxon"
    assert {n for n in names(ast.parse(text)) if FORBIDDEN.search(n)} == {"ttest_rel", "wilcoxon"}
