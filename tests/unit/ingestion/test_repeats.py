from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.ingestion import assignment, repeats
from medssl.ingestion.assignment import Item, Rules
from medssl.ingestion.codes import Code
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.geometry import Plane
from medssl.ingestion.header import Facts, Frame, Header, Identity
from medssl.ingestion.identity import SiteKey
from medssl.ingestion.slices import Slice

NOT_TOLD = -1.0
AXIAL = ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0))


def piece(name, z, *, thickness=5.0, instance=None, clock=(NOT_TOLD, NOT_TOLD), **phase):
    time, acquisition = (phase.get(name, NOT_TOLD) for name in ("time", "acquisition"))
    frame = Frame(
        plane=Plane((0.0, 0.0, float(z)), *AXIAL),
        phase=(float(time), NOT_TOLD, float(acquisition), NOT_TOLD),
        instance=instance,
        times=tuple(map(float, clock)),
    )
    header = Header(
        reader="x", rows=4, columns=4, bits=16, frames=(frame,), thickness=thickness, digest=name,
        facts=Facts(modality="MR"), identity=Identity(patient="P", study="1", series="1.2"),
    )  # fmt: skip
    file = SourceFile(path=Path("/d") / name, source=0, relative=name)
    (entry,) = assignment.assign([Item(file, header)], [None], Rules(), SiteKey(b"k" * 32))
    return Slice(entry=entry, number=0)


def names(pieces):
    return {one.entry.file.relative for one in pieces}


def volumes(pieces):
    """The names in each volume; nothing is lost."""
    found = repeats.apart(pieces)
    told = [one.entry.file.relative for part, _ in found for one in part]
    assert sorted(told) == sorted(names(pieces))
    return sorted(sorted(names(part)) for part, _ in found)


def flags(pieces):
    return {flag for _, told in repeats.apart(pieces) for flag in told}


def by_first_letter(pieces):
    told = names(pieces)
    return sorted(sorted(n for n in told if n[0] == letter) for letter in {n[0] for n in told})


