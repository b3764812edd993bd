"""Help is quick, since nothing heavy is imported, and there is some for every command."""

import subprocess
import sys

import pytest
import typer

from medssl.cli import main

HEAVY = {"torch", "monai", "lightning_fabric", "sklearn", "matplotlib", "pandas", "pydicom"}
COMMANDS = typer.main.get_command(main.app).commands


def test_help_imports_nothing_heavy():
    words = [sys.executable, "-X", "importtime", "-m", "medssl", "--help"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    imported = [line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()]
    assert "medssl.cli.main" in imported
    assert {name.partition(".")[0] for name in imported} & HEAVY == set()
    assert all(name in ended.stdout for name in COMMANDS)


def test_the_program_alone_shows_its_help(cli):
    shown = cli()
    assert shown[0] == 2
    assert shown[1] + shown[2] == cli("--help")[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_has_help(name, cli):
    code, out, err = cli(name, "--help")
    assert (code, err) == (0, "")
    assert COMMANDS[name].help.split(".")[0].split(",")[0] in " ".join(out.split())
    for parameter in COMMANDS[name].params:
        assert parameter.help, f"{name} {parameter.name}"
