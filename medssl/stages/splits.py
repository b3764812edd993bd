"""`medssl splits`: folds made, imported and looked at without training anything."""

from dataclasses import dataclass
from pathlib import Path

from medssl.artifacts import splits
from medssl.artifacts.splits import Splits
from medssl.config.finetune import FinetuneSettings
from medssl.config.splits import AuditSettings
from medssl.foundation.errors import UsageError
from medssl.foundation.reporting import Reporter, Silent
from medssl.training import auditing, site_run
from medssl.training.auditing import Audit


@dataclass(frozen=True, kw_only=True)
class SplitsPlan:
    """The folds that would be written; nothing was."""

    target: str
    task: str
    by: str
    digest: str
    n_folds: int
    n_repeats: int
    n_patients: int  # who are tested
    tested: tuple[int, ...]  # patients per fold of the first repeat
    names: tuple[str, ...]  # of the folds, where they have one
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SplitsResult(SplitsPlan):
    """The folds, and where they are."""

    path: Path


def plan(settings: FinetuneSettings) -> SplitsPlan:
    """Return the folds that `make` would write.

    Raises:
        UsageError: The protocol does not suit the task, or two settings contradict each other.
        DataError: Labels, sites, times or imported folds do not allow it.
        ArtifactError: The archive or the imported folds are missing or damaged.
    """
    return _said(*_drawn(settings))


def make(settings: FinetuneSettings, out: Path) -> SplitsResult:
    """Write the folds that `medssl finetune` would make of the same settings.

    Args:
        settings: Of a finetune run; `split.by: file` imports folds made elsewhere.
        out: `splits.json` to write.

    Raises:
        UsageError: ``out`` is there already; and as `plan`.
        DataError: As `plan`.
        ArtifactError: As `plan`.
    """
    if out.exists():
        raise UsageError(
            "there is something already", where=str(out), fix="give another file with -o"
        )
    found, notes = _drawn(settings)
    out.parent.mkdir(parents=True, exist_ok=True)
    splits.write(out, found)
    return SplitsResult(**vars(_said(found, notes)), path=out)


def audit(settings: AuditSettings, reporter: Reporter | None = None) -> Audit:
    """Return what is wrong with a split: leaks, copies across it, lopsided folds.

    Raises:
        ArtifactError: Split or archive are missing, unfinished or damaged.
        DataError: A table has wrong cells, or the archive has no such labels.
        UsageError: The institution's key is not there.
    """
    return auditing.audit(settings, reporter or Silent())


def _drawn(settings: FinetuneSettings) -> tuple[Splits, tuple[str, ...]]:
    ready = site_run.prepare(settings, "cpu")
    return site_run.splits_of(ready), ready.split.notes


def _said(found: Splits, notes: tuple[str, ...]) -> SplitsPlan:
    tested = list(found.test_fold[0].values())
    return SplitsPlan(
        target=found.target,
        task=found.task.kind,
        by=found.by,
        digest=found.digest,
        n_folds=found.n_folds,
        n_repeats=len(found.test_fold),
        n_patients=len(set().union(*found.test_fold)),
        tested=tuple(tested.count(fold) for fold in range(found.n_folds)),
        names=found.names,
        notes=notes,
    )
