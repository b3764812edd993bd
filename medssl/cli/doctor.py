"""`medssl doctor`."""

import os
import platform
import re
import shutil
from importlib import metadata
from typing import Any

from medssl import __version__
from medssl.cli import console, options

_CODECS = {  # transfer syntaxes hospitals use -> uid
    "uncompressed": "1.2.840.10008.1.2.1",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG baseline": "1.2.840.10008.1.2.4.50",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
}
_EXTRAS = {"demo": "pydicom-data"}  # extra -> distribution it installs


def doctor(as_json: options.AsJson = False) -> None:
    """Check versions, decoders and devices of this machine."""
    facts = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        **_versions(),
        **_device(),
        "disk_free_gib": round(shutil.disk_usage(".").free / 2**30, 1),
        "decoders": _decoders(),
        "extras": _extras(),
    }
    rows = []
    for name, value in facts.items():
        items = value.items() if isinstance(value, dict) else [(name, value)]
        rows += [(key, item) for key, item in items]
    console.show("doctor", facts, rows, as_json=as_json)


def _versions() -> dict[str, str]:
    """Return the version of medssl and of every library it requires, read without importing any."""
    found = {"medssl": __version__}
    for requirement in _requirements():
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        found[name] = _version(name, requirement)
    return found


def _requirements() -> list[str]:
    try:
        lines = metadata.requires("medssl") or []
    except metadata.PackageNotFoundError:  # run from its source, which lists none
        return []
    return [line for line in lines if "extra ==" not in line]


def _version(distribution: str, requirement: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return f"missing: pip install '{requirement}'"


def _device() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError):  # absent, or one of its shared libraries is
        return {"device": "unknown: torch cannot be imported"}
    if not torch.cuda.is_available():
        return {"device": "cpu: small images and a small encoder are the defaults"}
    return {"device": torch.cuda.get_device_name()}


def _decoders() -> dict[str, str]:
    try:
        from pydicom.pixels import get_decoder
    except ImportError:
        return dict.fromkeys(_CODECS, "unknown: pydicom cannot be imported")
    found = {}
    for name, uid in _CODECS.items():
        plugins = get_decoder(uid)
        works = plugins.is_available
        found[name] = "ok" if works else f"missing: {', '.join(plugins.missing_dependencies)}"
    return found


def _extras() -> dict[str, str]:
    return {extra: _version(name, f"medssl[{extra}]") for extra, name in _EXTRAS.items()}
