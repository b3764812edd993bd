"""Opens one pickle of weights, in a process of its own.

It runs as a script: the file, where its tensors go, bytes of memory, seconds. torch refuses all but
tensors, numbers, text and their containers; of other classes only `argparse.Namespace` is let in.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

REFUSED = 3
_DEEPEST = 6  # dictionaries in dictionaries
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def main(source: Path, target: Path, memory: int, seconds: int) -> int:
    """Write the tensors of ``source`` to ``target``; return the exit code."""
    _limit(memory, seconds)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(source, map_location="cpu", weights_only=True)
        tensors = dict(_tensors(found, "", 0))
        save_file(tensors, target)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is refused
        inside = _GLOBAL.search(str(error))
        sys.stderr.write(inside[1] if inside else "")
        return REFUSED
    return 0


def _tensors(found: object, place: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield dense tensors by name; dictionaries become folders of the name."""
    if not isinstance(found, Mapping) or depth > _DEEPEST:
        return
    for key, value in found.items():
        if not isinstance(key, str):  # the state of an optimiser
            continue
        if isinstance(value, torch.Tensor):
            if value.layout == torch.strided and not value.is_quantized and not value.is_complex():
                dtype = torch.float32 if value.dtype == torch.bfloat16 else value.dtype
                copied = value.detach().to(dtype).clone(memory_format=torch.contiguous_format)
                yield place + key, copied
        else:
            yield from _tensors(value, f"{place}{key}/", depth + 1)


def _limit(memory: int, seconds: int) -> None:
    """Allow so many bytes more than torch has taken by now, and so much time."""
    try:
        import resource  # noqa: PLC0415 - not everywhere
    except ImportError:  # Windows
        return
    statm = Path("/proc/self/statm")
    if statm.is_file():  # macOS does not enforce it
        taken = int(statm.read_text().split()[0]) * resource.getpagesize()
        _lower(resource.RLIMIT_AS, taken + memory)
    _lower(resource.RLIMIT_CPU, seconds)
    _lower(resource.RLIMIT_FSIZE, memory)


def _lower(what: int, limit: int) -> None:
    import resource  # noqa: PLC0415 - not everywhere

    _, hard = resource.getrlimit(what)
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(what, (soft, hard))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
