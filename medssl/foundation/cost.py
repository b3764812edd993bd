"""What a run would take, judged from a short trial on this machine."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cost:
    """An estimate: the same work goes slower on a busy machine."""

    seconds: float
    disk_bytes: int  # of what the run leaves behind
    memory_bytes: int  # of the process at its highest, memory-mapped pixels included; 0: unknown
    basis: str  # what was timed


def peak_memory() -> int:
    """Return the most memory this process has held, bytes; 0 where the system does not say."""
    try:
        import resource  # noqa: PLC0415 - not everywhere
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts kibibytes
