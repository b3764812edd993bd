"""Every shipped preset gives valid settings of its stage."""

import pytest

from medssl import reduction
from medssl.config import loading
from medssl.config.reduce import ReduceSettings
from medssl.foundation import plugins

MODELS = {"reduce": ReduceSettings}
STAGES = ("ingest", "reduce", "pretrain", "finetune", "evaluate")
PRESETS = [(stage, name) for stage in STAGES for name in loading.presets(stage)]


@pytest.mark.parametrize(("stage", "name"), PRESETS)
def test_it_loads(stage, name):
    sources = loading.Sources(preset=name, flags={"archive": "somewhere"})
    assert loading.resolve(MODELS[stage], stage, sources)


def test_hash6_is_the_paper_s():
    values = loading.read_preset("reduce", "hash6")
    dhash = plugins.load(reduction, "dhash")
    assert (values["by"], values["within"]) == ("dhash", "series")
    assert (1 - values["threshold"]) * dhash.BITS == 6
