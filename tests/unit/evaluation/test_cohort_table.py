"""Table 1: counts in all and by fold, against counting by hand."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from medssl.artifacts import archive, site_models, tables
from medssl.artifacts.origin import Origin
from medssl.artifacts.splits import Splits
from medssl.config.evaluate import EvaluateSettings
from medssl.config.task import Task
from medssl.evaluation import cohort_table
from medssl.evaluation import judged as judging

TASK = Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1")
N = 60  # images, two of each patient


class Cohort:
    """Thirty patients with two images each, in three folds."""

    rng = np.random.default_rng(3)
    owner = np.arange(N) // 2
    label = rng.integers(0, 2, N // 2)[owner]
    fold = rng.permutation(N // 2)[owner] % 3
    sex = np.array([*"FM", ""])[rng.integers(0, 3, N // 2)][owner]
    view = np.array(["AP", "PA"])[rng.integers(0, 2, N)]
    site = np.array(["north", "south"])[np.where(owner == 4, np.arange(N) % 2, owner % 2)]


def write(folder):
    folder.mkdir()
    images = [
        dict.fromkeys(archive.IMAGES.names)
        | {"image_id": f"i{n:05d}", "sex": Cohort.sex[n] or None, "view": Cohort.view[n]}
        for n in range(N)
    ]
    archive.write_images(folder, tables.build(images[::-1], archive.IMAGES))
    archive.write_labels(folder, tables.build([], archive.LABELS))
    info = archive.ArchiveInfo(
        medssl="0", size=4, spatial_dims=2, key_id="0", files_found=N, files_written=N
    )
    archive.write_info(folder, info)


@pytest.fixture
def judged(tmp_path, table_of):
    """A run on the archive; ``columns`` are those of its predictions."""

    def build(*, group="patient", names=(), label=Cohort.label, task=TASK, **columns):
        write(tmp_path / "archive")
        facts = {"site": Cohort.site.tolist(), "fold": Cohort.fold.tolist()}
        table = table_of(
            [f"k{k:02d}" for k in Cohort.owner], label, np.linspace(0, 1, N), **(facts | columns)
        )
        plan = Splits(
            task=task, seed=0, group=group, by="folds", n_folds=3, test_fold=({},), names=names
        )
        model = dict.fromkeys(site_models.FinetuneInfo.__dataclass_fields__)
        source = Origin(
            predictions_sha256="",
            run=tmp_path,
            archive=tmp_path / "archive",
            splits=plan,
            models=site_models.FinetuneInfo(**model),
        )
        settings = EvaluateSettings(run=tmp_path, subgroups=("none",))
        return judging.of(table, source, settings, "table")

    return build


def rows_of(found):
    return {(row.variable, row.category): row for row in found.rows}


def by_hand(entity, held):
    """How many different entities are held, in all and in each fold."""
    return (
        len(set(entity[held])),
        tuple(len(set(entity[held & (Cohort.fold == k)])) for k in range(3)),
    )


def test_patients_and_images_are_counted_in_all_and_by_fold(judged):
    found = cohort_table.find(judged())
    rows, images = rows_of(found), np.arange(N)
    assert found.folds == ("fold 1", "fold 2", "fold 3")
    expected = {
        ("patients", ""): (Cohort.owner, np.ones(N, dtype=bool)),
        ("images", ""): (images, np.ones(N, dtype=bool)),
        ("positive", "finding"): (Cohort.owner, Cohort.label == 1),  # the patient is the unit
        ("sex", "F"): (Cohort.owner, Cohort.sex == "F"),
        ("sex", "M"): (Cohort.owner, Cohort.sex == "M"),
        ("sex", "not known"): (Cohort.owner, Cohort.sex == ""),
        ("view", "AP"): (images, Cohort.view == "AP"),
        ("view", "PA"): (images, Cohort.view == "PA"),
        ("site", "differs between images"): (Cohort.owner, Cohort.owner == 4),
    }
    for key, (entity, held) in expected.items():
        assert (rows[key].count, rows[key].by_fold) == by_hand(entity, held), key
    assert rows["sex", "F"].counted == "patients"
    assert rows["view", "AP"].counted == "images"
    assert found.unknown == {
        "age_band": "not known of any image",
        "manufacturer": "not known of any image",
        "modality": "not known of any image",
    }


def test_the_categories_of_an_attribute_add_up_to_everybody(judged):
    rows = rows_of(cohort_table.find(judged()))
    for variable in ("sex", "site", "view"):
        own = [row for (name, _), row in rows.items() if name == variable]
        assert sum(row.count for row in own) == own[0].total
        for k in range(3):
            assert sum(row.by_fold[k] for row in own) == own[0].total_by_fold[k]


def test_only_the_first_repeat_makes_the_columns(judged):
    first = judged()
    table = first.table
    other = {"repeat": [1] * N, "fold": ((Cohort.fold + 1) % 3).tolist()}
    more = table
    for name, values in other.items():
        more = more.set_column(table.schema.names.index(name), name, [values])
    both = pa.concat_tables([more.cast(table.schema), table])
    once = cohort_table.find(first)
    twice = cohort_table.find(judging.of(both, first.source, first.settings, "table"))
    assert twice == once


def test_images_stand_for_patients_where_these_are_unknown(judged):
    rows = rows_of(cohort_table.find(judged(group="none")))
    assert ("patients", "") not in rows
    assert rows["sex", "F"].counted == "images"
    assert rows["sex", "F"].count == int((Cohort.sex == "F").sum())


def test_folds_have_the_names_of_the_sites_that_were_left_out(judged):
    assert cohort_table.find(judged(names=("a", "b", "c"))).folds == ("a", "b", "c")


def test_many_folds_and_many_words_are_summed(judged):
    found = cohort_table.find(
        judged(fold=Cohort.owner.tolist(), site=[f"s{k:02d}" for k in Cohort.owner])
    )
    assert (found.folds, found.n_folds) == ((), 30)
    assert all(row.by_fold == () for row in found.rows)
    sites = [row for row in found.rows if row.variable == "site"]
    assert len(sites) == cohort_table.MOST_CATEGORIES
    assert (sites[-1].category, sites[-1].count) == ("19 others", 19)


def test_amounts_have_a_mean_and_a_spread(judged):
    task = Task(kind="regression", targets=("finding",))
    amount = np.random.default_rng(0).normal(50, 10, N // 2)[Cohort.owner]
    found = cohort_table.find(judged(label=amount, task=task))
    (row,) = found.amounts
    one_each, fold = amount[::2], Cohort.fold[::2]
    assert (row.mean, row.sd) == pytest.approx((one_each.mean(), one_each.std(ddof=1)))
    assert row.mean_by_fold == pytest.approx([one_each[fold == k].mean() for k in range(3)])
    assert row.sd_by_fold == pytest.approx([one_each[fold == k].std(ddof=1) for k in range(3)])
    assert not any(row.variable == "positive" for row in found.rows)


def test_without_an_archive_the_reason_is_told(judged):
    known = judged()
    gone = replace(known.source, archive=None, no_archive="it is gone")
    found = cohort_table.find(replace(known, source=gone))
    assert found.unknown["sex"] == found.unknown["view"] == "it is gone"
    assert rows_of(found)["site", "north"].count > 0
