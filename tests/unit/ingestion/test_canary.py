"""The canary plants a text wherever there is room for one, and finds each however it is written."""

import base64
import gzip
import hashlib
import html
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.datadict import DicomDictionary

from medssl.ingestion.canary import planting as canary
from medssl.ingestion.canary import search
from medssl.ingestion.canary.dicom_files import STORAGE
from medssl.ingestion.canary.layers import Layer, expand
from medssl.ingestion.canary.register import Register
from medssl.ingestion.canary.search import KEY, Needles

TEXT_VRS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT", "DA", "DT", "TM"}
NUMBER_VRS = {"AS", "DS", "IS"}  # which hold a word in files of their own


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> canary.Planted:
    return canary.plant(tmp_path_factory.mktemp("canary") / "scans")


@pytest.fixture(scope="module")
def needles(planted) -> Needles:
    return Needles(planted.plants)


@pytest.fixture(scope="module")
def word(planted) -> str:
    return next(p.text for p in planted.plants if p.where == "PatientID of patient 1")


def inputs(planted: canary.Planted) -> list[Path]:
    return sorted(planted.source.parent.rglob("*"))


def test_every_place_has_a_text_of_its_own_and_always_the_same(planted):
    assert len({plant.text for plant in planted.plants}) == len(planted.plants) > 20_000
    assert len({plant.where for plant in planted.plants}) == len(planted.plants)
    again = Register()
    for plant in planted.plants[:200]:
        if plant.shape == "word" and plant.kind != "shown":
            assert again.word(plant.where, plant.kind) == plant.text


@pytest.mark.filterwarnings("ignore")  # some of the files are damaged
def test_every_text_of_the_standard_is_planted(planted):
    elements = {
        tag for tag, (vr, _, _, _, word) in DicomDictionary.items()
        if vr in TEXT_VRS and word and tag >> 16 >= 8
    }  # fmt: skip
    texts = {plant.text for plant in planted.plants}
    files: list[set[int]] = []
    numbers: set[str] = set()
    for path in inputs(planted):
        if not path.is_file() or path.suffix not in {".dcm", ""} or not path.stat().st_size:
            continue
        read = pydicom.dcmread(path, force=True)
        raw = [read.get_item(tag) for tag in read.keys()]  # noqa: SIM118 - iterating decodes
        ours = [e for e in raw if isinstance(e.value, bytes) and _plain(e.value) in texts]
        files.append({int(e.tag) for e in ours} & elements)
        numbers |= {e.VR for e in ours} & NUMBER_VRS
    needed = {0x00080005, 0x00080016, 0x00080060}  # character set, class, modality
    assert elements - set().union(*files) == needed
    assert sum(len(found) > len(elements) - 10 for found in files) > len(STORAGE)
    assert numbers == NUMBER_VRS


def _plain(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")


def test_every_plant_stands_in_the_inputs_and_is_found_there(planted, needles):
    found = set()
    for path in inputs(planted):
        found |= {*needles.find(path.name.encode())}
        if path.is_file() and not path.is_symlink():
            found |= {*needles.find(path.read_bytes())}
    others = {"what the user types wrong", "the name of the archive"}
    assert {plant.where for plant in {*planted.plants} - found} == others


def test_every_file_that_can_be_read_is_read(planted):
    from medssl.ingestion import sniff
    from medssl.ingestion.header import Header

    headers = [sniff.read_header(path) for path in inputs(planted) if path.is_file()]
    readers = {found.reader for found in headers if isinstance(found, Header)}
    assert {"dicom", "nifti", "npz", "picture"} <= readers
    codes = {str(found) for found in headers if not isinstance(found, Header)}
    assert {"BAD_HEADER", "EMPTY_FILE", "SKIPPED_TEXT", "SKIPPED_REPORT"} <= codes


def parquet(text: str) -> bytes:
    stream = io.BytesIO()
    nested = pa.array([[], ["-", text]], pa.list_(pa.string()))
    pq.write_table(pa.table({"a": ["x", "y"], "b": nested}), stream, compression="zstd")
    return stream.getvalue()


def parquet_metadata(text: str) -> bytes:
    stream = io.BytesIO()
    made = pa.table({"a": [1]}).replace_schema_metadata({"note": text})
    pq.write_table(made, stream, compression="zstd")
    return stream.getvalue()


def zipped(text: str) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **{"a": np.zeros(2), text: np.zeros(3)})
    return stream.getvalue()


def deflated(text: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", f"{'-' * 99}{text}{'-' * 99}")
    return stream.getvalue()


def strings(text: str) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([text, "-"]))
    return stream.getvalue()


def picture(text: str) -> bytes:
    stream, texts = io.BytesIO(), PngInfo()
    texts.add_text("Author", text, zip=True)
    Image.new("L", (4, 4)).save(stream, "PNG", pnginfo=texts)
    return stream.getvalue()


def page(text: str) -> bytes:
    return b'<img src="data:image/png;base64,' + base64.b64encode(picture(text)) + b'">'


def digits(text: str, base: str) -> str:
    return "".join(base.format(ord(letter)) for letter in text)


