"""Options that several commands share."""

import json

import pytest

from medssl.cli import options
from medssl.foundation.errors import UsageError


def test_a_run_that_is_continued_has_to_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="it is not said which") as caught:
        options.run_folder(None, "pretrain", resume=True)
    assert (caught.value.where, caught.value.fix) == (
        "--out", "name its folder with -o; none is under runs/ here",
    )  # fmt: skip
    for name in ("20260102-000000", "20260101-000000", "no-run"):
        (tmp_path / "runs" / "pretrain" / name).mkdir(parents=True)
    for name in ("20260101-000000", "20260102-000000"):
        (tmp_path / "runs" / "pretrain" / name / "status.json").write_text("{}")
    with pytest.raises(UsageError) as caught:
        options.run_folder(None, "pretrain", resume=True)
    assert caught.value.fix.endswith("the last one here is runs/pretrain/20260102-000000")
    assert options.run_folder(tmp_path, "pretrain", resume=True) == tmp_path


@pytest.mark.parametrize("command", ["reduce", "pretrain", "finetune", "evaluate", "compare"])
def test_every_stage_asks_for_it(command, cli, tiny_archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init = ("--init-from", "none") if command == "finetune" else ()
    inputs = (tiny_archive, tiny_archive) if command == "compare" else (tiny_archive,)
    code, _, err = cli(command, *inputs, *init, "--resume")
    assert code == 2
    assert "fix: name its folder with -o" in err
    assert not list(tmp_path.iterdir())


def test_what_can_be_listed_is_listed(cli):
    code, out, _ = cli("list")
    lines = out.splitlines()[1:]
    assert code == 0
    kinds = [line.split()[0] for line in lines]
    assert kinds == ["methods", "encoders", "schedules", "losses", "strategies", "presets"]
    assert all(len(line.split()) > 3 for line in lines)
    for kind in kinds:
        assert cli("list", kind)[0] == 0
    told = json.loads(cli("list", "--json")[1])
    assert [item["name"] for item in told["items"]] == kinds
