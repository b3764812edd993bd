import weakref

import numpy as np
import pytest

from medssl.artifacts import pixels
from medssl.ingestion import shards
from medssl.ingestion.shards import Known, Place
from medssl.ingestion.storing import Decoded, Outcome

NOTHING = Outcome(images=(), stacks=(), rejected=())


def series(count, value, shape=(4, 4), dtype=np.uint8) -> Decoded:
    block = np.full((count, 1, *shape), value, dtype=dtype)
    return Decoded(pixels=block, outcome=NOTHING)


def pack(folder, given, replaced=None):
    """Owner, place and count of everything, shard by shard."""
    replaced = [] if replaced is None else replaced
    found = [one for shard in shards.pack(folder, given, replaced.append) for one in shard]
    return [(one.owner, one.place, one.count) for one in found]


def test_series_lie_side_by_side_and_are_never_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "SHARD_BYTES", 5 * 16)
    given = [series(n, k) for k, n in enumerate([2, 3, 1, 9, 4])]
    packed = pack(tmp_path, enumerate(given))
    assert packed == [
        (0, Place(0, 0), 2),
        (1, Place(0, 2), 3),
        (2, Place(1, 0), 1),
        (3, Place(2, 0), 9),
        (4, Place(3, 0), 4),
    ]
    for owner, place, count in packed:
        store = pixels.read(tmp_path, place.shard)
        assert (store[place.row : place.row + count] == owner).all()


@pytest.mark.parametrize("other", [{"shape": (4, 5)}, {"dtype": np.uint16}])
def test_another_shape_or_dtype_opens_another_shard(tmp_path, other):
    given = [series(1, 1), series(1, 2, **other), series(1, 3, **other)]
    places = [place for _, place, _ in pack(tmp_path, enumerate(given))]
    assert places == [Place(0, 0), Place(1, 0), Place(1, 1)]


def test_nothing_gives_no_shard(tmp_path):
    assert pack(tmp_path, []) == []
    assert list(tmp_path.iterdir()) == []


def test_what_lies_in_its_place_already_is_not_written_again(tmp_path):
    first = pack(tmp_path, [("a", series(2, 1)), ("b", series(1, 2))])
    path = pixels.shard_path(tmp_path, 0)
    before = path.stat()
    known = [
        (
            owner,
            Known(
                pixels=pixels.read(tmp_path, 0)[place.row : place.row + count],
                outcome=NOTHING,
                folder=tmp_path,
                place=place,
            ),
        )
        for owner, place, count in first
    ]
    replaced = []
    assert pack(tmp_path, known, replaced) == first
    assert replaced == []
    assert path.stat().st_ino == before.st_ino
    (tmp_path / "other").mkdir()
    pack(tmp_path / "other", known)
    assert pixels.shard_path(tmp_path / "other", 0).read_bytes() == path.read_bytes()
    pack(tmp_path, reversed(known), replaced)
    assert replaced == [0]
    assert path.stat().st_ino != before.st_ino
    assert pixels.read(tmp_path, 0)[:, 0, 0, 0].tolist() == [2, 1, 1]


def test_a_series_that_is_written_is_not_kept(tmp_path):
    made = []

    def given():
        for n in range(4):
            one = series(1, n)
            made.append(weakref.ref(one.pixels))
            yield n, one
            del one

    pack(tmp_path, given())
    assert [one() for one in made] == [None] * 4


def test_a_shard_that_is_not_finished_leaves_the_old_one_and_what_is_known_of_it(tmp_path):
    pack(tmp_path, [("a", series(2, 1))])
    before = pixels.shard_path(tmp_path, 0).read_bytes()
    replaced = []

    def given():
        yield "b", series(1, 7)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        pack(tmp_path, given(), replaced)
    assert replaced == []
    assert pixels.shard_path(tmp_path, 0).read_bytes() == before
    assert len(list((tmp_path / "pixels").iterdir())) == 1
