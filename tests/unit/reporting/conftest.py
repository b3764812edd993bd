"""Reports as plain records, computed from small simulated cohorts."""

import numpy as np
import pytest

from medssl.artifacts import predictions, tables
from medssl.artifacts.origin import Origin
from medssl.artifacts.splits import Splits
from medssl.config.compare import CompareSettings
from medssl.config.evaluate import EvaluateSettings
from medssl.config.task import Task
from medssl.evaluation import (
    adequacy,
    agreement,
    assessment,
    calibration_error,
    cautions,
    comparison,
    curves,
    decision,
    delong,
    intervals,
    operating_points,
    significance,
    units,
)
from medssl.evaluation.cautions import Circumstances
from medssl.evaluation.cohort_flow import CohortFlow
from medssl.evaluation.cohort_table import Amount, CohortTable, Row
from medssl.evaluation.findings import Findings
from medssl.evaluation.judged import Judged
from medssl.evaluation.label_efficiency import RANDOM, Arm
from medssl.evaluation.significance import Plan
from medssl.evaluation.trainings import Trainings
from medssl.reporting import contents, side_by_side

TRAININGS = Trainings(metric="auroc", title="AUROC", column="finding", values=(0.7, 0.8))
NOBODY = dict.fromkeys(("files", "patients", "studies", "series", "images"))
FLOW = CohortFlow(
    steps=(
        {"step": "found", "title": "Files found", **NOBODY, "files": 1234, "left_out": None},
        {"step": "written", "title": "Written", **NOBODY, "files": 100, "left_out": {
            "title": "Left out", "patients": 0, "patients_without_image": 0, "counted": "files",
            "count": 1134, "codes": [{"title": "Text", "is_reject": False, "count": 1134}]}},
        {"step": "analysed", "title": "Analysed", **NOBODY, "patients": 60, "images": 60,
         "left_out": {"title": "Without a label", "patients": 3, "patients_without_image": 2,
                      "counted": "images", "count": 40, "codes": []}},
    ),
    problems=("images here: 3, but images there: 4",),
)  # fmt: skip
TABLE_ONE = CohortTable(
    folds=("fold 1", "<b>"),
    n_folds=2,
    rows=(
        Row(variable="patients", category="", counted="patients", count=60, total=60,
            by_fold=(31, 29), total_by_fold=(31, 29)),
        Row(variable="age_band", category="6-12 & up", counted="patients", count=17, total=60,
            by_fold=(9, 8), total_by_fold=(31, 29)),
    ),
    amounts=(Amount(column="age", mean=41.5, sd=10.2, mean_by_fold=(40.1, 43.0),
                    sd_by_fold=(9.8, 10.4)),),
    unknown={"sex": "not known of any image"},
)  # fmt: skip
SAME = {"kind": RANDOM, "start": RANDOM, "schedule": "full"}


def compose(found, origin, settings):
    """Return a report on findings as the stage composes it; their table is not looked at."""
    judged = Judged(
        source=origin,
        table=tables.build([], predictions.PREDICTIONS),
        where="table",
        units=found.units,
        threshold=operating_points.declared(settings, found.units),
        settings=settings,
    )
    return contents.compose(found, judged)


@pytest.fixture(scope="session", name="compose")
def _compose():
    return compose


def _rows(n_patients, classes, seed):
    rng = np.random.default_rng(seed)
    for patient in range(n_patients):
        own = patient % len(classes)
        logit = rng.normal(size=len(classes))
        logit[own] += 1
        share = np.exp(logit) / np.exp(logit).sum()
        for k in range(len(classes)) if len(classes) > 2 else [1]:
            yield {
                "image_id": f"i{patient:03d}",
                "patient_key": f"secret{patient:03d}",
                "site": ["north", "south"][patient % 2],
                "target": f"grade={classes[k]}" if len(classes) > 2 else "finding",
                "label": int(own == k),
                "score": float(share[k]),
                "repeat": 0,
                "fold": patient // len(classes) % 3,
                "seed": seed,
                "part": "test",
            }


def _judged(n_patients, classes, seed):
    table = tables.build(list(_rows(n_patients, classes, seed)), predictions.PREDICTIONS)
    target = "grade" if len(classes) > 2 else "finding"
    return units.build(table, target=target, aggregate="mean", where="table")


@pytest.fixture(scope="session")
def findings_of():
    """(patients, classes, seed) -> findings from 100 resamples."""

    def build(n_patients=60, classes=("0", "1"), seed=0, notes=()):
        judged = _judged(n_patients, classes, seed)
        draws = intervals.draw_both(judged.stratum, 100, np.random.default_rng(seed))
        folds = assessment.folds(judged)
        drifts = assessment.drifts(judged, folds)
        columns = range(len(judged.columns))
        measured = assessment.measure(judged, draws, 0.5)
        estimates = assessment.estimates(measured, 0.95)
        smooth = (curves.calibration(judged, k, draws.over_all, 0.95) for k in columns)
        return Findings(
            units=judged,
            estimates=estimates,
            operating_points=operating_points.find(measured, estimates, (0.05,), 0.95),
            folds=folds,
            drifts=drifts,
            rocs=tuple(curves.roc(judged, k, draws.within_class, 0.95) for k in columns),
            calibrations=tuple(curve for curve in smooth if curve is not None),
            risks=tuple(curves.risks(judged, k) for k in columns),
            cautions=cautions.find(judged, estimates, drifts, Circumstances()),
            notes=notes,
            adequacy=adequacy.find(judged, estimates),
            flow=FLOW if len(classes) == 2 else CohortFlow(reason="it is a table"),
            cohort=TABLE_ONE,
            checks=delong.check(measured, 0.95),
            calibration_errors=tuple(
                calibration_error.find(judged, k, np.random.default_rng(0)) for k in columns
            ),
            decisions=tuple(_decisions(judged, draws)),
        )

    return build


