"""`medssl doctor` says what is missing, and how to get it, whatever is missing."""

import json
import re
import sys
import tomllib
from importlib import metadata

import pytest

from medssl.cli import canary, doctor
from medssl.ingestion import codes, identity


def required(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    return [re.match(r"[\w-]+", line).group() for line in project["dependencies"]]


def facts(cli, expected=0):
    code, out, err = cli("doctor", "--json")
    assert (code, err) == (expected, "")
    return json.loads(out)


def lacks(found, *, is_needed):
    return {one["what"]: one["fix"] for one in found["lacks"] if one["is_needed"] is is_needed}


def test_every_requirement_is_shown_with_its_version(cli, repository):
    found = facts(cli)
    for name in required(repository):
        assert found[name] == metadata.version(name)


@pytest.fixture
def missing(monkeypatch):
    """Take a library away: neither its metadata nor its module is found."""
    real = metadata.version

    def take(distribution, module):
        def version(name):
            if name == distribution:
                raise metadata.PackageNotFoundError(name)
            return real(name)

        monkeypatch.setattr(metadata, "version", version)
        for name in [n for n in sys.modules if n == module or n.startswith(f"{module}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, module, None)

    return take


@pytest.mark.parametrize(
    ("distribution", "module"),
    [("torch", "torch"), ("pydicom", "pydicom"), ("pyyaml", "yaml")],
)
def test_a_missing_library_is_named_with_the_line_that_installs_it(
    cli, missing, distribution, module
):
    missing(distribution, module)
    found = facts(cli, expected=5)
    assert re.fullmatch(rf"missing: pip install '{distribution}[<>=\d.,]+'", found[distribution])
    assert lacks(found, is_needed=True) == {
        distribution: found[distribution].removeprefix("missing: ")
    }
    assert found["verdict"] == "something needed is missing"
    assert found["numpy"] == metadata.version("numpy")
    if distribution == "torch":
        assert found["device"] == "unknown: torch cannot be imported"
    if distribution == "pydicom":
        assert set(found["decoders"].values()) == {"unknown: pydicom cannot be imported"}


def test_a_torch_that_is_there_and_does_not_load_is_needed(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = facts(cli, expected=5)
    assert found["torch"] == metadata.version("torch")
    assert list(lacks(found, is_needed=True)) == ["torch cannot be imported"]


def test_a_missing_extra_is_named_with_the_line_that_installs_it(cli, missing):
    missing("pydicom-data", "data_store")
    assert facts(cli)["extras"]["demo"] == "missing: pip install 'medssl[demo]'"


def test_the_extras_of_users_are_listed(cli, repository, monkeypatch):
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    lines = [
        f"{line} ; extra == '{extra}'"
        for extra, named in extras["optional-dependencies"].items()
        for line in named
    ]
    monkeypatch.setattr(metadata, "requires", lambda _: lines)
    assert set(facts(cli)["extras"]) == set(extras["optional-dependencies"]) - {"dev"}


def test_an_extra_of_several_packages_shows_all_of_them(cli, monkeypatch):
    lines = ["numpy>=1 ; extra == 'both'", "typer>=0.1 ; extra == 'both'"]
    monkeypatch.setattr(metadata, "requires", lambda _: lines)
    both = f"{metadata.version('numpy')}, {metadata.version('typer')}"
    assert facts(cli)["extras"] == {"both": both}
    monkeypatch.setattr(metadata, "requires", lambda _: ["no-such>=1 ; extra == 'both'", *lines])
    assert facts(cli)["extras"] == {"both": "missing: pip install 'medssl[both]'"}


def test_the_lines_that_help_name_extras_that_exist(repository):
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    lines = [*doctor._OPTIONAL.values(), *codes.FIXES.values()]
    installs = [line for line in lines if "pip install" in line]
    named = re.findall(r"medssl\[([\w-]+)\]", " ".join(installs))
    assert len(named) == len(installs) > 1
    assert set(named) <= set(extras["optional-dependencies"])


def test_a_decoder_that_is_missing_is_not_needed(cli, monkeypatch):
    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "is_available", property(lambda one: one.UID[-2:] != "70"))
    found = facts(cli)
    assert found["verdict"] == "everything needed is here"
    assert lacks(found, is_needed=False)["JPEG lossless"] == codes.JPEG_INSTALL
    assert found["decoders"]["JPEG-LS"] == "ok"
    monkeypatch.setattr(Decoder, "is_available", property(lambda _: True))
    assert "JPEG lossless" not in lacks(facts(cli), is_needed=False)


def test_the_last_line_is_the_verdict(cli):
    code, out, _ = cli("doctor")
    assert code == 0
    assert out.splitlines()[-1].split(maxsplit=1) == ["verdict", "everything needed is here"]


@pytest.mark.parametrize(
    ("cuda", "fix"),
    [(None, "pip install --force-reinstall torch"), ("12.8", "update the NVIDIA driver .* 12.8")],
)
def test_a_gpu_that_is_not_used_is_told(cli, monkeypatch, tmp_path, cuda, fix):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(doctor, "_NVIDIA", tmp_path)
    assert re.fullmatch(fix, lacks(facts(cli), is_needed=False)["the GPU is not used"])


def test_memory_is_that_of_the_container(cli, monkeypatch, tmp_path):
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "info").write_text("MemTotal: 9 kB\nMemAvailable:    3145728 kB\n")
    monkeypatch.setattr(doctor, "_CGROUP", tmp_path / "max")
    monkeypatch.setattr(doctor, "_MEMINFO", tmp_path / "info")
    whole = facts(cli)
    assert whole["memory_available_gib"] == 3.0
    (tmp_path / "max").write_text(f"{2**29}\n")
    assert facts(cli)["memory_gib"] == 0.5 < whole["memory_gib"]
    monkeypatch.setattr(doctor, "_MEMINFO", tmp_path / "absent")
    monkeypatch.setattr(sys, "platform", "darwin")
    other = facts(cli)
    assert other["memory_available_gib"] is None
    assert other["memory_limit"] == "cannot be enforced on this system"


def test_the_key_is_found_and_a_key_others_may_read_is_told(cli):
    assert facts(cli)["key"] == "none yet: the first ingest makes it"
    path = identity.default_key_path()
    key, _ = identity.load_or_create(path)
    assert facts(cli)["key"] == f"{path}, id {key.key_id}"
    path.chmod(0o644)
    assert f"chmod 600 {path}" in facts(cli)["key"]
    assert "the key can be read by others" in lacks(facts(cli), is_needed=False)
    path.chmod(0o600)
    path.write_bytes(b"short")
    assert "the institution's key" in facts(cli)["key"]


def test_the_canary_refuses_a_used_folder(cli, tmp_path):
    (tmp_path / "note").write_text("")
    code, out, err = cli("doctor", "--phi-canary", tmp_path)
    assert (code, out) == (2, "")
    assert "the folder is not empty" in err


@pytest.fixture
def canary_says(cli, tmp_path, monkeypatch):
    """Run the canary with one cheap command, after which the folder is changed."""

    def run(change, *words):
        def steps(planted, out):
            yield canary.Step("list", ("list", "methods"))
            change(planted, out)

        monkeypatch.setattr(canary, "_steps", steps)
        code, out, _ = cli("doctor", "--phi-canary", tmp_path / "new", *words)
        return code, out

    return run


def test_a_canary_that_finds_nothing_in_private_proves_nothing(canary_says):
    code, out = canary_says(lambda *_: None)
    assert code == 1
    assert "problem      no private/ folder, or no key, was made" in out
    assert "so the search proves nothing" in out
    assert out.splitlines()[-1].split(maxsplit=1) == ["verdict", "not shown: see the problems"]


def test_leaks_open_doors_and_other_exits_are_told(canary_says, monkeypatch):
    def leak(planted, out):
        private, key = out / "archive" / "private", out.parent / "key" / "medssl"
        for folder in (private, key):
            folder.mkdir(parents=True, mode=0o755)
        (private / "paths.txt").write_text(planted.source.name)
        (key / "site.key").write_bytes(bytes(range(32)))
        (out / "archive" / "archive.json").write_text(planted.source.name)
        (out / "archive" / "env.json").write_bytes(bytes(range(32)))

    before = canary._run
    monkeypatch.setattr(canary, "_run", lambda *words: before(*words) + 3)
    code, out = canary_says(leak, "--json")
    found = json.loads(out)
    assert code == 1
    assert (found["schema"], found["command"]) == ("medssl.result/1", "doctor")
    assert found["leaks"] == [
        {"planted": planted, "found": f"out/archive/{name}", "layer": "as it is"}
        for planted, name in (
            ("the name of the source folder", "archive.json"),
            ("the institution's key", "env.json"),
        )
    ]
    assert found["verdict"].startswith("2 leaks")
    assert found["found_in_private"] == 1
    assert {text.partition(" has mode ")[0] for text in found["problems"]} == {
        "list ended in exit 3: see said/00-list.err",
        "out/archive/private",
        "out/archive/private/paths.txt",
        "key/medssl",
        "key/medssl/site.key",
    }
