"""`medssl evaluate --predictions`: every task, groups by columns, and no id in what is left."""

import csv
import json

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, roc_auc_score

from medssl.ingestion import identity

N = 120
RNG = np.random.default_rng(0)
CANARY = "MILLER^JANE"


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header.split(","), *rows])
    return path


def evaluate(run_main, table, out, *words):
    asked = ("evaluate", "--predictions", table, "--resamples", 100, *words)
    code, said, err = run_main(*asked, "-o", out)
    assert code == 0, err
    return json.loads((out / "report.json").read_text()), said + err


@pytest.fixture
def binary(tmp_path):
    """120 patients with names; sex, ward and a remark about each."""
    label = np.arange(N) % 2
    score = 1 / (1 + np.exp(-RNG.normal(size=N) - label))
    rows = [
        (f"{CANARY} {n}", f"/scans/{CANARY}/{n}.dcm", label[n], score[n], "FM"[n // 2 % 2],
         ["east", "west", ""][n // 4 % 3], f"seen with {CANARY} {n}")
        for n in range(N)
    ]  # fmt: skip
    header = "patient_id,image_id,label,score,sex,ward,remark"
    return write(tmp_path / "other.csv", header, rows), label, score


def test_failures_are_named_as_an_archive_with_the_same_key_names_them(
    binary, run_main, tmp_path, config_home
):
    table, label, score = binary
    record, said = evaluate(run_main, table, tmp_path / "out", "--failures", 3)
    assert "made the institution's key" in said
    key = identity.load(config_home / "medssl" / "site.key")
    assert f"archives with the key {key.key_id}" in said
    negatives = sorted((n for n in range(N) if label[n] == 0), key=lambda n: -score[n])
    shown = [row for row in record["failures"]["rows"] if row["kind"] == "false positive"]
    assert [row["patient_key"] for row in shown] == [
        key.patient(f"{CANARY} {n}") for n in negatives[:3]
    ]
    again, said = evaluate(run_main, table, tmp_path / "again", "--failures", 3)
    assert again["failures"] == record["failures"]
    assert "institution's key" not in said


def test_another_key_gives_other_names_and_the_same_estimates(binary, run_main, tmp_path):
    path = tmp_path / "site.key"
    path.write_bytes(bytes(32))
    path.chmod(0o600)
    one, _ = evaluate(run_main, binary[0], tmp_path / "a")
    two, _ = evaluate(run_main, binary[0], tmp_path / "b", "--key-file", path)
    values = [[row["value"] for row in record["estimates"]] for record in (one, two)]
    assert values[0] == pytest.approx(values[1], abs=1e-12)
    names = [{row["patient_key"] for row in r["failures"]["rows"]} for r in (one, two)]
    assert not names[0] & names[1]
    owner = identity.load(path)
    assert names[1] <= {owner.patient(f"{CANARY} {n}") for n in range(N)}


def test_no_id_and_no_remark_is_in_what_is_left(binary, run_main, tmp_path):
    _, said = evaluate(run_main, binary[0], tmp_path / "out", "--subgroups", "sex,ward,sex*ward")
    left = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(left) > 10
    for text in (*left, said.encode()):
        assert not any(word in text for word in (b"MILLER", b"JANE", b"scans", b"seen with"))


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (("--subgroups", "remark"), 3),  # every value differs
        (("--task", "regression", "--threshold", 0.5), 2),
        (("--subgroups", "patient_id"), 2),
        (("--task", "multi_class"), 3),
    ],
)
def test_a_refusal_repeats_nothing_and_makes_nothing(binary, run_main, tmp_path, asked, code):
    words = ("evaluate", "--predictions", binary[0], *asked, "-o", tmp_path / "out")
    found, said, err = run_main(*words)
    assert found == code, err
    assert not any(word in said + err for word in ("MILLER", "JANE", "scans", "seen with"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("asked", [(), ("--subgroups", "none"), ("--subgroups", "sex")])
@pytest.mark.parametrize("site", ["{} Jane, born 1970-01-01, seen on the ward", "{} {n}"])
def test_a_text_in_place_of_a_site_is_never_published(run_main, tmp_path, asked, site):
    """A site is shown in a report whether or not it makes groups."""
    rows = [(f"p{n}", n % 2, n / N, "FM"[n % 2], site.format(CANARY, n=n)) for n in range(N)]
    table = write(tmp_path / "a.csv", "patient_id,label,score,sex,site", rows)
    words = ("evaluate", "--predictions", table, *asked, "-o", tmp_path / "out")
    code, said, err = run_main(*words)
    assert code == 3, err
    assert "leave" in err
    assert "MILLER" not in said + err
    assert not (tmp_path / "out").exists()


def test_groups_are_those_of_the_columns_that_were_asked_for(binary, run_main, tmp_path):
    table, label, score = binary
    asked = ("--subgroups", "sex,ward,sex*ward,absent")
    record, _ = evaluate(run_main, table, tmp_path / "out", *asked)
    sex, ward, both, absent = record["subgroups"]
    assert [group["name"] for group in sex["groups"]] == ["F", "M"]
    women = np.arange(N) // 2 % 2 == 0
    value = next(v for v in sex["groups"][0]["values"] if v["metric"] == "auroc")
    assert value["value"] == pytest.approx(roc_auc_score(label[women], score[women]))
    assert (ward["n_unknown"], both["n_unknown"]) == (N // 3, N // 3)
    assert [group["name"] for group in both["groups"]] == [
        f"{s} × {w}" for s in "FM" for w in ("east", "west")
    ]
    assert absent["reason"] == "the table has no such column"
    default, _ = evaluate(run_main, table, tmp_path / "default")
    assert [one["attribute"] for one in default["subgroups"]] == ["site"]


def test_a_plan_makes_no_key(binary, run_main, tmp_path, config_home):
    words = ("evaluate", "--predictions", binary[0], "--dry-run", "-o", tmp_path / "out")
    assert run_main(*words)[0] == 0
    assert not config_home.exists()


def test_several_classes_are_judged_as_scikit_learn_does(run_main, tmp_path):
    names = ["mild", "none", "severe"]
    truth = np.arange(N) % 3
    logit = RNG.normal(size=(N, 3)) + 1.2 * (truth[:, None] == np.arange(3))
    share = np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)
    rows = [(f"p{n}", names[truth[n]], *share[n]) for n in range(N)]
    table = write(tmp_path / "a.csv", "patient_id,label,score_mild,score_none,score_severe", rows)
    record, _ = evaluate(run_main, table, tmp_path / "out")
    assert (record["task"], record["columns"]) == ("multi_class", names)
    macro = next(row for row in record["estimates"] if row["column"] == "macro average")
    share /= share.sum(axis=1, keepdims=True)
    expected = roc_auc_score(truth, share, multi_class="ovr", average="macro")
    assert macro["value"] == pytest.approx(expected, abs=1e-12)
    ordered, _ = evaluate(run_main, table, tmp_path / "ordered", "--task", "ordinal")
    assert ordered["columns"] == ["≥ none", "≥ severe"]


def test_several_targets_are_judged_on_those_who_have_their_label(run_main, tmp_path):
    label = {"mass": np.arange(N) % 2, "edema": np.arange(N) // 2 % 2}
    score = {name: 1 / (1 + np.exp(-RNG.normal(size=N) - one)) for name, one in label.items()}
    rows = [
        (f"p{n}", name, label[name][n], score[name][n], "FFM"[n % 3])
        for n in range(N)
        for name in label
        if not (name == "edema" and n >= 100)
    ]
    table = write(tmp_path / "a.csv", "patient_id,target,label,score,sex", rows)
    record, _ = evaluate(run_main, table, tmp_path / "out", "--subgroups", "sex")
    assert (record["task"], record["columns"]) == ("multi_label", ["edema", "mass"])
    found = {row["column"]: row for row in record["estimates"] if row["metric"] == "auroc"}
    expected = roc_auc_score(label["edema"][:100], score["edema"][:100])
    assert found["edema"]["value"] == pytest.approx(expected, abs=1e-12)
    assert (found["edema"]["n_patients"], found["mass"]["n_patients"]) == (100, N)
    women = [n for n in range(100) if n % 3 != 2]
    (edema,) = [g for g in record["subgroups"][0]["groups"]
                if (g["column"], g["name"]) == ("edema", "F")]  # fmt: skip
    expected = roc_auc_score(label["edema"][women], score["edema"][women])
    assert (edema["n_patients"], edema["values"][0]["value"]) == (
        len(women),
        pytest.approx(expected),
    )


def test_amounts_are_judged_as_amounts(run_main, tmp_path):
    label = RNG.normal(60, 10, size=N)
    score = label + RNG.normal(scale=4, size=N)
    rows = [(f"p{n}", label[n], score[n]) for n in range(N)]
    table = write(tmp_path / "a.csv", "patient_id,label,score", rows)
    record, _ = evaluate(run_main, table, tmp_path / "out", "--task", "regression")
    found = {row["metric"]: row["value"] for row in record["estimates"]}
    assert record["task"] == "regression"
    assert found["mae"] == pytest.approx(mean_absolute_error(label, score), abs=1e-9)
    assert found["spearman"] == pytest.approx(spearmanr(label, score).statistic, abs=1e-9)


@pytest.mark.parametrize(("confounded", "light"), [(True, "fail"), (False, "pass")])
def test_a_cohort_whose_site_tells_the_label_is_found(run_main, tmp_path, confounded, light):
    """Nine of ten positives come from one site, and the scores know the site alone."""
    label = np.arange(N) % 2
    north = np.where(RNG.random(N) < 0.1, 1 - label, label) if confounded else np.arange(N) // 2 % 2
    score = 1 / (1 + np.exp(-RNG.normal(size=N) - 2 * (north if confounded else label)))
    rows = [(f"p{n}", label[n], score[n], ["south", "north"][north[n]]) for n in range(N)]
    table = write(tmp_path / "a.csv", "patient_id,label,score,site", rows)
    record, _ = evaluate(run_main, table, tmp_path / "out", "--controls", "site")
    (found,) = [one for one in record["controls"] if one["name"] == "site"]
    assert found["light"] == light, found["said"]
