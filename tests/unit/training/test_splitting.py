"""What a split takes from an archive: sites, times, and the names of patients in imported folds."""

import json
from dataclasses import replace

import numpy as np
import pytest

from medssl.artifacts import aliases, archive, splits, tables
from medssl.config.finetune import FinetuneSettings
from medssl.config.task import Task
from medssl.data import cohort as cohorts
from medssl.foundation.errors import ArtifactError, DataError, UsageError
from medssl.ingestion.identity import SiteKey
from medssl.training import splitting

KEY = SiteKey(bytes(range(32)))
N = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tables of an archive of 24 patients, two images each, at two sites, over six years."""
    root = tmp_path_factory.mktemp("splitting") / "archive"
    root.mkdir()
    images, labels = [], []
    for number in range(2 * N):
        patient = number // 2
        image = f"image{number:02d}"
        images.append(
            {
                "image_id": image,
                "patient_key": KEY.patient(f"P{patient}"),
                "series_key": image,
                "site": "north" if patient % 3 else "south",
                "flags": [],
            }
        )
        values = {
            "finding": str(patient // 2 % 2),
            "year": str(2015 + patient // 4),
            "day": f"20{15 + patient // 4}-0{1 + number % 2}-01",
            "half": "2020" if patient % 2 else None,
            "amount": str(patient / 7),
        }
        labels += [{"image_id": image, "target": k, "value": v} for k, v in values.items()]
    archive.write_images(root, tables.build(images, archive.IMAGES))
    archive.write_labels(root, tables.build(labels, archive.LABELS))
    info = archive.ArchiveInfo(
        medssl="0",
        size=16,
        spatial_dims=2,
        key_id=KEY.key_id,
        files_found=2 * N,
        files_written=2 * N,
        hash=archive.content_hash(root),
    )
    archive.write_info(root, info)
    return root


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "site.key"
    path.write_bytes(KEY.secret)
    path.chmod(0o600)
    return path


def _split(folder, target="finding", *, group="patient", more=None, **split):
    settings = FinetuneSettings(
        **{"archive": folder, "init_from": "none", "group": group, "inner": {"share": 0.2},
           "folds": 3, "split": split, **(more or {})}
    )  # fmt: skip
    cohort = cohorts.read(folder, (target,))
    if group == "none":
        cohort = cohorts.ungrouped(cohort)
    return splitting.prepare(settings, cohort)


def _key(patient):
    return KEY.patient(f"P{patient}")


def test_sites_come_from_the_archive(folder):
    split = _split(folder, by="site")
    assert split.plan.names == ("north", "south")
    assert split.plan.test_fold[0][_key(0)] == 1
    assert split.notes[0] == "tested at north: 16 patients (0 8, 1 8): too few to judge north alone"
    held = _split(folder, by="hold_out", hold_out=("south",))
    assert set(held.plan.test_fold[0]) == {_key(p) for p in range(0, N, 3)}
    for one in (split, held):
        for fold in range(one.plan.n_folds):
            learned, apart = one.training(0, fold)
            tested = {k for k, number in one.plan.test_fold[0].items() if number == fold}
            assert not (learned | apart) & tested
            assert not learned & apart
            assert apart


@pytest.mark.parametrize("target", ["year", "day"])
def test_time_is_a_label_column(folder, target):
    split = _split(folder, by="time", time_target=target, test_share=0.3)
    assert set(split.plan.test_fold[0]) == {_key(p) for p in range(16, N)}
    assert split.notes[0] == "8 of 24 patients, those first seen last, are tested"


def test_amounts_are_split_by_time_too(folder):
    split = _split(folder, "amount", by="time", time_target="year", test_share=0.2)
    assert set(split.plan.test_fold[0]) == {_key(p) for p in range(20, N)}


@pytest.mark.parametrize(
    ("target", "problem", "fix"),
    [
        ("yaer", "no label column called 'yaer'", "did you mean 'year'"),
        ("half", "12 patients of 24 have an image without a number or a day in 'half'", "fill"),
    ],
)
def test_times_that_are_none_are_refused(folder, target, problem, fix):
    with pytest.raises(DataError, match=problem) as caught:
        _split(folder, by="time", time_target=target)
    assert fix in caught.value.fix
    assert caught.value.where == "split.time_target"


def test_balanced_folds_are_of_two_classes(folder):
    split = _split(folder, balanced_test=True, by="folds")
    assert len(split.plan.test_fold[0]) == N
    with pytest.raises(UsageError, match="the task is regression"):
        _split(folder, "amount", balanced_test=True)


def test_stratifying_by_site_spreads_them(folder):
    split = _split(folder, stratify="class_and_site")
    for name in ("0", "1"):
        south = {_key(p) for p in range(0, N, 3) if str(p // 2 % 2) == name}
        counts = np.bincount([split.plan.test_fold[0][key] for key in south], minlength=3)
        assert sorted(counts) == [1, 1, 2]


def _write_csv(path, rows, header="patient_id,fold"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_foreign_ids_are_keyed_before_they_are_compared(folder, tmp_path, key_file):
    rows = [f" P{p} ,{1 + p // 4}" for p in range(16)] + ["P99,1", "P20,"]
    table = _write_csv(tmp_path / "s.csv", [*rows, *rows])
    split = _split(folder, by="file", file=table, key_file=key_file)
    assert split.plan.n_folds == 4
    wanted = {_key(p): p // 4 for p in range(16)}
    assert dict(split.plan.test_fold[0]) == wanted
    assert split.notes[:3] == (
        "imported splits: 16 of 24 patients are tested",
        "1 of 18 patients listed are not in the cohort",
        "8 never tested and always trained on, 7 of them not listed",
    )
    assert list(split.inputs) == ["split"]
    keyed = [f"{_key(p)},{p // 4}" for p in range(16)]
    same = _write_csv(tmp_path / "k.csv", keyed[::-1], header="patient_key,fold")
    assert _split(folder, by="file", file=same).plan.test_fold == split.plan.test_fold


def test_repeats_of_a_table_are_kept_apart(folder, tmp_path, key_file):
    rows = [f"P{p},{(p // 2 + r) // 2 % 2},{r}" for r in (3, 7) for p in range(N)]
    table = _write_csv(tmp_path / "s.csv", rows, header="patient_id,fold,repeat")
    split = _split(folder, by="file", file=table, key_file=key_file)
    for place, repeat in enumerate((3, 7)):
        wanted = {_key(p): (p // 2 + repeat) // 2 % 2 for p in range(N)}
        assert dict(split.plan.test_fold[place]) == wanted


def test_ids_need_the_key_of_the_archive(folder, tmp_path, key_file, config_home):
    table = _write_csv(tmp_path / "s.csv", [f"P{p},{p % 2}" for p in range(N)])
    with pytest.raises(UsageError, match="and there is none") as caught:
        _split(folder, by="file", file=table)
    assert "patient_key" in caught.value.fix
    assert not config_home.exists() or not any(config_home.iterdir())  # no key is made for it
    key_file.write_bytes(bytes(32))
    with pytest.raises(UsageError, match="and this is another one"):
        _split(folder, by="file", file=table, key_file=key_file)
    with pytest.raises(UsageError, match="no such key file"):
        _split(folder, by="file", file=table, key_file=tmp_path / "none")


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([f"P{p},{p // 2 % 2}" for p in range(N)] + ["P3,0", "P4,1"], "leakage: 2 patients in two"),
        ([f"P{p},{p // 2 % 2}" for p in range(N)] + ["P3,"], "leakage: 1 patient in two folds"),
        ([f"Q{p},{p % 2}" for p in range(N)], "none of the 24 patients in it is tested"),
        (["P0,0", "P1,1"], "repeat 1, fold 1: no patient of class '1' to test"),
    ],
)
def test_tables_that_leak_or_name_others_are_refused(folder, tmp_path, key_file, rows, problem):
    table = _write_csv(tmp_path / "s.csv", rows)
    with pytest.raises(DataError, match=problem) as caught:
        _split(folder, by="file", file=table, key_file=key_file)
    assert caught.value.where == str(table)
    assert "P3" not in str(caught.value)


def _as_record(split, path, group="patient"):
    task = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
    plan = splits.Splits(
        task=task,
        seed=0,
        group=group,
        by="site",
        n_folds=split.plan.n_folds,
        test_fold=split.plan.test_fold,
        names=split.plan.names,
        barred=split.plan.barred,
    )
    splits.write(path, plan)
    return plan


def test_the_splits_of_a_run_are_those_of_another(folder, tmp_path):
    made = _split(folder, more={"seed": 5, "repeats": 2})
    plan = _as_record(made, tmp_path / "splits.json")
    for given in (tmp_path, tmp_path / "splits.json"):
        again = _split(folder, by="file", file=given, more={"seed": 5})
        assert again.plan.test_fold == made.plan.test_fold
        assert again.inner == made.inner
        assert replace(plan, test_fold=again.plan.test_fold).digest == plan.digest


def test_who_is_left_out_at_a_site_is_imported(folder, tmp_path):
    made = _split(folder, by="site")
    barred = ((("nobody", _key(1)), ()),)
    altered = replace(made, plan=replace(made.plan, barred=barred))
    _as_record(altered, tmp_path / "splits.json")
    again = _split(folder, by="file", file=tmp_path)
    assert again.plan.barred == (((_key(1),), ()),)
    assert again.plan.names == ("north", "south")
    assert _key(1) not in again.training(0, 0)[0] | again.training(0, 0)[1]


def test_splits_of_another_grouping_or_kind_of_file_are_refused(folder, tmp_path):
    made = _split(folder, group="none")
    _as_record(made, tmp_path / "splits.json", group="none")
    assert len(made.people.classes) == 2 * N
    with pytest.raises(DataError, match="splits of --group none, and the run is one of --group pa"):
        _split(folder, by="file", file=tmp_path)
    again = _split(folder, by="file", file=tmp_path, group="none")
    assert again.plan.test_fold == made.plan.test_fold
    table = _write_csv(tmp_path / "s.csv", ["P1,0"])
    with pytest.raises(UsageError, match="a table of patients, where every series is its own"):
        _split(folder, by="file", file=table, group="none")
    (tmp_path / "splits.json").write_text(json.dumps({"schema": "medssl.reduce/1"}))
    with pytest.raises(ArtifactError, match=r"expected medssl\.splits/2"):
        _split(folder, by="file", file=tmp_path)


def test_aliases_count_as_one_in_imported_folds(folder, tmp_path):
    """P0 and P2 are one person: in one fold they are welcome, in two they are refused."""
    low, high = sorted((_key(0), _key(2)))
    row = aliases.Alias(
        patient_key=low,
        other_patient_key=high,
        n_pairs=1,
        similarity=1.0,
        metric="exact",
        image_id="image00",
        other_image_id="image04",
        kind="alias",
    )
    aliases.write(tmp_path, [row])
    more = {"aliases": tmp_path / aliases.NAME}
    settings = FinetuneSettings(archive=folder, init_from="none", inner={"share": 0.0}, **more)
    cohort = cohorts.merged(cohorts.read(folder, ("finding",)), {low: low, high: low})
    fold = {p: p % 2 for p in range(N)}
    text = [f"{_key(p)},{f}" for p, f in fold.items()]
    table = _write_csv(tmp_path / "k.csv", text, header="patient_key,fold")
    update = {"split": settings.split.model_copy(update={"by": "file", "file": table})}
    split = splitting.prepare(settings.model_copy(update=update), cohort)
    assert len(split.plan.test_fold[0]) == N - 1
    assert split.plan.test_fold[0][low] == 0
    _write_csv(table, [line.replace(f"{_key(2)},0", f"{_key(2)},1") for line in text],
               header="patient_key,fold")  # fmt: skip
    with pytest.raises(DataError, match="leakage: 1 patient in two folds"):
        splitting.prepare(settings.model_copy(update=update), cohort)


def test_a_smoke_run_draws_its_folds_and_says_so(folder):
    split = _split(folder, by="hold_out", hold_out=("south",), more={"smoke": True, "folds": 2})
    assert split.plan.n_folds == 2
    assert split.notes[0] == "a smoke run draws its folds: split by hold_out was not tried"


def _amounts(folder, column):
    """The cohort with another column of amounts beside its own, a value per patient."""
    cohort = cohorts.read(folder, ("amount",))
    task = Task(kind="regression", targets=("amount", "rare"))
    number = {_key(p): value for p, value in enumerate(column)}
    beside = np.array([number[key] for key in cohort.patients])
    return replace(cohort, task=task, label=np.column_stack([cohort.label, beside]))


@pytest.mark.parametrize(
    ("known", "problem"),
    [
        ({4: 1.0, 5: 2.0}, "target 'rare' has (one value only|no label) among the patients that"),
        (dict.fromkeys(range(N), 0.0) | {3: 1.0}, "'rare' has one value only among the patients"),
    ],
)
def test_amounts_that_a_fold_cannot_learn_are_refused_beforehand(folder, known, problem):
    settings = FinetuneSettings(archive=folder, init_from="none", folds=3, inner={"share": 0.0})
    cohort = _amounts(folder, [known.get(p, np.nan) for p in range(N)])
    with pytest.raises(DataError, match=problem) as caught:
        splitting.prepare(settings, cohort)
    assert "repeat 1, fold" in str(caught.value)
    every = _amounts(folder, [p % 3 for p in range(N)])
    assert splitting.prepare(settings, every).plan.n_folds == 3


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_models_that_stay_uncalibrated_are_said_beforehand(folder, kind):
    """Of 16 training patients, 8 of a class, a fifth is two; as many as are told here."""
    needed = {"temperature": 10, "isotonic": 50}[kind]
    split = _split(folder, more={"calibration": kind})
    fewest = min(
        sum(name in split.people.classes[key] for key in split.training(0, fold)[1])
        for name in "01" for fold in range(3)
    )  # fmt: skip
    assert split.notes == (
        f"calibration {kind} left out in 3 models of 3: {fewest} patients of the rarest class set "
        f"apart, {needed} needed",
    )
    assert _split(folder, more={"calibration": "none"}).notes == ()


def test_what_cannot_be_chosen_is_said(folder):
    split = _split(folder, more={"inner": {"share": 0.2, "patience": 3}, "calibration": "none"})
    assert split.notes == ()
    settings = {"inner": {"share": 0.0}}
    assert _split(folder, more=settings).notes == ()
    unstopped = FinetuneSettings(archive=folder, init_from="none", inner={"patience": 3})
    inner = unstopped.inner.model_copy(update={"share": 0.0})  # as `auto` resolves it if few
    cohort = cohorts.read(folder, ("finding",))
    found = splitting.prepare(unstopped.model_copy(update={"inner": inner}), cohort)
    assert found.notes == ("nobody is set apart to see when to stop: all epochs run",)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"split": {"by": "hold_out"}}, "a hold-out test needs the sites"),
        ({"split": {"hold_out": ["x"]}}, "a hold-out test needs the sites"),
        ({"split": {"by": "file"}}, "imported splits need their file"),
        ({"split": {"by": "time"}}, "needs a label column that orders patients"),
        ({"split": {"time_target": "year"}}, "needs a label column that orders patients"),
        ({"split": {"by": "site", "balanced_test": True}}, "a split by site draws none"),
        ({"split": {"by": "site", "stratify": "class_and_site"}}, "a split by site draws none"),
        ({"split": {"balanced_test": True, "stratify": "class_and_site"}}, "draws folds by class"),
        ({"split": {"by": "site"}, "repeats": 3}, "a split by site has nothing to draw anew"),
        ({"split": {"by": "hold_out", "hold_out": ["x"]}, "repeats": 2}, "nothing to draw anew"),
        ({"split": {"by": "time", "time_target": "t"}, "repeats": 2}, "nothing to draw anew"),
        ({"split": {"by": "file", "file": "s.csv"}, "repeats": 2}, "nothing to draw anew"),
        ({"inner": {"share": 0, "patience": 3}}, "nobody is set apart to see when to stop"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given, problem):
    with pytest.raises(UsageError, match=problem) as caught:
        FinetuneSettings(archive="a", init_from="none", **given)
    assert caught.value.exit_code == 2
    assert caught.value.where
    assert caught.value.fix


@pytest.mark.parametrize("repeats", [1, 2])
def test_trainings_with_other_seeds_have_the_same_folds(folder, repeats):
    once = _split(folder, more={"repeats": repeats, "fractions": [0.5]})
    found = _split(folder, more={"repeats": repeats, "fractions": [0.5], "seeds": 3})
    for name in ("inner", "unused"):
        assert getattr(found, name)[::3] == getattr(once, name)
    assert len(found.plan.test_fold) == 3 * repeats
    for number, tested in enumerate(found.plan.test_fold):
        assert tested == once.plan.test_fold[number // 3]
        assert found.training(number, 0) == once.training(number // 3, 0)
