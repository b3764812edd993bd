"""MedMNIST's layout is read exactly; what it does not say is rejected, and nothing is unpickled."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest

from medssl.ingestion import colour, sniff
from medssl.ingestion.codes import Code, RejectedFile
from medssl.ingestion.header import Header, Reading
from medssl.ingestion.readers import npz

RNG = np.random.default_rng(0)
IMAGES = {
    split: RNG.integers(0, 256, (n, 5, 4), dtype=np.uint8)
    for split, n in (("train", 4), ("val", 2), ("test", 3))
}
LABELS = {split: np.arange(len(images))[:, None] % 2 for split, images in IMAGES.items()}


def save(path, packed=True, **arrays):
    named = {f"{split}_images": images for split, images in IMAGES.items()}
    named |= {f"{split}_labels": labels.astype(np.uint8) for split, labels in LABELS.items()}
    named |= arrays
    kept = {name: array for name, array in named.items() if array is not None}
    (np.savez_compressed if packed else np.savez)(path, **kept)
    return path


def only(**arrays):
    """Replace everything but the arrays given."""
    return {f"{split}_{kind}": None for split in IMAGES for kind in ("images", "labels")} | arrays


@pytest.mark.parametrize("packed", [True, False])
def test_images_are_those_of_numpy_in_the_order_of_the_splits(tmp_path, packed):
    path = save(tmp_path / "a.npz", packed)
    header = sniff.read_header(path)
    assert (header.rows, header.columns, header.bits, len(header.frames)) == (5, 4, 8, 9)
    assert header.digest
    assert not header.is_volume
    assert header.facts.transfer_syntax == "npz"
    expected = np.concatenate([IMAGES[split] for split in ("train", "val", "test")])
    assert np.array_equal(npz.read_pixels(path, header), expected)


def test_every_image_says_what_it_is_called_and_how_it_is_labelled(tmp_path):
    members = npz.read_header(save(tmp_path / "a.npz")).members
    assert [member.name for member in members[:2]] == ["train_images[0]", "train_images[1]"]
    assert members[-1].name == "test_images[2]"
    assert [dict(member.cells) for member in members[3:6]] == [
        {"split": "train", "label": "1"}, {"split": "val", "label": "0"},
        {"split": "val", "label": "1"},
    ]  # fmt: skip


def test_several_labels_are_columns_and_no_label_is_none(tmp_path):
    several = save(tmp_path / "a.npz", val_labels=np.array([[1, 0, 1], [0, 0, 1]]))
    cells = [dict(member.cells) for member in npz.read_header(several).members]
    assert cells[4] == {"split": "val", "label_0": "1", "label_1": "0", "label_2": "1"}
    one_axis = save(tmp_path / "b.npz", val_labels=np.array([7, -1]))
    cells = [dict(member.cells) for member in npz.read_header(one_axis).members]
    assert [cells[4]["label"], cells[5]["label"]] == ["7", "-1"]
    without = save(tmp_path / "c.npz", val_labels=None)
    assert npz.read_header(without).members[4].cells == {"split": "val"}


def test_deep_and_fortran_ordered_arrays_keep_their_values(tmp_path):
    deep = {
        f"{split}_images": np.asfortranarray(images.astype(">u2") * 257)
        for split, images in IMAGES.items()
    }
    path = save(tmp_path / "a.npz", **deep)
    header = npz.read_header(path)
    assert header.bits == 16
    assert np.array_equal(npz.read_pixels(path, header)[:4], IMAGES["train"].astype(int) * 257)


def test_gray_in_three_channels_is_read_and_colour_is_not(tmp_path):
    gray = {f"{split}_images": np.stack([images] * 3, -1) for split, images in IMAGES.items()}
    path = save(tmp_path / "a.npz", **gray)
    assert np.array_equal(npz.read_pixels(path, npz.read_header(path))[4:6], IMAGES["val"])
    one = {f"{split}_images": images[..., None] for split, images in IMAGES.items()}
    path = save(tmp_path / "b.npz", **one)
    assert np.array_equal(npz.read_pixels(path, npz.read_header(path))[4:6], IMAGES["val"])
    gray["test_images"][2, 0, 0, 1] ^= 1
    path = save(tmp_path / "c.npz", **gray)
    with pytest.raises(RejectedFile, match="COLOUR"):
        npz.read_pixels(path, npz.read_header(path))


def test_colour_is_read_as_asked_for(tmp_path):
    in_colour = {f"{split}_images": RNG.integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
                 for split in IMAGES}  # fmt: skip
    path = save(tmp_path / "a.npz", **only(**in_colour))
    together = np.concatenate([in_colour[f"{split}_images"] for split in ("train", "val", "test")])
    weighed = np.stack([colour.luminance(image) for image in together])
    for how, expected, channels in (("keep", together, 3), ("gray", weighed, 1)):
        header = sniff.read_header(path, Reading(colour=how))
        assert header.channels == channels
        assert np.array_equal(npz.read_pixels(path, header, Reading(colour=how)), expected)


def test_gray_has_one_channel_where_colour_is_kept_and_deep_colour_is_not_kept(tmp_path):
    keep = Reading(colour="keep")
    path = save(tmp_path / "a.npz", **only(train_images=IMAGES["train"][..., None]))
    header = sniff.read_header(path, keep)
    assert header.channels == 1
    assert np.array_equal(npz.read_pixels(path, header, keep), IMAGES["train"])
    deep = save(tmp_path / "b.npz", **only(train_images=np.zeros((2, 5, 4, 3), np.uint16)))
    assert sniff.read_header(deep, keep) is Code.UNSUPPORTED_PIXELS
    assert isinstance(sniff.read_header(deep, Reading(colour="gray")), Header)


@pytest.mark.parametrize(
    ("held", "code"), [(2**20, Code.BOMB), (2**21, None)], ids=["a bomb", "well packed"]
)
def test_what_packs_too_well_is_a_bomb(tmp_path, held, code):
    """What an array claims is compared with the size of the file, not with its table."""
    content = bytearray(claim(tmp_path / "a.npz", (257, 1024, 1024)).read_bytes())
    declared = 257 * 2**20 + 128
    for signature, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", content, content.index(signature) + place, declared)
    path = tmp_path / "b.npz"
    table = content.index(b"PK\1\2")
    content[table:table] = bytes(held)  # room between the array and the table
    struct.pack_into("<I", content, content.index(b"PK\5\6") + 16, table + held)
    path.write_bytes(content)
    found = sniff.read_header(path)
    assert found is code if code else isinstance(found, Header)


def test_a_header_of_any_length_is_not_read(tmp_path):
    """The second version of the format may have one of 4 GiB, in a few kilobytes of a ZIP."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, IMAGES["train"], version=(2, 0))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("train_images.npy", stream.getvalue())
    assert sniff.read_header(tmp_path / "a.npz") is Code.ARRAY_LAYOUT


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        (only(x=IMAGES["train"]), Code.ARRAY_LAYOUT),
        (only(train_images=RNG.random((2, 3, 4, 5))), Code.ARRAY_LAYOUT),
        (only(train_images=RNG.random((2, 3))), Code.ARRAY_LAYOUT),
        (only(train_images=RNG.random((2, 3, 3))), Code.UNSUPPORTED_PIXELS),
        (only(train_images=np.zeros((2, 3, 3), np.int8)), Code.UNSUPPORTED_PIXELS),
        (only(train_images=np.zeros((0, 3, 3), np.uint8)), Code.BAD_HEADER),
        ({"val_images": np.zeros((2, 9, 9), np.uint8)}, Code.ARRAY_LAYOUT),
        ({"val_images": np.zeros((2, 5, 4), np.uint16)}, Code.ARRAY_LAYOUT),
        ({"val_labels": np.zeros((3, 1), np.uint8)}, Code.ARRAY_LAYOUT),
        ({"val_labels": np.zeros((2, 1), np.float32)}, Code.ARRAY_LAYOUT),
        ({"val_labels": np.zeros((2, 1, 1), np.uint8)}, Code.ARRAY_LAYOUT),
    ],
)
def test_another_layout_is_a_code(tmp_path, arrays, code):
    assert sniff.read_header(save(tmp_path / "a.npz", **arrays)) is code


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("name", ["train_images", "train_labels"])
def test_nothing_is_unpickled(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "a.npz", **{name: np.array([Evil()] * 4, dtype=object)})
    assert sniff.read_header(path) is Code.UNSUPPORTED_PIXELS
    assert not (tmp_path / "pwned").exists()


