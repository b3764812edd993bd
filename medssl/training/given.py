"""What an evaluation is given: a run, a run and another archive, or a table of any tool."""

import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.artifacts import foreign_predictions, origin, predictions, scores
from medssl.config import subgroups as known_attributes
from medssl.config.evaluate import EvaluateSettings
from medssl.evaluation import judged as judging
from medssl.evaluation.judged import Judged
from medssl.foundation import files
from medssl.foundation.cost import Cost
from medssl.foundation.reporting import Reporter
from medssl.ingestion import identity
from medssl.ingestion.identity import SiteKey

if TYPE_CHECKING:  # torch, which is loaded only where models have to judge
    from medssl.training.external import Ready
    from medssl.training.runtime import Runtime

_SAMPLE = 32  # rows scored to say how long all of them take
_ROW_BYTES = 300  # of predictions and scores, per row and column


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What is judged, as far as it is known before anything is scored or written."""

    judged: Judged
    ready: "Ready | None" = None  # of an external test: its scores are still to come

    @property
    def inputs(self) -> dict[str, str]:
        """Digests of what is read."""
        if self.ready is not None:
            return self.ready.inputs
        return {"predictions": self.judged.source.predictions_sha256}

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of an external test before it begins."""
        return self.ready.notes if self.ready else ()


def begin(settings: EvaluateSettings, reporter: Reporter | None = None) -> Begun:
    """Read what is judged; of an external test everything but the scores.

    Args:
        settings: Which run, archive or table.
        reporter: Told of the key that makes pseudonyms; None makes none that is kept.

    Raises:
        ArtifactError: Run or archive are missing, damaged, or do not fit each other.
        DataError: The predictions or labels are refused.
        UsageError: The threshold lies outside the probabilities, or there are none.
    """
    read = _read(settings, reporter)
    if settings.archive is None:
        return Begun(judged=read)
    from medssl.training import external  # noqa: PLC0415 - torch

    ready = external.get_ready(settings)
    table = external.unscored(ready, settings.seed)
    judged = judging.of(table, ready.source, settings, str(settings.archive))
    return Begun(judged=replace(judged, internal=read), ready=ready)


def cost(begun: Begun, device: str) -> Cost:
    """Return what the models of an external test add at most, from a few rows of one of them."""
    if begun.ready is None:
        return Cost(seconds=0.0, disk_bytes=0, memory_bytes=0, basis="")
    from medssl.training import external, runtime  # noqa: PLC0415 - torch

    ready, n_rows = begun.ready, len(begun.ready.cohort)
    started = time.perf_counter()
    external.sample(ready, runtime.start(device, "32"), _SAMPLE)
    each = (time.perf_counter() - started) / min(_SAMPLE, n_rows)
    return Cost(
        seconds=each * n_rows * len(ready.models.folds),
        disk_bytes=_ROW_BYTES * n_rows * len(begun.judged.units.columns),
        memory_bytes=0,
        basis=f" and {_SAMPLE} rows of one model",
    )


def start(begun: Begun, device: str) -> "Runtime | None":
    """Return the device of the models, None where nothing is to be scored."""
    if begun.ready is None:
        return None
    from medssl.training import runtime  # noqa: PLC0415 - torch

    return runtime.start(device, "32")


def score(begun: Begun, started: "Runtime", out: Path, reporter: Reporter) -> Judged:
    """Write what the models say of another archive into ``out``, and return it as judged."""
    from medssl.training import external  # noqa: PLC0415 - torch

    assert begun.ready is not None  # or no device were started
    for note in begun.ready.notes:
        reporter.note(note)
    done = external.judge(begun.ready, started, reporter)
    path = out / origin.PREDICTIONS
    predictions.write(path, done.table)
    scores.write(out, done.scores)
    source = replace(done.source, predictions_sha256=files.sha256(path))
    judged = judging.of(done.table, source, begun.judged.settings, str(path))
    return replace(judged, internal=begun.judged.internal, each=done.each)


def _read(settings: EvaluateSettings, reporter: Reporter | None) -> Judged:
    """Return the predictions of a run or of a table."""
    if settings.run is not None:
        path = settings.run / origin.PREDICTIONS
        source = origin.of_run(settings.run)
        return judging.of(predictions.read(path), source, settings, str(path))
    assert settings.predictions is not None  # the settings have one of the two
    path = settings.predictions
    foreign = foreign_predictions.read(
        path,
        lambda: _key(settings, reporter),
        kind=settings.task,
        columns=known_attributes.table_columns(settings.subgroups),
    )
    return judging.of(foreign.table, origin.of_table(path, foreign), settings, str(path))


def _key(settings: EvaluateSettings, reporter: Reporter | None) -> SiteKey:
    """Return what makes pseudonyms; a plan, which has no reporter, makes no key."""
    path = identity.key_path(settings.key_file)
    if reporter is None:
        return identity.load(path) or SiteKey(secrets.token_bytes(identity.KEY_BYTES))
    key, is_new = identity.load_or_create(path)
    if is_new:
        reporter.note("key: made the institution's key; keep a copy, it links later tables")
    reporter.note(f"pseudonyms are those of archives with the key {key.key_id}")
    return key
