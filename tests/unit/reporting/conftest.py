"""Reports as plain records, computed from small simulated cohorts."""

import numpy as np
import pytest

from medssl.artifacts import predictions, tables
from medssl.artifacts.splits import Splits
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import assessment, cautions, curves, intervals, units
from medssl.evaluation.cautions import Circumstances
from medssl.reporting.contents import Findings, Origin, compose


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


@pytest.fixture(scope="session")
def findings_of():
    """(patients, classes, seed) -> findings from 100 resamples."""

    def build(n_patients=60, classes=("0", "1"), seed=0, notes=()):
        table = tables.build(list(_rows(n_patients, classes, seed)), predictions.PREDICTIONS)
        target = "grade" if len(classes) > 2 else "finding"
        judged = units.build(table, target=target, aggregate="mean", where="table")
        counts = intervals.draw(judged.stratum, 100, np.random.default_rng(seed))
        folds = assessment.folds(judged)
        drifts = assessment.drifts(judged, folds)
        columns = range(len(judged.columns))
        estimates = assessment.estimates(judged, counts, 0.95)
        return Findings(
            units=judged,
            estimates=estimates,
            folds=folds,
            drifts=drifts,
            rocs=tuple(curves.roc(judged, k, counts, 0.95) for k in columns),
            calibrations=tuple(curves.calibration(judged, k, counts, 0.95) for k in columns),
            cautions=cautions.find(judged, estimates, drifts, Circumstances()),
            notes=notes,
        )

    return build


@pytest.fixture(scope="session")
def splits():
    return Splits(
        target="finding",
        classes=("0", "1"),
        positive="1",
        seed=0,
        group="patient",
        n_folds=3,
        test_fold=({"secret000": 0},),
    )


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    return EvaluateSettings(run=tmp_path_factory.mktemp("run"), resamples=100)


@pytest.fixture(scope="session")
def report(findings_of, splits, settings):
    """A report on a finetune run with two classes."""
    origin = Origin(
        predictions_sha256="ab" * 32,
        splits=splits,
        settings={"archive": "../somewhere", "init_from": "../weights", "optim": {"lr": 0.001}},
        environment={"medssl": "0.1.0", "python": "3.11", "libraries": {"numpy": "2.0"}},
    )
    return compose(findings_of(), origin, settings, 100)


@pytest.fixture(scope="session")
def foreign_report(findings_of, settings):
    """A report on a table with four classes of unfriendly names."""
    classes = ("_a", "b<script>alert(1)</script>", "c & d", "$e_$f")
    return compose(
        findings_of(80, classes, notes=("x < y",)),
        Origin(predictions_sha256="cd" * 32),
        settings,
        100,
    )
