"""Every command the README and the tutorial show runs, in order, on the sample data."""

import re
import shlex

import pytest


def commands(text):
    """Return the `medssl` lines of all console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[2:] for line in lines if line.startswith("$ medssl ")]


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_the_commands_of_a_page_run_in_order(page, repository, run_main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample_data").symlink_to(repository / "sample_data", target_is_directory=True)
    shown = commands((repository / page).read_text(encoding="utf-8"))
    assert len(shown) >= 5
    for words in shown:
        code, _, err = run_main(*words)
        assert code == 0, (words, err)