FORMS = {
    "as it is": lambda text: f"patient {text}.".encode(),
    "in lower case": lambda text: text.lower().encode(),
    "in UTF-16, little endian": lambda text: b"\xff\xfe" + text.encode("utf-16-le"),
    "in UTF-16, big endian": lambda text: text.encode("utf-16-be"),
    "in HTML numbers": lambda text: f"<p>{digits(text, '&#{};')}</p>".encode(),
    "in hexadecimal HTML numbers": lambda text: f"<p>{digits(text, '&#x{:x};')}</p>".encode(),
    "escaped for JSON": lambda text: ('{"a": "' + digits(text, "\\u{:04x}") + '"}').encode(),
    "escaped for a URL": lambda text: digits(text, "%{:02X}").encode(),
    "among JSON lines": lambda text: f'{{"a": 1}}\n{{"b": ["{text}"]}}\n'.encode(),
    "as a YAML key": lambda text: yaml.safe_dump({text: 1}).encode(),
    "gzipped": lambda text: gzip.compress(text.encode()),
    "in base64": lambda text: base64.b64encode(text.encode()),
    "in base64, one later": lambda text: b"x: " + base64.b64encode(b"_" + text.encode() + b"~~"),
    "in base64, two later": lambda text: base64.urlsafe_b64encode(b"~~" + text.encode()),
    "in a cell of a table": parquet,
    "in the metadata of a table": parquet_metadata,
    "as the name of an array": zipped,
    "in an array of texts": strings,
    "in a compressed member": deflated,
    "in a compressed PNG text": picture,
    "in a picture in a page": page,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_planted_word_is_found_however_it_is_written(needles, word, form):
    content = FORMS[form](word)
    assert [plant.text for plant in needles.find(content)] == [word]
    assert not needles.find(FORMS[form]("Nothing planted"))


@pytest.mark.parametrize(
    "where", ["SOPInstanceUID of radiograph 2 of patient 3", "a date in the table"]
)
@pytest.mark.parametrize("form", sorted(set(FORMS) - {"in lower case", "as the name of an array"}))
def test_so_are_uids_and_dates(planted, needles, where, form):
    (plant,) = (plant for plant in planted.plants if plant.where == where)
    assert plant in needles.find(FORMS[form](plant.text))


def test_a_part_of_ten_letters_is_enough(needles, word):
    for start in range(7):
        assert [p.text for p in needles.find(f"-{word[start : start + 10]}-".encode())] == [word]
    assert not needles.find(f"-{word[:9]}-".encode())


@pytest.mark.parametrize(
    ("planted_text", "written"),
    [
        ("day", ("19130101", "1913-01-01", "01.01.1913", "01/01/1913", "1913, 1, 1", "1913/01/01")),
        ("time", ("235960.000001", "23:59:60.000001", "T23:59:60Z", " 235960 ")),
        ("moment", ("19130102235960.000002", "1913-01-02T23:59:60", "02.01.1913")),
    ],
)
def test_dates_and_times_are_found_in_every_form(planted_text, written):
    register = Register()
    for name in ("day", "time", "moment"):
        getattr(register, name)(name)
    found = Needles(register.plants)
    for text in written:
        assert planted_text in {plant.where for plant in found.find(f"on {text}".encode())}, text


def test_numbers_that_hold_a_date_by_chance_are_none(needles):
    by_chance = ["0.1913010112345", "0.19130101", "219130101", "1913010199", "19130101.5", "1913"]
    assert not needles.find(json.dumps(by_chance[:-2]).encode())
    assert not needles.find(np.random.default_rng(0).bytes(2_000_000))
    assert not needles.find(base64.b64encode(np.random.default_rng(1).bytes(300_000)))


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512"])
def test_an_unkeyed_hash_of_a_planted_text_is_found(planted, needles, word, name):
    uid = next(plant.text for plant in planted.plants if plant.text.startswith("2.25."))
    for text in (word, uid):
        digest = hashlib.new(name, text.encode()).hexdigest()
        assert [plant.text for plant in needles.find(f'"id": "{digest}"'.encode())] == [text]


def test_the_key_is_found_in_every_form():
    secret = np.random.default_rng(3).bytes(32)
    found = Needles((), secret)
    forms = (
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        base64.b64encode(secret),
        base64.b64encode(b"?" + secret),
        base64.b32encode(secret),
        gzip.compress(secret),
    )
    for content in forms:
        assert list(found.find(b"\n" + content if content[0] != 0x1F else content)) == [KEY]
    assert not found.find(hashlib.sha256(secret).hexdigest().encode())


def test_names_the_user_gives_may_be_shown_but_not_as_markup(planted, needles):
    (target,) = (plant for plant in planted.plants if plant.text == planted.target)
    raw = needles.find(f"<td>{target.text}</td>".encode())
    assert search.is_markup(target, "out/runs/a/report.html", raw[target])
    escaped = needles.find(f"<td>{html.escape(target.text)}</td>".encode())
    assert not search.is_markup(target, "out/runs/a/report.html", escaped[target])
    assert not search.is_markup(target, "out/archive/archive.json", raw[target])


@pytest.mark.parametrize(
    ("kind", "places"),
    [
        ("hidden", set()),
        ("terminal", {"terminal"}),
        ("settings", {"terminal", "settings", "name"}),
        ("shown", {"terminal", "settings", "name", "artefact"}),
    ],
)
def test_where_a_planted_text_may_stand(planted, kind, places):
    plant = next(plant for plant in planted.plants if plant.kind == kind)
    tried = ("terminal", "settings", "name", "artefact")
    assert {place for place in tried if search.allowed(plant, place)} == places


def test_a_place_is_told_by_its_path():
    assert search.place("said/01-ingest.err") == "terminal"
    assert search.place("out/runs/a/config.yaml") == "settings"
    assert search.place("out/archive/archive.json") == "artefact"


@pytest.mark.parametrize("content", [b"PK\3\4 torn", b"\x1f\x8b torn", b"\x89PNG torn", b"{torn"])
def test_what_cannot_be_decoded_is_searched_as_it_is(content):
    assert (Layer.BYTES, content) in list(expand(content))
