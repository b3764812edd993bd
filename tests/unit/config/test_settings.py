"""Settings are frozen, refuse what they do not know, and survive being written and read back."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

import medssl.config
from medssl.config import loading, settings
from medssl.config.evaluate import EvaluateSettings
from medssl.config.ingest import IngestSettings
from medssl.config.settings import Settings
from medssl.foundation.errors import UsageError

MODULES = [m.name for m in pkgutil.iter_modules(medssl.config.__path__) if not m.ispkg]
STAGES = [path.name for path in (Path(medssl.config.__path__[0]) / "presets").iterdir()]


def models() -> list[type[Settings]]:
    found = []
    for name in MODULES:
        module = importlib.import_module(f"medssl.config.{name}")
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Settings) and kind.__module__ == module.__name__:
                found.append(kind)
    return found


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_model_is_frozen_strict_and_described(model):
    assert model.model_config["frozen"]
    assert model.model_config["extra"] == "forbid"
    assert (model.__doc__ or "").strip()


@pytest.mark.parametrize(
    ("stage", "name"),
    [(stage, name) for stage in STAGES for name in loading.presets(stage)],
)
def test_every_preset_loads_into_its_stage(stage, name):
    module = importlib.import_module(f"medssl.config.{stage}")
    model = getattr(module, f"{stage.capitalize()}Settings")
    needed = {key: "x" for key, field in model.model_fields.items() if field.is_required()}
    read = loading.resolve(model, stage, loading.Sources(preset=name, flags=needed))
    for key, value in loading.read_preset(stage, name).items():
        assert key in model.model_fields
        assert yaml.safe_load(yaml.safe_dump(value)) == value
        assert key in read.model_fields_set


def test_there_is_a_preset_to_test():
    assert "hash6" in loading.presets("reduce")


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        EvaluateSettings(run=Path("a")).level = 0.5


def test_settings_written_as_yaml_read_back_equal_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = IngestSettings(
        sources=(Path("scans/a"), tmp_path / "b"),
        labels=Path("labels.csv"),
        label=("finding", "age"),
        max_rejects=1e-5,
    )
    out = tmp_path / "runs" / "ingest"
    out.mkdir(parents=True)
    plain = settings.relative_to(out, settings.to_plain(before))
    assert plain["sources"] == ["../../scans/a", "../../b"]
    assert plain["size"] == 256
    (out / "config.yaml").write_text(yaml.safe_dump(plain))

    monkeypatch.chdir("/")
    sources = loading.Sources(files=[out / "config.yaml"])
    after = loading.resolve(IngestSettings, "ingest", sources)
    assert [path.resolve() for path in after.sources] == [tmp_path / "scans" / "a", tmp_path / "b"]
    assert after.labels
    assert after.labels.resolve() == tmp_path / "labels.csv"
    assert after.model_copy(update={"sources": (), "labels": None}) == before.model_copy(
        update={"sources": (), "labels": None}
    )


def test_only_paths_become_relative(tmp_path):
    plain = {"path": settings.PathText(tmp_path / "a"), "word": str(tmp_path), "list": [1, "b"]}
    assert settings.relative_to(tmp_path, plain) == {
        "path": "a",
        "word": str(tmp_path),
        "list": [1, "b"],
    }


@pytest.mark.parametrize("values", [{}, {"run": "a", "predictions": "b"}])
def test_evaluate_takes_exactly_one_input(values):
    with pytest.raises(UsageError, match="evaluate needs one input"):
        loading.validate(EvaluateSettings, values, where="settings")
