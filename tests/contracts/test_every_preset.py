"""Every shipped preset gives valid settings of its stage."""

import pytest

from medssl.config import loading
from medssl.config.evaluate import EvaluateSettings
from medssl.config.finetune import FinetuneSettings
from medssl.config.ingest import IngestSettings
from medssl.config.pretrain import PretrainSettings
from medssl.config.reduce import ReduceSettings

STAGES = {  # stage -> its settings, and what no preset says
    "ingest": (IngestSettings, {"sources": ("somewhere",)}),
    "reduce": (ReduceSettings, {"archive": "somewhere"}),
    "pretrain": (PretrainSettings, {"archive": "somewhere"}),
    "finetune": (FinetuneSettings, {"archive": "somewhere", "init_from": "none"}),
    "evaluate": (EvaluateSettings, {"run": "somewhere"}),
}
PRESETS = [(stage, name) for stage in loading.STAGES for name in loading.presets(stage)]


def test_every_stage_is_known():
    assert tuple(STAGES) == loading.STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_settings_are_valid_without_a_preset(stage):
    model, needed = STAGES[stage]
    assert isinstance(loading.resolve(model, stage, loading.Sources(flags=needed)), model)


@pytest.mark.parametrize(("stage", "name"), PRESETS)
def test_it_loads_and_says_something(stage, name):
    model, needed = STAGES[stage]
    settings = loading.resolve(model, stage, loading.Sources(preset=name, flags=needed))
    assert loading.read_preset(stage, name).keys() <= settings.model_fields_set


def test_hash6_is_the_paper_s():
    values = loading.read_preset("reduce", "hash6")
    assert (values["by"], values["within"]) == ("dhash", "series")
    assert values["options"]["dhash"] == {"bits": 64, "blank_below": 0}
    assert (1 - values["threshold"]) * 64 == 6
    assert values["shown"] == {"mask": False}