def claim(path, shape, content=b"", dtype="|u1"):
    """Write an archive whose one array claims a shape it has not the bytes for."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images.npy", stream.getvalue() + content)
    return path


def test_a_claim_beyond_the_content_takes_no_memory(tmp_path):
    assert sniff.read_header(claim(tmp_path / "a.npz", (10**6, 4096, 4096))) is Code.TRUNCATED
    assert sniff.read_header(claim(tmp_path / "b.npz", (2, 2, 2), b"1234567")) is Code.TRUNCATED
    assert isinstance(sniff.read_header(claim(tmp_path / "c.npz", (2, 2, 2), b"12345678")), Header)


def test_too_many_pixels_images_or_labels_are_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.npz")
    for name, most in (("MAX_PIXELS", 9 * 5 * 4), ("_MAX_IMAGES", 9), ("_MAX_LABELS", 4)):
        with monkeypatch.context() as patch:
            patch.setattr(npz, name, most)
            assert isinstance(sniff.read_header(path), Header)
            patch.setattr(npz, name, most - 1)
            assert sniff.read_header(path) is Code.TOO_LARGE


def test_a_wrong_checksum_is_no_image(tmp_path):
    path = claim(tmp_path / "a.npz", (4, 64, 64), bytes(4 * 64 * 64 - 3) + b"end")
    path.write_bytes(path.read_bytes().replace(b"end", b"End"))
    header = npz.read_header(path)
    with pytest.raises(zipfile.BadZipFile):
        npz.read_pixels(path, header)


@pytest.mark.parametrize("name", ["mask.npy", "train_images.npy"])
def test_a_zip_in_a_zip_is_no_image_if_arrays_are_not_all_it_holds(tmp_path, name):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive, archive.open(name, "w") as stream:
        np.lib.format.write_array(stream, IMAGES["train"])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("pure", inner.getvalue())
        with zipfile.ZipFile(inner, "a") as added:
            added.writestr("1.dcm", b"x")
        archive.writestr("mixed", inner.getvalue())
    assert sniff.read_header(tmp_path / "a.zip" / "mixed") is Code.NESTED_ARCHIVE
    pure = sniff.read_header(tmp_path / "a.zip" / "pure")
    assert pure is Code.ARRAY_LAYOUT if name == "mask.npy" else isinstance(pure, Header)


def test_a_zip_of_other_things_is_not_recognised(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    assert not npz.recognises((tmp_path / "a.zip").read_bytes()[:1024])
    assert npz.recognises(save(tmp_path / "a.npz").read_bytes()[:1024])
