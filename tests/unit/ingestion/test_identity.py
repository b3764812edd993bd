import base64
import hashlib
import hmac
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.foundation.errors import ResourceError, UsageError
from medssl.ingestion import identity
from medssl.ingestion.identity import SiteKey

KEY = SiteKey(bytes(range(32)))


def by_hand(message: bytes) -> str:
    digest = hmac.new(bytes(range(32)), message, hashlib.sha256).digest()
    return base64.b32encode(digest).decode().lower()[:26]


def test_the_patient_key_is_the_documented_mac():
    assert KEY.patient("P-1") == by_hand(b"medssl/patient/v1\0\0\0P-1")
    assert KEY.patient("P-1", site="north", issuer="X") == by_hand(
        b"medssl/patient/v1\0north\0X\0P-1"
    )


def test_known_answers():
    assert KEY.patient("P-1") == "ckw2znrxty7syotbhaftqmdnsc"
    assert KEY.key_id == "fa0cde5e"


def test_spelling_of_one_id_does_not_matter():
    assert KEY.patient(" P-1 ") == KEY.patient("P-1")
    assert KEY.patient("\uff30-1") == KEY.patient("P-1")  # full-width P


@given(st.text(min_size=1), st.text(min_size=1))
def test_domains_never_meet(one, other):
    keys = {KEY.patient(one), KEY.study(one), KEY.series(one), KEY.image(one)}
    assert len(keys) == 4
    assert KEY.unnamed_patient(one) not in keys
    assert (KEY.study(one) == KEY.study(other)) == (one == other)


def test_another_site_issuer_or_key_gives_another_patient():
    keys = {
        KEY.patient("1"), KEY.patient("1", site="a"), KEY.patient("1", site="b"),
        KEY.patient("1", issuer="a"), SiteKey(bytes(32)).patient("1"),
    }  # fmt: skip
    assert len(keys) == 5


def test_sites_of_a_tag_are_digests_that_ignore_case():
    assert KEY.site("St. Mary ") == KEY.site("ST. MARY")
    assert KEY.site("St. Mary").startswith("site-")
    assert "mary" not in KEY.site("St. Mary")


@pytest.mark.parametrize(
    "patient", ["", " ", "0", "0000", "ANON", "anonymous", "Anonymized", "N/A", "XXXX", "unknown"]
)
def test_placeholders_name_nobody(patient):
    assert not identity.names_a_patient(patient)


@pytest.mark.parametrize("patient", ["1", "0042", "ANON123", "Xavier"])
def test_ids_name_somebody(patient):
    assert identity.names_a_patient(patient)


def test_the_key_is_made_once_and_only_for_its_owner(tmp_path: Path):
    path = tmp_path / "new" / "site.key"
    first, was_made = identity.load_or_create(path)
    second, was_made_again = identity.load_or_create(path)
    assert (was_made, was_made_again) == (True, False)
    assert first == second
    assert len(path.read_bytes()) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_keys_differ(tmp_path: Path):
    one, _ = identity.load_or_create(tmp_path / "a.key")
    other, _ = identity.load_or_create(tmp_path / "b.key")
    assert one != other


def test_a_key_is_not_shown():
    assert str(bytes(range(32))[8:12]) not in repr(KEY)
    assert "secret" not in repr(KEY)


def test_the_key_lies_in_the_users_configuration(config_home: Path):
    assert identity.default_key_path() == config_home / "medssl" / "site.key"


def test_a_missing_key_is_none(tmp_path: Path):
    assert identity.load(tmp_path / "absent") is None


def test_a_file_of_another_length_is_no_key(tmp_path: Path):
    (tmp_path / "k").write_bytes(b"short")
    with pytest.raises(UsageError, match="not a key: 5 bytes, expected 32"):
        identity.load(tmp_path / "k")


def test_a_key_others_can_read_is_refused(tmp_path: Path):
    identity.load_or_create(tmp_path / "k")
    (tmp_path / "k").chmod(0o644)
    with pytest.raises(UsageError, match="others may read"):
        identity.load(tmp_path / "k")


def test_a_key_that_cannot_be_read_or_written_is_explained(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be read"):
        identity.load(tmp_path)
    with pytest.raises((ResourceError, UsageError), match="key cannot be"):
        identity.load_or_create(tmp_path / "file" / "site.key")


def test_a_key_file_that_is_named_must_be_there(tmp_path, config_home):
    with pytest.raises(UsageError, match=r"(?s)no such key file.*openssl rand -out .* 32"):
        identity.key_path(tmp_path / "site.kye")
    (tmp_path / "site.key").touch()
    assert identity.key_path(tmp_path / "site.key") == tmp_path / "site.key"
    assert identity.key_path(None) == config_home / "medssl" / "site.key"
