"""What a comparison says, as one plain record: `comparison.json` is this, the page draws it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medssl import __version__
from medssl.artifacts.origin import Origin
from medssl.config.compare import CompareSettings
from medssl.evaluation.assessment import Estimate
from medssl.evaluation.comparison import Difference
from medssl.evaluation.label_efficiency import Arm
from medssl.evaluation.significance import Tested
from medssl.evaluation.trainings import Trainings
from medssl.evaluation.units import Units
from medssl.foundation.wording import counted
from medssl.reporting import ablation, contents

RANDOM = "random"
BETTER = {True: "higher", False: "lower"}
SAID_ELSEWHERE = {"paper", "key_id", "overlap_patients"}  # of the weights: no setting of a run


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One run of a comparison."""

    name: str
    origin: Origin
    units: Units
    estimates: tuple[Estimate, ...]
    trainings: tuple[Trainings, ...]  # of what stands first
    arm: Arm
    tried: int = 1  # configurations, of which this is the one that was kept


def compose(
    runs: Sequence[Compared],
    differences: Sequence[Difference],
    tests: Sequence[Tested],
    settings: CompareSettings,
    said: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Return the comparison as JSON values, in reading order.

    Args:
        runs: The first is what the others are compared with.
        differences: Of pairs of runs.
        tests: Of some of these differences.
        settings: Of the comparison.
        said: `cautions` and `notes`.
    """
    first = runs[0]
    plan = first.origin.splits
    arms, known = [run.arm for run in runs], {run.name: run.estimates for run in runs}
    return {
        "medssl": __version__,
        "target": first.units.target,
        "task": first.units.task,
        "columns": list(first.units.columns),
        "positive": plan.positive if plan else None,
        "selection": selection(len(runs), sum(run.tried for run in runs)),
        "cohort": contents.cohort(first.units, first.origin.models),
        "unit": contents.unit(first.units, settings),
        "splits": contents.splits(first.origin),
        "intervals": contents.intervals(first.units, settings),
        "cautions": list(said["cautions"]),
        "notes": list(said["notes"]),
        "runs": [
            {
                "name": run.name,
                "schedule": schedule(run.origin),
                "init": init(run.origin),
                "start": run.arm.start,
                "training_patients": run.arm.patients,
                "fraction": run.arm.fraction,
                "configurations": run.tried,
                "predictions_sha256": run.origin.predictions_sha256,
            }
            for run in runs
        ],
        "settings": differing([run.origin for run in runs]),
        "better": {row.metric: BETTER[row.higher_is_better] for row in differences},
        "estimates": [{"run": run.name} | asdict(row) for run in runs for row in run.estimates],
        "differences": [asdict(row) for row in differences],
        "tests": [asdict(row) for row in tests],
        "trainings": [
            {"run": run.name} | asdict(row) | {"sd": row.sd}
            for run in runs
            for row in run.trainings
        ],
        "label_efficiency": ablation.curves(arms, known, first.units.task),
        "ablation": ablation.tables(arms, known, differences, first.units.task),
    }


def selection(count: int, tried: int) -> str:
    """Return what a reader must know before picking the best of several runs."""
    return (
        f"{counted(count, 'run')} compared on the same folds, {counted(tried, 'configuration')} "
        "tried in all; no estimate is corrected for choosing among them"
    )


def schedule(origin: Origin) -> str:
    """Return the freezing schedule of a run."""
    found = origin.models.schedule if origin.models else origin.settings.get("schedule")
    return str(found or "unknown")


def init(origin: Origin) -> str:
    """Return where the encoder of a run came from, without naming a file."""
    if origin.models is not None:
        return str(contents.weights(origin.models.init)["method"])
    return RANDOM if origin.settings.get("init_from") == "none" else "pretrained weights"


def differing(origins: Sequence[Origin]) -> list[dict[str, Any]]:
    """Return every setting that is not the same in all runs, with its value in each.

    A run that has no such setting has an empty value.
    """
    known = [_settings(origin) for origin in origins]
    keys = dict.fromkeys(key for found in known for key in found)
    rows = [(key, [_short(found.get(key, "")) for found in known]) for key in keys]
    return [{"setting": key, "values": values} for key, values in rows if len(set(values)) > 1]


def _settings(origin: Origin) -> dict[str, Any]:
    hidden = (*contents.PATHS, "init_from")  # where the weights came from is told by its record
    shown = {key: value for key, value in origin.settings.items() if key not in hidden}
    found = {k: v for k, v in contents.flat(shown, longest=100) if k not in contents.PATHS}
    if origin.models is not None:
        found["archive"] = origin.models.archive_hash
        source = contents.weights(origin.models.init)
        told = {key: value for key, value in source.items() if key not in SAID_ELSEWHERE}
        found |= dict(contents.flat(told, "weights."))
    libraries = origin.environment.get("libraries", {})
    versions = {"medssl": origin.environment.get("medssl"), **libraries}
    found |= {f"version of {name}": value for name, value in versions.items()}
    return found | {"device": origin.environment.get("device", "")}


def _short(value: object) -> str:
    """Return a value as text; of a digest the first letters."""
    text = str(value)
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text