class TestVolumesWithinEachOther:
    @pytest.mark.parametrize("moved", [0.2, 2.5, 5.0])
    def test_moments_are_volumes_wherever_their_slices_lie(self, moved):
        pieces = [
            piece(f"{t}{k}", 5 * k + moved * t, time=t + 1) for t in range(4) for k in range(8)
        ]
        assert volumes(pieces) == by_first_letter(pieces)
        assert flags(pieces) == set()

    def test_two_slices_are_enough_for_moments_and_one_is_not(self):
        pairs = [piece(f"{t}{k}", 5 * k + 0.2 * t, time=t) for t in range(3) for k in range(2)]
        assert volumes(pairs) == by_first_letter(pairs)
        single = piece("x", 2.5, time=9)
        assert volumes([*pairs[:4], single]) == [["00", "01", "10", "11", "x"]]

    def test_a_time_that_goes_on_along_the_stack_is_no_moment(self):
        pieces = [piece(f"{k}", 5 * k, time=k // 4) for k in range(8)]
        assert volumes(pieces) == [sorted(names(pieces))]

    def test_moments_are_told_apart_further(self):
        pieces = [
            piece(f"{2 * t + r}{k}", 5 * k + 0.2 * t, time=t, instance=10 * r + k)
            for t in range(2)
            for r in range(2)
            for k in range(6)
        ]
        assert volumes(pieces) == by_first_letter(pieces)

    @pytest.mark.parametrize("moved", [1.3, 2.5, 9.9])
    def test_overlapped_acquisitions_are_volumes(self, moved):
        pieces = [
            piece(f"{a}{k:02d}", 5 * k + moved * a, acquisition=a + 1)
            for a in range(2)
            for k in range(20)
        ]
        assert volumes(pieces) == by_first_letter(pieces)
        assert volumes(pieces[:7] + pieces[8:]) == by_first_letter(pieces[:7] + pieces[8:])

    @pytest.mark.parametrize("thickness", [5.0, 6.0])  # with and without the gap between slices
    @pytest.mark.parametrize("n_packets", [2, 3])
    def test_interleaved_packets_are_one_volume(self, thickness, n_packets):
        pieces = [
            piece(f"{k}", 6 * k, thickness=thickness, acquisition=k % n_packets) for k in range(24)
        ]
        assert volumes(pieces) == [sorted(names(pieces))]

    def test_step_and_shoot_is_one_volume(self):
        pieces = [piece(f"{k}", 5 * k, acquisition=k // 4) for k in range(20)]
        assert volumes(pieces) == [sorted(names(pieces))]

    @pytest.mark.parametrize(
        ("spots", "thickness"),
        [
            ([0, 5, 10, 15], None),  # nobody knows whether they leave room for others
            ([0, 5], 5.0),
            ([0, 5, 11, 15], 5.0),
            ([0, 5, 10, 15], 3.0),
        ],
        ids=["thickness unknown", "two slices", "uneven", "thin"],
    )
    def test_what_is_no_volume_by_itself_is_no_acquisition(self, spots, thickness):
        pieces = [
            piece(f"{a}{z}", z + 2.5 * a, thickness=thickness, acquisition=a)
            for a in range(2)
            for z in spots
        ]
        assert volumes(pieces) == [sorted(names(pieces))]

    def test_acquisitions_side_by_side_are_one_volume_if_they_share_half_or_less(self):
        def pieces(n_shared):
            return [
                piece(f"{a}{k}", 5 * (k + (9 - n_shared) * a) + 2.5 * a, acquisition=a)
                for a in range(2)
                for k in range(9)
            ]

        assert len(volumes(pieces(4))) == 1  # 12.5 of 40 mm
        assert len(volumes(pieces(8))) == 2  # 32.5


def _upwards(t, k):
    return 20 * t + k


def _downwards(t, k):
    return 20 * t - k


def _by_place(t, k):
    return 5 * k + t


def _with_pauses(t, k):
    return 100 * t + 3 * k


def _even_first(t, k):
    return 20 * t + k // 2 + 10 * (k % 2)


class TestMissingSlices:
    def dynamic(self, *lost, number=_upwards):
        return [
            piece(f"{t}{k:02d}", 5 * k, instance=number(t, k) + 40)
            for t in range(5)
            for k in range(20)
            if (t, k) not in lost
        ]

    @pytest.mark.parametrize("number", [_upwards, _downwards, _by_place, _with_pauses])
    @pytest.mark.parametrize("lost", [(0, 0), (0, 7), (0, 19), (2, 0), (3, 19), (4, 0), (4, 19)])
    def test_one_lost_slice_of_a_dynamic_series_costs_no_other(self, number, lost):
        pieces = self.dynamic(lost, number=number)
        assert volumes(pieces) == by_first_letter(pieces)
        assert flags(pieces) == {"repeats_by_instance"}

    @pytest.mark.parametrize("number", [_upwards, _downwards, _by_place, _with_pauses])
    @given(
        lost=st.sets(st.tuples(st.integers(0, 4), st.integers(0, 19)), min_size=2, max_size=7),
        whole=st.integers(0, 19),
    )
    @settings(max_examples=10)
    def test_several_may_be_lost(self, number, lost, whole):
        lost = {(t, k) for t, k in lost if k != whole} | {(0, (whole + 1) % 20)}
        pieces = self.dynamic(*lost, number=number)
        assert volumes(pieces) == by_first_letter(pieces)

    def test_every_place_may_have_lost_one(self):
        even = self.dynamic(*((k % 5, k) for k in range(20)))
        assert volumes(even) == by_first_letter(even)
        uneven = self.dynamic(*((k % 5, k) for k in range(20)), (0, 1))
        assert volumes(uneven) == by_first_letter(uneven)

    def test_an_order_of_any_kind_ends_where_a_place_comes_again(self):
        pieces = self.dynamic((0, 7), (3, 12), number=_even_first)
        assert volumes(pieces) == by_first_letter(pieces)

    def test_overlapping_stations_are_told_apart_by_their_numbers(self):
        pieces = [
            piece(f"{s}{k}", 5 * (8 * s + k), instance=10 * s + k)
            for s in range(2)
            for k in range(10)
        ]
        assert volumes(pieces) == by_first_letter(pieces)

    def test_a_volume_that_was_broken_off_early_is_a_surplus(self):
        half = self.dynamic(*((4, k) for k in range(10, 20)))
        assert volumes(half) == by_first_letter(half)
        ((part, told),) = repeats.apart(self.dynamic(*((4, k) for k in range(9, 20))))
        assert (len(part), told) == (20, ("same_position",))

    @pytest.mark.parametrize("instance", [21, 1000, 0])
    def test_one_slice_too_many_is_a_rival(self, instance):
        pieces = [piece(f"{k:02d}", 5 * k, instance=k + 1) for k in range(20)]
        ((part, told),) = repeats.apart([*pieces, piece("x", 35, instance=instance)])
        assert told == ("same_position",)
        kept = {one.entry.file.relative: one.copies for one in part}
        place = "x" if instance == 0 else "07"
        other = "07" if instance == 0 else "x"
        assert set(kept) == names(pieces) - {"07"} | {place}
        assert [(c.entry.file.relative, c.otherwise) for c in kept[place]] == [
            (other, Code.SAME_POSITION)
        ]

    def test_equal_instance_numbers_say_nothing(self):
        pieces = self.dynamic((0, 7))
        twice = piece("407", 35, instance=41)
        pieces = [one for one in pieces if names([one]) != {"407"}] + [twice]
        assert flags(pieces) == {"same_position"}


class TestTheClock:
    """Sweeps over the same places, of which only a time of day says which is which."""

    @pytest.mark.parametrize("clock", [(1, -1), (-1, 1), (0, 1), (1, 1)])
    def test_sweeps_of_one_time_each_are_volumes(self, clock):
        pieces = [
            piece(f"{t}{k}", 5 * k, instance=k, clock=[36000 + c * 2.5 * t for c in clock])
            for t in range(4)
            for k in range(6)
        ]
        assert volumes(pieces) == by_first_letter(pieces)
        assert flags(pieces) == set()

    def test_a_slice_may_be_lost(self):
        pieces = [
            piece(f"{t}{k}", 5 * k, clock=(t, -1))
            for t in range(3)
            for k in range(6)
            if (t, k) not in {(0, 2), (2, 5)}
        ]
        assert volumes(pieces) == by_first_letter(pieces)

    def test_a_time_per_slice_tells_nothing(self):
        pieces = [piece(f"{k}", 5 * k, instance=k, clock=(k, k + 0.5)) for k in range(20)]
        assert volumes(pieces) == [sorted(names(pieces))]
        twice = [
            piece(f"{t}{k}", 5 * k, instance=1, clock=(60 * t + k, 60 * t + k + 0.5))
            for t in range(2)
            for k in range(6)
        ]
        assert flags(twice) == {"same_position"}  # and no volume of each moment

    def test_a_time_per_place_tells_nothing(self):
        pieces = [
            piece(f"{t}{k}", 5 * k, instance=2 * k + t, clock=(k // 4, k))
            for t in range(2)
            for k in range(8)
        ]
        assert volumes(pieces) == by_first_letter(pieces)
        assert flags(pieces) == {"repeats_by_instance"}

    def test_shots_of_several_slices_are_no_sweeps(self):
        pieces = [
            piece(f"{t}{k}", 5 * k, instance=1, clock=(10 * t + k // 2, -1))
            for t in range(2)
            for k in range(8)
        ]
        assert flags(pieces) == {"same_position"}

    def test_a_slice_too_many_is_a_rival_at_whatever_time(self):
        pieces = [piece(f"{k:02d}", 5 * k, instance=k, clock=(9, 9)) for k in range(20)]
        ((part, told),) = repeats.apart([*pieces, piece("x", 35, instance=50, clock=(99, 99))])
        assert (len(part), told) == (20, ("same_position",))

    def test_what_the_header_says_of_time_comes_first(self):
        pieces = [
            piece(f"{t}{k}", 5 * k, time=t, clock=(k % 2, k % 3))
            for t in range(2)
            for k in range(6)
        ]
        assert volumes(pieces) == by_first_letter(pieces)
