"""Schema names and versions: every artifact says what it is, and a newer one is refused."""

from pathlib import Path

from medssl.foundation.errors import ArtifactError

RESTORE = "restore the file, or run the command that wrote it again in another folder"


def require(found: object, expected: str, *, where: Path, remake: str | None = None) -> None:
    """Check that ``found`` is the schema this version reads.

    Args:
        found: What the artifact says of itself, for example ``"medssl.archive/1"``.
        expected: The schema this version writes.
        where: The file, for the message.
        remake: What makes the file anew, where older ones are refused; None: they are read.

    Raises:
        ArtifactError: The file is something else, or newer than this version of medssl, or older
            and not read any more.
    """
    name, _, version = expected.rpartition("/")
    found_name, _, found_version = str(found or "").rpartition("/")
    if found_name != name or not found_version.isdigit():
        raise ArtifactError(
            f"expected {expected}, found {found or 'no schema'}",
            where=str(where),
            fix="check that this is the right file",
        )
    if int(found_version) > int(version):
        raise ArtifactError(
            f"written by a newer medssl: it has {found}, this version reads up to {expected}",
            where=str(where),
            fix="upgrade medssl",
        )
    if remake is not None and int(found_version) < int(version):
        raise ArtifactError(
            f"written by an older medssl: it has {found}, this version reads {expected}",
            where=str(where),
            fix=remake,
        )
