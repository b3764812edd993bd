"""Stop if the environment holds a package medssl must do without.

torchvision would tie medssl to one build of torch; copyleft and non-commercial licences would bind
the hospitals that install it. Licences are read from what the packages say of themselves.
"""

import re
import sys
from importlib import metadata

ABSENT = {"torchvision", "lightning", "pylibjpeg-libjpeg"}
REFUSED = re.compile(r"(?<!L)GPL|Affero|GNU General Public|Non-?Commercial", re.IGNORECASE)


def licence(package: metadata.Distribution) -> str:
    """Return every word a package says about its licence, but not the text of the licence."""
    said = package.metadata
    classifiers = said.get_all("Classifier") or []
    return " ".join(
        [
            said.get("License-Expression") or "",
            (said.get("License") or "").partition("\n")[0],
            *(line for line in classifiers if line.startswith("License ::")),
        ]
    )


def problems() -> list[str]:
    """Return one line for each package that must not be installed."""
    found = []
    for package in metadata.distributions():
        name = package.metadata["Name"]
        if name.lower().replace("_", "-") in ABSENT:
            found.append(f"{name} is installed; medssl does without it")
        elif REFUSED.search(words := licence(package)):
            found.append(f"{name} is licensed {words.strip()!r}")
    return sorted(found)


if __name__ == "__main__":
    sys.exit("\n".join(problems()) or 0)
