"""Help is quick, since nothing heavy is imported, and there is some for every command."""

import re
import subprocess
import sys
from typing import Literal, get_args, get_origin

import pytest
import typer

from medssl.cli import main
from medssl.config import loading
from medssl.config.compare import CompareSettings
from medssl.config.embed import EmbedSettings
from medssl.config.evaluate import EvaluateSettings
from medssl.config.export import ExportSettings
from medssl.config.finetune import FinetuneSettings
from medssl.config.ingest import IngestSettings
from medssl.config.pretrain import PretrainSettings
from medssl.config.reduce import ReduceSettings
from medssl.config.tune import TuneSettings
from medssl.foundation import plugins
from medssl.models import encoders

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


SETTINGS = {
    "ingest": IngestSettings,
    "reduce": ReduceSettings,
    "pretrain": PretrainSettings,
    "finetune": FinetuneSettings,
    "tune": TuneSettings,
    "evaluate": EvaluateSettings,
    "compare": CompareSettings,
    "embed": EmbedSettings,
    "export": ExportSettings,
}
OTHERWISE_CALLED = {"cutmix": "cutmix.probability", "kind": "format"}


def settings_of(name):
    """Yield the options of a command that are settings: option, its type, its default."""
    for option in COMMANDS[name].params:
        head, _, tail = OTHERWISE_CALLED.get(option.name, option.name).partition(".")
        info = SETTINGS[name].model_fields.get(head)
        if info is None:
            continue
        value = info.get_default(call_default_factory=True)
        yield option, info.annotation, getattr(value, tail) if tail else value


def words(annotation):
    """Return what a setting takes, where it takes words."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for part in get_args(annotation) for word in words(part)]


@pytest.mark.parametrize("name", SETTINGS)
def test_help_states_defaults_and_names_every_choice(name):
    asked = list(settings_of(name))
    assert asked
    for option, annotation, default in asked:
        said = f"{option.help} {option.metavar or ''}"
        missing = [word for word in words(annotation) if not re.search(rf"\b{word}\b", said)]
        assert not missing, f"{name} {option.name}: {missing}"
        if isinstance(default, str | int | float) and not isinstance(default, bool):
            assert f"default {default}" in said, f"{name} {option.name}"


def test_layers_in_the_help_of_embed_are_those_of_a_resnet():
    (option,) = [option for option in COMMANDS["embed"].params if option.name == "layer"]
    resnet = plugins.load(encoders, "resnet18")
    layers = resnet.build(1, 2, resnet.Config()).layers
    assert re.findall(r"layer\d", option.help) == list(layers)


@pytest.mark.parametrize("stage", ["reduce", "pretrain", "finetune"])
def test_presets_are_listed_in_the_help(stage):
    (option,) = [option for option in COMMANDS[stage].params if option.name == "preset"]
    assert all(name in option.help for name in loading.presets(stage))