def _decisions(judged, draws):
    at = np.linspace(0.1, 0.5, 11)
    for k in range(len(judged.columns)):
        yield decision.curve(judged, k, draws.over_all, 0.95, at, declared=True)


@pytest.fixture(scope="session")
def amounts_report(settings):
    """A report on two amounts, of which the second is known for half of the patients."""
    rng = np.random.default_rng(0)
    label = rng.normal(60, 10, (60, 2)) * (1, 20)
    rows = [
        {
            "image_id": f"i{n:03d}", "patient_key": f"secret{n:03d}", "site": None,
            "target": ("age", "volume")[k], "label": label[n, k],
            "score": label[n, k] + rng.normal(0, (5, 100)[k]), "repeat": 0, "fold": n % 3,
            "seed": 0, "part": "test",
        }
        for n in range(60)
        for k in range(2)
        if k == 0 or n % 2
    ]  # fmt: skip
    table = tables.build(rows, predictions.PREDICTIONS)
    task = Task(kind="regression", targets=("age", "volume"))
    judged = units.build(table, target=task.name, aggregate="mean", where="table", task=task)
    draws = intervals.draw_both(judged.stratum, 100, np.random.default_rng(0))
    estimates = assessment.estimates(assessment.measure(judged, draws), 0.95)
    found = Findings(
        units=judged,
        estimates=estimates,
        operating_points=(),
        folds=(),
        drifts=(),
        rocs=(),
        calibrations=(),
        risks=(),
        cautions=(),
        notes=(),
        agreements=tuple(agreement.find(judged, k, draws.over_all, 0.95) for k in range(2)),
    )
    known = settings.model_copy(update={"threshold": "none", "prevalence": ()})
    return compose(found, Origin(predictions_sha256="ef" * 32), known)


@pytest.fixture(scope="session")
def splits():
    return Splits(
        task=Task(kind="binary", targets=("finding",), classes=("0", "1"), positive="1"),
        seed=0,
        group="patient",
        by="folds",
        n_folds=3,
        test_fold=({"secret000": 0},),
    )


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    return EvaluateSettings(run=run, resamples=100, threshold=0.5, prevalence=(0.05,))


@pytest.fixture(scope="session")
def report(findings_of, splits, settings):
    """A report on a finetune run with two classes."""
    origin = Origin(
        predictions_sha256="ab" * 32,
        splits=splits,
        settings={"archive": "../somewhere", "init_from": "../weights", "optim": {"lr": 0.001}},
        environment={"medssl": "0.1.0", "python": "3.11", "libraries": {"numpy": "2.0"}},
    )
    return compose(findings_of(), origin, settings)


@pytest.fixture(scope="session")
def foreign_report(findings_of, settings):
    """A report on a table with four classes of unfriendly names."""
    classes = ("_a", "b<script>alert(1)</script>", "c & d", "$e_$f")
    return compose(
        findings_of(80, classes, notes=("x < y",)),
        Origin(predictions_sha256="cd" * 32),
        settings,
    )


@pytest.fixture(scope="session")
def comparison_of(splits):
    """(names of runs, classes) -> a comparison of runs that differ in seed and schedule."""

    def build(names=("plain", "slow & <sure>"), classes=("0", "1"), every=False, arms=()):
        runs = [
            side_by_side.Compared(
                name=name,
                origin=Origin(
                    predictions_sha256=f"{n:064x}",
                    splits=splits,
                    settings={"schedule": f"s{n}", "init_from": "none", "archive": "../here"},
                ),
                units=judged,
                estimates=assessment.estimates(measured, 0.95),
                trainings=(TRAININGS,),
                arm=arms[n] if arms else Arm(run=name, patients=60.0, **SAME),
                tried=1 + n,
            )
            for n, name in enumerate(names)
            for judged, measured in [_measured(n, classes)]
        ]
        known = {name: _measured(n, classes)[1] for n, name in enumerate(names)}
        found = comparison.differences(known, comparison.pairs(names, every=every), 0.95)
        settings = CompareSettings(runs=tuple(names), names=tuple(names), resamples=100)
        said = {"cautions": ("beware",), "notes": ("of note",)}
        plan = Plan(metrics=("auroc",), swaps=99, level=0.95, seed=0)
        tests = significance.of(found, known, dict.fromkeys(names, 0.5), plan)
        return side_by_side.compose(runs, found, tests, settings, said)

    return build


def _measured(seed, classes):
    judged = _judged(90, classes, seed)
    draws = intervals.draw_both(judged.stratum, 100, np.random.default_rng(0))
    return judged, assessment.measure(judged, draws)
