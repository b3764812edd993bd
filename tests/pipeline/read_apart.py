"""Read each of some files in a process of its own, and say what that took.

Prints one JSON object per file: its codes, its processor seconds and its peak memory in MiB. The
processes are forked after everything is imported, so that only the reading counts.
"""

import json
import os
import sys
from pathlib import Path

from medssl.ingestion import decoding, discover, sniff
from medssl.ingestion.decoding import Job, Source
from medssl.ingestion.header import Header, Reading

HOW = Reading(colour="gray", four_d="mean")  # what reads most


def outcome(path: Path) -> list[str]:
    """Return the codes of everything found in a file; "read" for what was decoded."""
    codes = []
    for file in discover.walk([path]):
        found = file.code or sniff.read_header(file.path, HOW)
        if isinstance(found, Header):
            frames = range(len(found.frames))
            volume = tuple(Source(path=file.path, header=found, number=n) for n in frames)
            job = Job(volumes=(volume,), dtype="", side=32, largest=32, how=HOW)
            rejected = decoding.decode(job).outcome.rejected
            codes += [code.value for _, code in rejected] or ["read"]
        else:
            codes.append(found.value)
    return sorted(set(codes))


def main() -> None:
    """Read the files named on the command line."""
    for name in ("dicom", "nifti", "npz", "picture"):
        sniff.reader(name)
    for path in map(Path, sys.argv[1:]):
        here, there = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(there, json.dumps(outcome(path)).encode())
            os._exit(0)
        os.close(there)
        with os.fdopen(here) as answer:
            codes = json.loads(answer.read() or '["died"]')
        _, _, used = os.wait4(child, 0)
        seconds = used.ru_utime + used.ru_stime
        peak = used.ru_maxrss / 1024
        row = {"file": path.name, "codes": codes, "seconds": seconds, "mib": peak}
        sys.stdout.write(f"{json.dumps(row)}\n")


if __name__ == "__main__":
    main()
