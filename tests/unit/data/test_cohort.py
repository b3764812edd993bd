"""A cohort: which images, which classes, and every way the labels can be refused."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from medssl.artifacts import archive
from medssl.config.task import Task
from medssl.data import cohort as cohorts
from medssl.foundation.errors import DataError


@pytest.fixture
def relabelled(tiny_archive, tmp_path):
    """A copy of the tiny archive with labels of the test's choice."""

    def make(rows):
        copy = tmp_path / "archive"
        copy.mkdir(exist_ok=True)
        for name in ("archive.json", "images.parquet"):
            (copy / name).write_bytes((tiny_archive / name).read_bytes())
        archive.write_labels(copy, pa.Table.from_pylist(rows, schema=archive.LABELS))
        return copy

    return make


def label(number, value, target="finding"):
    return {"image_id": f"image{number:02d}", "target": target, "value": value}


def test_unlabelled_images_are_left_out_and_one_is_the_positive_class(tiny_archive):
    cohort = cohorts.read(tiny_archive, None)
    assert cohort.task == Task(
        kind="binary", targets=("finding",), classes=("0", "1"), positive="1"
    )
    assert len(cohort) == 16
    odd = [int(key[-2:]) % 2 for key in cohort.patients]
    assert cohort.label[:, 0].tolist() == odd
    assert cohort.strata == [(str(value),) for value in odd]


def test_the_last_class_is_positive_unless_said_otherwise(relabelled):
    folder = relabelled([label(0, "normal"), label(2, "pneumonia")])
    assert cohorts.read(folder, ("finding",)).task.positive == "pneumonia"
    other = cohorts.read(folder, ("finding",), positive="normal")
    assert other.label.tolist() == [[1], [0]]


def test_three_classes_have_no_positive_one(relabelled):
    folder = relabelled([label(0, "b"), label(2, "a"), label(4, "c")])
    cohort = cohorts.read(folder, ("finding",))
    assert (cohort.task.positive, cohort.task.n_outputs) == (None, 3)
    assert cohort.label.tolist() == [[1], [0], [2]]
    assert cohort.strata == [("b",), ("a",), ("c",)]


@pytest.mark.parametrize(
    ("rows", "target", "positive", "message"),
    [
        ([], None, None, "the archive has no labels"),
        ([label(0, "1"), label(2, "1")], "finding", None, "has one class only: 1"),
        ([label(0, None)], "finding", None, "no labels"),
        ([label(0, "1"), label(2, "0")], "findin", None, "no target called 'findin'"),
        ([label(0, "1"), label(0, "x", "other")], None, None, "several targets: finding, other"),
        ([label(0, "1"), label(2, "0")], "finding", "yes", "no class called 'yes'"),
        ([label(i, str(i)) for i in (0, 2, 4)], "finding", "0", "needs two classes"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(relabelled, rows, target, positive, message):
    with pytest.raises(DataError, match=message):
        cohorts.read(relabelled(rows), target and (target,), positive=positive)


def test_ungrouped_makes_every_series_its_own_patient(tiny_archive):
    """A patient of the archive has one series of two images, which stay together."""
    before = cohorts.read(tiny_archive, None)
    alone = before.table.set_column(
        before.table.schema.get_field_index("series_key"), "series_key", before.table["image_id"]
    )
    for table, unit in ((before.table, "series"), (alone, "image")):
        cohort = cohorts.ungrouped(replace(before, table=table))
        assert cohort.patients == table["series_key"].to_pylist()
        assert cohort.table.drop_columns("patient_key").equals(table.drop_columns("patient_key"))
        said = f"patients unknown: every {unit} was treated as a patient of its own"
        assert said in cohorts.facts(cohort, grouped=False)


def test_targets_whose_names_look_like_a_no_keep_their_own_strata(relabelled):
    """As `no effusion` the second target was counted with the first one's negatives."""
    names, rows = ("effusion", "no effusion"), []
    for k, values in enumerate(("00", "01", "10", "11", "01")):
        rows += [label(2 * k, v, name) for v, name in zip(values, names, strict=True)]
    cohort = cohorts.read(relabelled(rows), names)
    assert cohorts.counts_of_classes(cohort) == {
        "effusion=no": 3, "effusion=yes": 2, "no effusion=no": 2, "no effusion=yes": 3,
    }  # fmt: skip


def test_of_many_classes_a_few_are_told(relabelled):
    folder = relabelled([label(k, f"c{k:02d}") for k in range(20)])
    with pytest.raises(DataError, match="has 20 classes: c00, c01, c02, c03, c04, c05 and 14 more"):
        cohorts.read(folder, None, kind="binary")
    first = cohorts.facts(cohorts.read(folder, None), grouped=True)[0]
    assert "c13 1 and 6 more images of 10 patients" in first


def test_some_patients_come_evenly_from_the_classes(tiny_archive):
    cohort = cohorts.some_patients(cohorts.read(tiny_archive, None), 4)
    assert len(set(cohort.patients)) == 4
    assert sorted(cohort.label[:, 0].tolist()) == [0] * 4 + [1] * 4


def test_patients_with_several_classes_are_counted(relabelled):
    # images 0 and 1 are of one patient
    folder = relabelled([label(0, "0"), label(1, "1"), label(2, "1"), label(3, "1")])
    assert cohorts.patients_with_several_classes(cohorts.read(folder, None)) == 1


def test_rows_keeps_images_and_labels_together(tiny_archive):
    cohort = cohorts.read(tiny_archive, None)
    part = cohort.rows(np.array([5, 2]))
    assert part.patients == [cohort.patients[5], cohort.patients[2]]
    assert part.label.tolist() == cohort.label[[5, 2]].tolist()


def test_patients_of_a_group_become_one_by_a_key_of_the_cohort(tiny_archive):
    """`patient00` to `patient07` are labelled, `patient11` is not."""
    before = cohorts.read(tiny_archive, None)
    group = dict.fromkeys(("patient02", "patient05", "patient07"), "elsewhere")
    after = cohorts.merged(before, {**group, "patient01": "unknown", "patient11": "unknown"})
    assert after.table.drop_columns("patient_key").equals(before.table.drop_columns("patient_key"))
    assert after.patients == ["patient02" if key in group else key for key in before.patients]
    assert after.merged == {"ids": 3, "patients": 1}
    assert "3 patients merged into 1 (probable aliases)" in cohorts.facts(after, grouped=True)


def test_merging_nobody_changes_nothing_and_is_said(tiny_archive):
    before = cohorts.read(tiny_archive, None)
    after = cohorts.merged(before, {"patient01": "patient01", "elsewhere": "patient01"})
    assert after.table.equals(before.table)
    assert after.merged == {"ids": 0, "patients": 0}
    assert any(text.startswith("no patients merged") for text in cohorts.facts(after, grouped=True))
    assert not any("merged" in text for text in cohorts.facts(before, grouped=True))


def test_merged_patients_stay_together_in_folds_of_any_seed(tiny_archive):
    from medssl.evaluation import protocols

    cohort = cohorts.merged(
        cohorts.read(tiny_archive, None), {"patient00": "patient00", "patient03": "patient00"}
    )
    people = protocols.people(cohort.patients, cohort.strata)
    for seed in range(5):
        planned = protocols.k_fold(people, n_folds=3, repeats=2, seed=seed)
        for assigned in planned.test_fold:
            assert assigned.keys() == set(cohort.patients)
            assert "patient03" not in assigned
    assert cohorts.patients_with_several_classes(cohort) == 1  # 0 of one id, 1 of the other
