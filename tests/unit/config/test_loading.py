"""Settings: defaults < preset < file < --set < flags, and every mistake is named and answered."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, Field

from medssl.config import loading
from medssl.config.loading import Sources
from medssl.config.settings import Settings
from medssl.foundation.errors import UsageError


class Inner(Settings):
    lr: float = 0.1
    warmup: int = 0


def _ascending(span):
    if span[0] > span[1]:
        raise ValueError("they must ascend")
    return span


class Example(Settings):
    by: str = "default"
    threshold: float | None = None
    within: str = "archive"
    shown: dict[str, Any] = Field(default_factory=dict)
    folds: int = Field(default=5, ge=2)
    optim: Inner = Inner()
    views: Inner | Literal["auto"] = "auto"
    options: dict[str, Any] = Field(default_factory=dict)
    archive: Path | None = None
    start: Path | Literal["none"] = "none"
    sources: tuple[Path, ...] = ()
    mode: Literal["fast", "slow"] = "fast"
    dims: Literal[2, 3] = 2
    limited: Annotated[float, Field(le=1)] | Literal["auto"] = "auto"
    share: Annotated[float, Field(lt=0.5)] | Literal["auto"] = "auto"
    span: Annotated[tuple[float, float], AfterValidator(_ascending)] = (0.5, 1.0)


class Plugged(Settings):
    by: str = "default"
    by_options: dict[str, Any] = Field(default_factory=dict)
    folds: int = 5


@dataclass(frozen=True, kw_only=True)
class Config:
    size: int = 8
    name: str = "a"


def resolve(**given_sources: Any) -> Example:
    return loading.resolve(Example, "reduce", Sources(**given_sources))


def write(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values))
    return path


def test_each_source_beats_the_one_before(tmp_path):
    """`by` comes from the preset hash6, and is then overridden step by step."""
    file = write(tmp_path / "a.yaml", {"by": "file"})
    steps = [
        ({}, "default"),
        ({"preset": "hash6"}, "dhash"),
        ({"files": [file]}, "file"),
        ({"sets": ["by=set"]}, "set"),
        ({"flags": {"by": "flag"}}, "flag"),
    ]
    collected: dict[str, Any] = {}
    for step, expected in steps:
        collected |= step
        assert resolve(**collected).by == expected


def test_what_the_stronger_source_leaves_out_stays(tmp_path):
    settings = resolve(preset="hash6", files=[write(tmp_path / "a.yaml", {"folds": 3})])
    assert (settings.by, settings.within, settings.threshold) == ("dhash", "series", 1 - 6 / 64)
    assert settings.folds == 3


def test_later_files_and_sets_win(tmp_path):
    files = [write(tmp_path / f"{n}.yaml", {"folds": n}) for n in (3, 4)]
    assert resolve(files=files).folds == 4
    assert resolve(files=files, sets=["folds=6", "folds=7"]).folds == 7


def test_nested_settings_merge_key_by_key(tmp_path):
    file = write(tmp_path / "a.yaml", {"optim": {"lr": 1.0, "warmup": 3}})
    settings = resolve(files=[file], sets=["optim.lr=2"], flags={"optim.warmup": None})
    assert settings.optim == Inner(lr=2.0, warmup=3)
    assert resolve(flags={"optim.warmup": 9}).optim == Inner(warmup=9)


def test_options_of_a_plugin_go_when_another_one_is_chosen(tmp_path):
    """A preset or a settings file knows the options of its own schedule only."""
    lr = {"lr": 1.0}
    file = write(tmp_path / "a.yaml", {"by": "dhash", "by_options": lr, "folds": 3})

    def options(**more):
        found = loading.resolve(Plugged, "finetune", Sources(files=[file], **more))
        assert found.folds == 3
        return found.by_options

    assert options() == options(flags={"by": "dhash"}) == options(sets=["folds=3"]) == lr
    assert options(flags={"by": "random"}) == options(sets=["by=random"]) == {}
    own = ["by_options.seed=2"]
    assert options(sets=own) == {**lr, "seed": 2}
    assert options(sets=own, flags={"by": "random"}) == {"seed": 2}
    other = write(tmp_path / "b.yaml", {"by": "random"})
    found = loading.resolve(Plugged, "finetune", Sources(files=[file, other]))
    assert found.by_options == {}


def test_a_flag_not_given_changes_nothing(tmp_path):
    file = write(tmp_path / "a.yaml", {"by": "file"})
    assert resolve(files=[file], flags={"by": None}).by == "file"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1e3", 1000.0),
        ("0.5", 0.5),
        ("3", 3),
        ("true", True),
        ("null", None),
        ("word", "word"),
        ("a=b", "a=b"),
        ("[1, 2]", [1, 2]),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_set_reads_the_value_people_mean(text, value):
    found = resolve(sets=[f"options.x={text}"]).options["x"]
    assert found == value
    assert type(found) is type(value)


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_set_reads_every_number_python_writes(number):
    assert resolve(sets=[f"optim.lr={number!r}"]).optim.lr == number


@pytest.mark.parametrize("text", ["folds", "=3", ""])
def test_set_without_key_or_value_is_refused(text):
    with pytest.raises(UsageError, match="--set needs key=value") as caught:
        resolve(sets=[text])
    assert caught.value.fix == "for example --set optim.lr=1e-3"


def test_set_with_broken_yaml_names_the_key():
    with pytest.raises(UsageError, match="not a value") as caught:
        resolve(sets=["options.x=[1, 2"])
    assert caught.value.where == "--set options.x"
    assert "brackets" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("fold=3", "unknown key 'fold'", "did you mean 'folds'?"),
        ("optim.warmpu=3", "unknown key 'optim.warmpu'", "did you mean 'optim.warmup'?"),
        ("views.warmpu=3", "unknown key 'views.warmpu'", "did you mean 'views.warmup'?"),
        ("optim.zzz=3", "unknown key 'optim.zzz'", "choose from optim.lr, optim.warmup"),
        ("lr=3", "unknown key 'lr'", "did you mean 'optim.lr' or 'views.lr'?"),
        ("folds=1", "folds: input should be greater than or equal to 2, got 1", "give 2 or more"),
        ("limited=1.5", "limited: input should be less", "give 1 or less, or auto"),
        ("folds=many", "folds: input should be a valid integer", "give a whole number"),
        (
            "optim=3",
            "optim: input should be a valid dictionary or instance of Inner, got 3",
            "set one of its keys: optim.lr, optim.warmup",
        ),
        ("views=auot", "views: input should be a valid dictionary or instance of Inner or",
         "did you mean 'auto'?"),
        ("by={options: 3}", "by: input should be a valid string", "give one word"),
        ("start=[3]", "start: input is not a valid path", "give a path or none"),
        ("mode=fats", "mode: input should be 'fast' or 'slow'", "did you mean 'fast'?"),
        ("mode=zzz", "mode: input should be 'fast' or 'slow'", "choose from fast, slow"),
        ("dims=4", "dims: input should be 2 or 3", "choose from 2, 3"),
        ("share=0.7", "share: input should be less than 0.5 or input should be 'auto', got 0.7",
         "give less than 0.5 or auto"),
        ("span=1", "span: input should be a valid tuple, got 1",
         "give as many values as in --set span=[0.5,1.0]"),
        ("span=[1]", "span.1 is needed", "give 2 values"),
        ("span=[0.5,0.2]", "span: they must ascend, got [0.5, 0.2]",
         "give as many values as in --set span=[0.5,1.0]"),
        ("shown=3", "shown: input should be a valid dictionary",
         "give keys and values, such as --set shown.NAME=VALUE"),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value_is_named_and_answered(text, message, fix):
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        resolve(sets=[text])
    assert caught.value.problem.startswith(message)
    assert ";" not in caught.value.problem.removeprefix(message)  # said once
    assert (caught.value.where, caught.value.fix) == ("settings", fix)
    assert caught.value.exit_code == 2


def test_options_are_named_where_they_are_looked_for_below_the_plugin():
    with pytest.raises(UsageError, match="by: input should be a valid string") as caught:
        loading.resolve(Plugged, "finetune", Sources(sets=["by.options.size=3"]))
    assert caught.value.fix == "did you mean 'by_options'?"


def test_a_file_is_blamed_for_its_own_mistakes_only(tmp_path):
    wrong, fine = (write(tmp_path / f"{n}.yaml", {"folds": n}) for n in (1, 3))
    nested = write(tmp_path / "nested.yaml", {"optim": {"lr": "fast"}})
    for sources, where in [
        ({"files": [wrong]}, wrong),
        ({"files": [wrong, nested]}, nested),
        ({"files": [nested, wrong]}, wrong),
        ({"files": [fine], "sets": ["folds=1"]}, "settings"),
        ({"files": [wrong], "sets": ["folds=0"]}, "settings"),
        ({"files": [fine], "sets": ["optim.lr=fast"]}, "settings"),
        ({"files": [nested], "sets": ["optim.warmup=1"]}, nested),
    ]:
        with pytest.raises(UsageError, match=r"folds|optim\.lr") as caught:
            resolve(**sources)
        assert caught.value.where == str(where)


def test_all_mistakes_are_shown_together(tmp_path):
    file = write(tmp_path / "a.yaml", {"folds": 1, "bye": "x", "optim": {"lr": "fast"}})
    with pytest.raises(UsageError, match=r"folds: .*; optim\.lr: .*; unknown key 'bye'") as caught:
        resolve(files=[file])
    assert caught.value.where == str(file)
    assert (
        caught.value.fix
        == "folds: give 2 or more; optim.lr: give a number; bye: did you mean 'by'?"
    )


def test_a_missing_setting_is_named():
    class Needy(Settings):
        archive: Path = Field(description="a folder")

    with pytest.raises(UsageError, match="archive is needed") as caught:
        loading.validate(Needy, {}, where="settings")
    assert (caught.value.where, caught.value.fix) == ("settings", "give a folder")


def test_paths_in_a_file_are_relative_to_the_file(tmp_path):
    values = {
        "archive": "../arc",
        "start": "runs/a",
        "sources": ["scans", str(tmp_path / "elsewhere")],
        "by": "not/a/path",
    }
    settings = resolve(files=[write(tmp_path / "conf" / "a.yaml", values)])
    assert settings.archive == tmp_path / "arc"
    assert settings.start == tmp_path / "conf" / "runs" / "a"
    assert settings.sources == (tmp_path / "conf" / "scans", tmp_path / "elsewhere")
    assert settings.by == "not/a/path"


def test_paths_deeper_in_a_file_are_relative_to_it_too(tmp_path):
    class Inside(Settings):
        file: Path | None = None
        name: str = "a"

    class Outside(Settings):
        inside: Inside = Inside()

    file = write(tmp_path / "conf" / "a.yaml", {"inside": {"file": "../s.csv", "name": "b/c"}})
    found = loading.resolve(Outside, "reduce", loading.Sources(files=[file]))
    assert found.inside == Inside(file=tmp_path / "s.csv", name="b/c")


def test_they_are_shown_as_people_write_them(tmp_path, monkeypatch):
    """The settings of a run name the archive as `../../arc`."""
    file = write(tmp_path / "runs" / "one" / "config.yaml", {"archive": "../../arc", "start": "x"})
    monkeypatch.chdir(tmp_path)
    settings = resolve(files=[file.relative_to(tmp_path)])
    assert (settings.archive, settings.start) == (Path("arc"), Path("runs/one/x"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert resolve(files=[Path("../runs/one/config.yaml")]).archive == tmp_path / "arc"


def test_a_home_folder_in_a_file_is_that_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    values = {"archive": "~/arc", "sources": ["~/scans", "~"]}
    settings = resolve(files=[write(tmp_path / "conf" / "a.yaml", values)])
    assert settings.archive == tmp_path / "home" / "arc"
    assert settings.sources == (tmp_path / "home" / "scans", tmp_path / "home")


def test_the_home_folder_of_nobody_is_refused(tmp_path):
    with pytest.raises(UsageError, match="whose home folder is meant by '~no one/arc'"):
        resolve(files=[write(tmp_path / "a.yaml", {"archive": "~no one/arc"})])


@pytest.mark.parametrize("sources", [[1], ["scans", None], [["scans"]], {"a": 1}, 3])
def test_a_path_that_is_none_is_refused(tmp_path, sources):
    file = write(tmp_path / "a.yaml", {"sources": sources})
    with pytest.raises(UsageError, match="sources") as caught:
        resolve(files=[file])
    assert caught.value.where == str(file)


def test_a_word_that_is_not_a_path_stays_a_word(tmp_path):
    assert resolve(files=[write(tmp_path / "a.yaml", {"start": "none"})]).start == "none"


def test_paths_on_the_command_line_are_relative_to_where_one_stands(tmp_path):
    file = write(tmp_path / "a.yaml", {"archive": "arc"})
    assert resolve(files=[file], sets=["archive=here"]).archive == Path("here")
    assert resolve(files=[file], flags={"archive": Path("there")}).archive == Path("there")


@pytest.mark.parametrize(
    ("content", "problem", "place"),
    [
        (b"folds: [1,\nby: x: y\n", "not valid YAML", ":2"),
        (b"\xff\xfe", "not valid YAML", ""),
        (b"just words\n", "expected keys and values", ""),
        (b"", "expected keys and values", ""),
    ],
)
def test_a_broken_file_is_refused_with_its_place(tmp_path, content, problem, place):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=problem) as caught:
        resolve(files=[path])
    assert caught.value.where == f"{path}{place}"


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read the settings file"):
        resolve(files=[tmp_path / "absent.yaml"])


def test_a_settings_file_cannot_run_code(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"by: !!python/object/apply:os.mkdir ['{tmp_path / 'owned'}']\n")
    with pytest.raises(UsageError, match="not valid YAML"):
        resolve(files=[path])
    assert not (tmp_path / "owned").exists()


def test_an_unknown_preset_is_answered():
    with pytest.raises(UsageError, match="no reduce preset called 'hash8'") as caught:
        loading.read_preset("reduce", "hash8")
    assert caught.value.fix == "did you mean 'hash6'?"
    with pytest.raises(UsageError, match="no embed preset called 'x'") as caught:
        loading.read_preset("embed", "x")
    assert caught.value.fix == "leave it out: embed has no presets"


@pytest.mark.parametrize(
    ("stage", "name", "fix"),
    [
        ("pretrain", "wolf2023",
         "choose from wolf2023-byol, wolf2023-moco, wolf2023-spark, wolf2023-swav"),
        ("pretrain", "wolf2023-swaw", "did you mean 'wolf2023-swav'?"),
        ("finetune", "hash6", "it is a preset of `medssl reduce`; choose from bpd2025"),
        ("evaluate", "hash6", "it is a preset of `medssl reduce`"),
    ],
)  # fmt: skip
def test_a_preset_that_begins_so_or_of_another_stage_is_found(stage, name, fix):
    with pytest.raises(UsageError, match=f"no {stage} preset called") as caught:
        loading.read_preset(stage, name)
    assert caught.value.fix == fix


def test_options_become_a_plugin_s_config():
    assert loading.decode(Config, {"size": "16"}, where="options") == Config(size=16)
    with pytest.raises(UsageError, match="unknown option 'siez'") as caught:
        loading.decode(Config, {"siez": 3}, where="options")
    assert (caught.value.where, caught.value.fix) == ("options", "did you mean 'size'?")
    with pytest.raises(UsageError, match="size: input should be a valid integer"):
        loading.decode(Config, {"size": "large"}, where="options")
