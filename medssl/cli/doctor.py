"""`medssl doctor`."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Annotated, Any

import typer

from medssl import __version__
from medssl.cli import console, options
from medssl.foundation.errors import MedSSLError, MissingExtra
from medssl.ingestion.codes import JPEG_INSTALL

_CODECS = {  # transfer syntaxes hospitals use -> uid
    "uncompressed": "1.2.840.10008.1.2.1",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG baseline": "1.2.840.10008.1.2.4.50",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
}
_OPTIONAL = {"JPEG lossless": JPEG_INSTALL}  # decoders that no requirement brings
_NVIDIA = Path("/proc/driver/nvidia/version")
_CGROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may use
_MEMINFO = Path("/proc/meminfo")
_MISSING = "missing: "
_UNUSED = "cpu, though there is a GPU: "


@dataclass(frozen=True, kw_only=True)
class Lack:
    """Something that is not here or not right, and the command that helps."""

    what: str
    fix: str
    is_needed: bool


def doctor(
    phi_canary: Annotated[
        Path | None,
        typer.Option(
            help="Instead: plant texts in scans in this new folder, run all commands on them, and "
            "search what they leave for any of them.",
            metavar="DIR",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Check versions, decoders, devices and memory; say what is missing and how to get it."""
    if phi_canary is not None:
        from medssl.cli import canary  # the readers of all formats load here

        canary.run(phi_canary, as_json=as_json)
        return
    facts = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": _cores(),
        **_versions(),
        **_device(),
        **_memory(),
        "disk_free_gib": round(shutil.disk_usage(".").free / 2**30, 1),
        **_key(),
        "decoders": _decoders(),
        "extras": _extras(),
    }
    lacks = list(_lacks(facts))
    needed = [lack for lack in lacks if lack.is_needed]
    verdict = "everything needed is here" if not needed else "something needed is missing"
    rows = []
    for name, value in facts.items():
        items = value.items() if isinstance(value, dict) else [(name, value)]
        rows += [(key, item) for key, item in items]
    rows += [("do" if lack.is_needed else "may do", f"{lack.what}: {lack.fix}") for lack in lacks]
    shown = {**facts, "lacks": [asdict(lack) for lack in lacks], "verdict": verdict}
    console.show("doctor", shown, [*rows, ("verdict", verdict)], as_json=as_json)
    if needed:
        raise typer.Exit(MissingExtra.exit_code)


def _lacks(facts: dict[str, Any]) -> Iterator[Lack]:
    """Yield what is missing, what is needed first."""
    for name, value in facts.items():
        if isinstance(value, str) and value.startswith(_MISSING):
            yield Lack(what=name, fix=value.removeprefix(_MISSING), is_needed=True)
    if facts["device"].startswith("unknown") and not facts.get("torch", "").startswith(_MISSING):
        fix = "pip install --force-reinstall torch"
        yield Lack(what="torch cannot be imported", fix=fix, is_needed=True)
    for name, value in facts["decoders"].items():
        if value.startswith(_MISSING):
            yield Lack(what=name, fix=value.removeprefix(_MISSING), is_needed=False)
    if facts["device"].startswith(_UNUSED):
        fix = facts["device"].removeprefix(_UNUSED)
        yield Lack(what="the GPU is not used", fix=fix, is_needed=False)
    if "chmod" in facts["key"]:
        yield Lack(what="the key can be read by others", fix=facts["key"], is_needed=False)


def _versions() -> dict[str, str]:
    """Return the version of medssl and of every library it requires, read without importing any."""
    found = {"medssl": __version__}
    for requirement in _requirements():
        if "extra ==" not in requirement:
            found[_name(requirement)] = _version(_name(requirement), requirement)
    return found


def _requirements() -> list[str]:
    try:
        return metadata.requires("medssl") or []
    except metadata.PackageNotFoundError:  # run from its source, which lists none
        return []


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _version(distribution: str, requirement: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return f"{_MISSING}pip install '{requirement}'"


def _device() -> dict[str, str]:
    """Return the device, and what to do where there is a GPU that torch does not use."""
    try:
        import torch
    except (ImportError, OSError):  # absent, or one of its shared libraries is
        return {"device": "unknown: torch cannot be imported"}
    if torch.cuda.is_available():
        free, total = (n / 2**30 for n in torch.cuda.mem_get_info())
        return {"device": f"{torch.cuda.get_device_name()}, {free:.1f} of {total:.1f} GiB free"}
    if not (_NVIDIA.exists() or shutil.which("nvidia-smi")):
        return {"device": "cpu: small images and a small encoder are the defaults"}
    fix = "pip install --force-reinstall torch"  # the one here is built for CPUs
    if torch.version.cuda is not None:
        fix = f"update the NVIDIA driver to one for CUDA {torch.version.cuda}"
    return {"device": f"{_UNUSED}{fix}"}


def _cores() -> str:
    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS")
    return f"{usable} of {os.cpu_count()}" + (f", OMP_NUM_THREADS={threads}" if threads else "")


def _memory() -> dict[str, Any]:
    """Return memory in GiB, None where the system does not say, and whether it can be limited."""
    total = available = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    if _CGROUP.is_file() and (limit := _CGROUP.read_text().strip()).isdigit():
        total = min(total or float("inf"), int(limit) / 2**30)
    if _MEMINFO.is_file():
        told = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMINFO.read_text(), flags=re.MULTILINE)
        available = int(told[1]) / 2**20 if told else None
    can_limit = sys.platform == "linux" and util.find_spec("resource") is not None
    return {
        "memory_gib": None if total is None else round(total, 1),
        "memory_available_gib": None if available is None else round(available, 1),
        "memory_limit": "can be enforced" if can_limit else "cannot be enforced on this system",
    }


def _key() -> dict[str, str]:
    """Return where the institution's key is and whether it can be used."""
    from medssl.ingestion import identity

    path = identity.default_key_path()
    try:
        found = identity.load(path)
    except MedSSLError as problem:
        return {"key": f"{problem.where}: {problem.fix or problem.problem}"}
    return {"key": f"{path}, id {found.key_id}" if found else "none yet: the first ingest makes it"}


def _decoders() -> dict[str, str]:
    try:
        from pydicom.pixels import get_decoder
    except ImportError:
        return dict.fromkeys(_CODECS, "unknown: pydicom cannot be imported")
    found = {}
    for name, uid in _CODECS.items():
        decoder = get_decoder(uid)
        wanted = _OPTIONAL.get(name) or ", ".join(decoder.missing_dependencies)
        found[name] = "ok" if decoder.is_available else f"{_MISSING}{wanted}"
    return found


def _extras() -> dict[str, str]:
    """Return the versions of the optional extras; that for developers is none of a user's."""
    found: dict[str, str] = {}
    for requirement in _requirements():
        told = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        if told and told[1] != "dev":
            here = _version(_name(requirement), f"medssl[{told[1]}]")
            parts = [found.get(told[1], here), here]
            lacking = next((part for part in parts if part.startswith(_MISSING)), None)
            found[told[1]] = lacking or ", ".join(dict.fromkeys(parts))
    return found
