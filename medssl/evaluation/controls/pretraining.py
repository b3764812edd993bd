"""Whether the encoder has seen the evaluated patients before, without their labels."""

from collections.abc import Mapping
from typing import Any

from medssl.evaluation.controls.verdicts import Verdict, not_assessed
from medssl.foundation.wording import counted


def judge(init: Mapping[str, Any], n_patients: int) -> Verdict:
    """Return how many of the cohort were in pretraining; an unknown overlap is never none.

    Args:
        init: Where the weights came from, as `finetune.json` says; empty: random.
        n_patients: Of the cohort.
    """
    if not init:
        return Verdict(
            name="pretraining",
            light="pass",
            value=0,
            said="the models began with random weights: nobody was in pretraining",
        )
    overlap = init.get("overlap_patients")
    if overlap is None:
        return not_assessed(
            "pretraining",
            "overlap unknown: the weights do not say whom they were pretrained on, or with "
            "pseudonyms of another key",
        )
    of = f"{overlap} of {counted(n_patients, 'patient')}"
    return Verdict(
        name="pretraining",
        light="fail" if overlap else "pass",
        value=overlap,
        said=f"{of} were in pretraining, without labels: the estimates are transductive, for "
        "patients whose images are known"
        if overlap
        else f"{of} were in pretraining",
        details={"patients": n_patients, "overlap": overlap},
    )
