"""Patient-bootstrap intervals of every metric, beside a plain loop over scikit-learn.

2,000 patients, 2,000 resamples, one core: `medssl evaluate` as a library call without its page, and
the same metrics of the same resamples one at a time, of which a part is timed and multiplied.
`--confidenceinterval PYTHON` names the interpreter of an environment with confidenceinterval 1.0.5;
it resamples rows, and only for the AUROC and the threshold metrics it has.
"""

import argparse
import json
import subprocess
import time
from collections.abc import Callable

import numpy as np
import statsmodels.api as sm
from sklearn import metrics as theirs

from medssl.artifacts import predictions, tables
from medssl.evaluation import assessment, curves, decision, intervals, subgroups, units
from medssl.evaluation.attributes import Attribute
from medssl.evaluation.intervals import Draws
from medssl.evaluation.units import Units

PATIENTS, RESAMPLES, LOOPED, THRESHOLD = 2000, 2000, 40, 0.5
BAR_S = 30  # CPU seconds for every number and band
OTHER = """
import json, sys, time, warnings
import numpy as np
from confidenceinterval import roc_auc_score, f1_score, accuracy_score
from confidenceinterval import ppv_score, npv_score, tpr_score, tnr_score
warnings.simplefilter("ignore")
truth, score = (np.array(values) for values in json.load(sys.stdin))
call = (score >= 0.5).astype(int)
n, begun = int(sys.argv[1]), time.process_time()
for f, given in [(roc_auc_score, score)] + [
    (f, call) for f in (ppv_score, npv_score, tpr_score, tnr_score)
]:
    f(truth, given, method="bootstrap_percentile", n_resamples=n)
print((time.process_time() - begun) / n)
"""


def cohort() -> Units:
    """Return a cohort of one image per patient, a third of them positive."""
    rng = np.random.default_rng(0)
    label = rng.random(PATIENTS) < 1 / 3
    score = 1 / (1 + np.exp(1 - rng.normal(size=PATIENTS) - 1.2 * label))
    rows: list[dict[str, object]] = [
        {
            "image_id": f"i{n:05d}", "patient_key": f"k{n:05d}", "site": None, "target": "finding",
            "label": float(label[n]), "score": float(score[n]), "repeat": 0, "fold": n % 5,
            "seed": 0, "part": "test",
        }
        for n in range(PATIENTS)
    ]  # fmt: skip
    table = tables.build(rows, predictions.PREDICTIONS)
    return units.build(table, target="finding", aggregate="mean", where="table")


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU seconds something takes."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def ours(judged: Units, draws: Draws, *, leave_out: bool) -> None:
    """Estimate every metric with its interval."""
    measured = assessment.measure(judged, draws, THRESHOLD, leave_out=leave_out)
    assessment.estimates(measured, 0.95)


def bands(judged: Units, draws: Draws) -> None:
    """Draw what the figures need."""
    curves.roc(judged, 0, draws.within_class, 0.95)
    curves.calibration(judged, 0, draws.over_all, 0.95)
    at = np.linspace(0.05, 0.5, decision.POINTS)
    decision.curve(judged, 0, draws.over_all, 0.95, at, declared=True)


def by_group(judged: Units, draws: Draws) -> None:
    """Judge the groups of three attributes, of 2, 8 and 16 words, with the gaps between them."""
    made = subgroups.calls(judged, THRESHOLD, ())
    for many in (2, 8, 16):
        words = tuple(f"group {n % many}" for n in range(PATIENTS))
        attribute = Attribute(name=f"of {many}", values=words)
        subgroups.assess(attribute, judged, draws, made, 0.95)


def plain(truth: np.ndarray, score: np.ndarray) -> None:
    """The same twelve metrics of one resample, as anyone would write them."""
    call = score >= THRESHOLD
    theirs.roc_auc_score(truth, score)
    theirs.average_precision_score(truth, score)
    theirs.brier_score_loss(truth, score)
    theirs.d2_brier_score(truth, score)
    theirs.balanced_accuracy_score(truth, call)
    for positive in (1, 0):
        theirs.recall_score(truth, call, pos_label=positive)
        theirs.precision_score(truth, call, pos_label=positive)
    theirs.f1_score(truth, call)
    logit = np.log(score / (1 - score))
    family = sm.families.Binomial()
    sm.GLM(truth, np.ones(len(truth)), family, offset=logit).fit()
    sm.GLM(truth, sm.add_constant(logit), family).fit()


def looped(judged: Units, draws: Draws) -> float:
    """Return the CPU seconds of one resample in a loop."""
    truth, score = judged.truth[:, 0].astype(int), judged.score[:, 0]

    def loop() -> None:
        for counts in draws.over_all[:LOOPED]:
            drawn = np.repeat(np.arange(PATIENTS), counts)
            plain(truth[drawn], score[drawn])

    return cpu_s(loop) / LOOPED


def other(python: str, judged: Units, resamples: int = 100) -> float:
    """Return the CPU seconds of one resample in confidenceinterval, for five metrics."""
    given = json.dumps([judged.truth[:, 0].astype(int).tolist(), judged.score[:, 0].tolist()])
    command = [python, "-c", OTHER, str(resamples)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the result as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--confidenceinterval", metavar="PYTHON", help="interpreter that has it")
    given = parser.parse_args()
    judged = cohort()
    draws = intervals.draw_both(judged.stratum, RESAMPLES, np.random.default_rng(0))
    percentile = cpu_s(lambda: ours(judged, draws, leave_out=False))
    bca = cpu_s(lambda: ours(judged, draws, leave_out=True))
    drawn = cpu_s(lambda: bands(judged, draws))
    grouped = cpu_s(lambda: by_group(judged, draws))
    loop = looped(judged, draws) * RESAMPLES
    theirs_s = None
    if given.confidenceinterval:
        theirs_s = other(given.confidenceinterval, judged) * RESAMPLES
    result = {
        "benchmark": "evaluate",
        "patients": PATIENTS,
        "resamples": RESAMPLES,
        "metrics": len(assessment.metrics_of(judged, THRESHOLD)),
        "percentile_cpu_s": round(percentile, 2),
        "bca_cpu_s": round(bca, 2),
        "bands_cpu_s": round(drawn, 2),
        "subgroups_26_cpu_s": round(grouped, 2),
        "bar_cpu_s": BAR_S,
        "loop_cpu_s": round(loop, 1),
        "ratio_to_loop": round(loop / percentile, 1),
        "confidenceinterval_5_metrics_cpu_s": None if theirs_s is None else round(theirs_s, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
