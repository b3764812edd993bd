"""Every failure medssl foresees: where, what, how to fix it, and the exit code it ends in.

MedSSLError
├── UsageError      2   unknown name, bad value, missing option
├── DataError       3   the user's data is refused: leakage, one class, no patient column
├── ArtifactError   4   something medssl wrote, or weights, are absent, unfinished or incompatible
├── MissingExtra    5   an optional extra is not installed (the install line is the fix)
├── ResourceError   6   out of memory, disk full, no such device, worker killed
├── TrainingError   7   the run diverged or collapsed
├── PartialResult   8   too many files rejected; the output is usable
├── GateFailed      9   a metric gate was not met
└── Interrupted    75   stopped on purpose, resumable
    └── Stopped   130   the same by Ctrl-C
"""

from typing import ClassVar


class MedSSLError(Exception):
    """A foreseen failure.

    Args:
        problem: One sentence that names the offending value.
        where: The file, table row or setting concerned; empty if there is none.
        fix: What the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        """Return ``where: problem`` and, on a second line, the fix."""
        line = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{line}\n  fix: {self.fix}" if self.fix else line


class UsageError(MedSSLError):
    """Unknown name, bad value or missing option."""

    exit_code = 2


class DataError(MedSSLError):
    """The user's data is refused."""

    exit_code = 3


class ArtifactError(MedSSLError):
    """An artifact or weight file is absent, unfinished, incompatible or too new."""

    exit_code = 4


class MissingExtra(MedSSLError):
    """An optional extra is not installed."""

    exit_code = 5


class ResourceError(MedSSLError):
    """Memory, disk or device ran out, or a worker was killed."""

    exit_code = 6


class TrainingError(MedSSLError):
    """The run diverged or collapsed."""

    exit_code = 7


class PartialResult(MedSSLError):
    """More files were rejected than allowed; the output is usable."""

    exit_code = 8


class GateFailed(MedSSLError):
    """A metric gate was not met."""

    exit_code = 9


class Interrupted(MedSSLError):
    """Stopped on purpose; the same command with ``--resume`` continues."""

    exit_code = 75


class Stopped(Interrupted):
    """Stopped by Ctrl-C, after what was done so far was saved, if anything was."""

    exit_code = 130
