"""Keyed pseudonyms: the same person gets the same key at every ingest of an institution.

Keys are HMAC-SHA256 under the institution's key. One person must get one key whether an archive
names them in a DICOM tag or a cohort in a table, so by default the patient's id alone decides: the
fields for site and issuer in the message stay empty. Where several hospitals share a key and hand
out the same ids, `patient_scope` fills one of the two.
"""

import base64
import hashlib
import hmac
import os
import re
import secrets
import shlex
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from medssl.foundation.errors import ResourceError, UsageError

KEY_BYTES = 32
_PLACEHOLDERS = frozenset(
    {"anon", "anonymous", "anonymized", "anonymised", "anonym", "deidentified", "unknown",
     "none", "null", "na", "nan", "nopatientid", "noid", "patientid", "empty", "redacted",
     "removed", "undefined"}
)  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class SiteKey:
    """The institution's key; it shows in no traceback."""

    secret: bytes

    @property
    def key_id(self) -> str:
        """A name for the key that does not reveal it."""
        return hmac.new(self.secret, b"key-id", hashlib.sha256).hexdigest()[:8]

    def patient(self, patient: str, *, site: str = "", issuer: str = "") -> str:
        """Return the key of a patient id."""
        return self._digest("patient", site, issuer, _normal(patient))

    def unnamed_patient(self, owner: str) -> str:
        """Return the key of a patient nobody named; ``owner`` is their one study or file."""
        return self._digest("unnamed", owner)

    def study(self, *parts: str) -> str:
        """Return the key of a study."""
        return self._digest("study", *parts)

    def series(self, *parts: str) -> str:
        """Return the key of a series."""
        return self._digest("series", *parts)

    def image(self, *parts: str) -> str:
        """Return the id of an image."""
        return self._digest("image", *parts)

    def file(self, *parts: str) -> str:
        """Return the id of a file, 16 characters."""
        return self._digest("file", *parts)[:16]

    def days(self, most: int) -> int:
        """Return a number of days from 1 to ``most`` that only the key tells."""
        raw = hmac.new(self.secret, b"medssl/days/v1", hashlib.sha256).digest()
        return 1 + int.from_bytes(raw, "big") % most

    def site(self, institution: str) -> str:
        """Return the name of a site known only from a tag."""
        return f"site-{self._digest('site', _normal(institution).casefold())[:10]}"

    def _digest(self, domain: str, *parts: str) -> str:
        message = "\0".join((f"medssl/{domain}/v1", *parts))
        raw = hmac.digest(self.secret, message.encode("utf-8", "surrogateescape"), "sha256")
        return base64.b32encode(raw).decode().lower()[:26]


def default_key_path() -> Path:
    """Return where the institution's key is kept unless the user names a file."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "medssl" / "site.key"


def key_path(named: Path | None) -> Path:
    """Return where the institution's key is: the file the user names, which must be there.

    Raises:
        UsageError: It is not. A key made there would give all patients other names than before.
    """
    if named is None:
        return default_key_path()
    path = named.expanduser()
    if not path.exists():
        raise UsageError(
            "no such key file",
            where=str(path),
            fix="check its path; a new key is made by "
            f"`(umask 077; openssl rand -out {shlex.quote(str(path))} {KEY_BYTES})`",
        )
    return path


def load_or_create(path: Path) -> tuple[SiteKey, bool]:
    """Return the key in ``path``, made there if it is absent, and whether it was made now.

    Raises:
        UsageError: The file is not a key, or others may read it.
        ResourceError: The key cannot be written.
    """
    if (found := load(path)) is not None:
        return found, False
    secret = secrets.token_bytes(KEY_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another ingest made it just now
        return load_or_create(path)
    except OSError as error:
        raise ResourceError(
            "the institution's key cannot be written",
            where=str(path),
            fix="name another place with --key-file",
        ) from error
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secret)
        stream.flush()
        os.fsync(stream.fileno())
    return SiteKey(secret), True


def load(path: Path) -> SiteKey | None:
    """Return the key in ``path``, or None where there is no such file.

    Raises:
        UsageError: The file is not a key, or others may read it.
    """
    try:
        mode = path.stat().st_mode
        secret = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(
            "the institution's key cannot be read",
            where=str(path),
            fix="name a file that you may read with --key-file",
        ) from error
    if len(secret) != KEY_BYTES:
        raise UsageError(
            f"not a key: {len(secret)} bytes, expected {KEY_BYTES}",
            where=str(path),
            fix="name the institution's key with --key-file",
        )
    if os.name == "posix" and mode & 0o077:
        raise UsageError(
            "others may read the institution's key", where=str(path), fix=f"chmod 600 {path}"
        )
    return SiteKey(secret)


def names_a_patient(patient: str) -> bool:
    """Return whether a patient id in a tag tells a person; ``0``, ``ANON`` and the like do not.

    >>> names_a_patient("0042"), names_a_patient("000"), names_a_patient(" Anonymous ")
    (True, False, False)
    """
    letters = re.sub(r"[\W_]", "", _normal(patient)).casefold()
    return bool(letters) and not re.fullmatch(r"0+|x+", letters) and letters not in _PLACEHOLDERS


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip()
