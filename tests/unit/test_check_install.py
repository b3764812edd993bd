"""`make check` stops for packages medssl must do without, and for licences it cannot accept."""

import subprocess
import sys
from pathlib import Path

import pytest


def check(repository: Path, installed: Path) -> subprocess.CompletedProcess[str]:
    """Run the check with the packages of one folder in sight and no others."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROGRAM, str(repository / ".ci"), str(installed)],
        capture_output=True,
        text=True,
        check=False,
    )


PROGRAM = """
import runpy, sys
sys.path = [p for p in sys.path if "site-packages" not in p] + [sys.argv[2]]
runpy.run_path(sys.argv[1] + "/check_install.py", run_name="__main__")
"""


def install(folder: Path, name: str, *lines: str) -> None:
    described = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    described.mkdir(parents=True)
    header = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *lines]
    (described / "METADATA").write_text("\n".join(header) + "\n")


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("torchvision", "License: BSD", "torchvision is installed"),
        ("pylibjpeg-libjpeg", "", "pylibjpeg-libjpeg is installed"),
        ("a", "License-Expression: GPL-3.0-only", "a is licensed 'GPL-3.0-only'"),
        ("a", "License-Expression: AGPL-3.0-or-later", "a is licensed"),
        ("a", "License: GNU General Public License v2", "a is licensed"),
        ("a", "Classifier: License :: OSI Approved :: GNU Affero General", "a is licensed"),
        ("a", "License: CC BY-NC 4.0 NonCommercial", "a is licensed"),
    ],
)
def test_what_must_not_be_installed_is_named(repository, tmp_path, name, line, said):
    install(tmp_path, name, line)
    done = check(repository, tmp_path)
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    "line",
    ["License-Expression: LGPL-2.1-or-later", "License: MIT", "License-Expression: Apache-2.0"],
)
def test_what_may_be_installed_passes(repository, tmp_path, line):
    install(tmp_path, "numpy", line)
    done = check(repository, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
