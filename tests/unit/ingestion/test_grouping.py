from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.ingestion import assignment, geometry, grouping
from medssl.ingestion.assignment import Item, Rules
from medssl.ingestion.codes import Code
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.geometry import Plane
from medssl.ingestion.header import Facts, Frame, Header, Identity
from medssl.ingestion.identity import SiteKey

KEY = SiteKey(b"k" * 32)
AXIAL = ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0))  # rows and columns of an axial slice, RAS+
SAGITTAL = ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0))
CORONAL = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))


def entry(name, origin=None, axes=AXIAL, *, row=None, uid="", **more):
    frame = {key: more.pop(key) for key in ("instance", "phase") if key in more}
    one = Frame(plane=place(origin, axes), **frame)
    return file(name, one, row=row, uid=uid, **more)


def file(name, *frames, row=None, uid="", **more):
    defaults = {"rows": 4, "columns": 4, "bits": 16, "facts": Facts(modality="MR")}
    header = Header(
        reader="x", frames=frames, digest=name, **defaults | more,
        identity=Identity(patient="P", study="1.2", series="1.2.3", image=uid),
    )  # fmt: skip
    return assign([(name, header, row)], Rules())[0]


def place(origin, axes=AXIAL):
    return None if origin is None else Plane(tuple(map(float, origin)), *axes)


def assign(parts, rules):
    names, headers, rows = zip(*parts, strict=True)
    files = [SourceFile(path=Path("/d") / name, source=0, relative=name) for name in names]
    items = [Item(file, header) for file, header in zip(files, headers, strict=True)]
    return assignment.assign(items, rows, rules, KEY)


def gather(entries, **policy):
    found = grouping.gather(entries, KEY, **policy)
    assert found.rejected == {} or policy
    return found.series


def order(series):
    return [piece.entry.file.relative for piece in series.slices]


def behind(series):
    """The copies of each slice that has some, and why they would be left out."""
    return {
        piece.entry.file.relative: [(c.entry.file.relative, c.otherwise) for c in piece.copies]
        for piece in series.slices
        if piece.copies
    }


def codes(found):
    return {path.name: code for path, code in found.rejected.items()}


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL], ids=["axial", "sagittal", "coronal"])
def test_slices_ascend_along_the_nearest_ras_axis(axes):
    up = np.abs(np.cross(*axes))
    files = [entry(f"{9 - k}", up * k, axes, instance=k * 7 % 5) for k in range(5)]
    (series,) = gather(files)
    assert order(series) == ["9", "8", "7", "6", "5"]
    assert series.flags == ()


@given(st.permutations(range(12)))
@settings(max_examples=30)
def test_the_result_does_not_depend_on_the_listing(listing):
    # six axial slices and one too many, and a place with five repetitions
    files = [
        entry(f"f{k}", (0, 0, k % 6 if k < 7 else 0), AXIAL if k < 7 else CORONAL, instance=k)
        for k in range(12)
    ]
    expected = gather(files)
    assert [len(one.slices) for one in expected] != [12]
    found = gather([files[k] for k in listing])
    assert [(one.key, order(one), behind(one)) for one in found] == [
        (one.key, order(one), behind(one)) for one in expected
    ]


def test_a_mixed_series_is_split_and_its_parts_share_a_base_key():
    files = [
        entry("a", (0, 0, 0)), entry("b", (0, 0, 1)), entry("c", (0, 0, 0), CORONAL),
        entry("d", (0, 0, 0), rows=8), entry("e", (0, 0, 0), kind=("MR", "", "", "2")),
        entry("f", (0, 0, 0), ((-2.0, 0, 0), (0, -2.0, 0))), entry("g"),
        entry("h", (0, 0, 0), channels=3), entry("i", (0, 0, 2), inverted=True),
    ]  # fmt: skip
    found = gather(files)
    assert sorted(map(order, found)) == [
        ["a", "b"], ["c"], ["d"], ["e"], ["f"], ["g"], ["h"], ["i"],
    ]  # fmt: skip
    assert len({series.key for series in found}) == 8
    assert len({series.base_key for series in found}) == 1


@pytest.mark.parametrize("name", ["b_value", "te_ms"])
def test_another_contrast_is_another_volume_even_at_other_places(name):
    told = {0: 800.0, 1: 800.4, 2: 50.0, 3: None}
    files = [entry(f"{k}", (0, 0, k), facts=Facts(**{name: told[k]})) for k in told]
    assert sorted(map(order, gather(files))) == [["0", "1"], ["2"], ["3"]]


@pytest.mark.parametrize("number", [0, 1])
def test_repeated_positions_are_split_by_what_changes(number):
    def phase(k):
        return tuple(float(k // 3 if n == number else -1) for n in range(3))

    files = [entry(f"{k}", (0, 0, k % 3), phase=phase(k), instance=1) for k in range(6)]
    found = gather(files)
    assert sorted(map(order, found)) == [["0", "1", "2"], ["3", "4", "5"]]


def test_a_number_that_changes_with_every_slice_does_not_split():
    files = [entry(f"{k}", (0, 0, k), phase=(float(k),)) for k in range(3)]
    (series,) = gather(files)
    assert order(series) == ["0", "1", "2"]


@pytest.mark.parametrize("jitter", ["per image", "per slice and phase"])
def test_a_number_that_is_unique_per_image_does_not_tear_volumes_apart(jitter):
    def phase(k):  # a trigger time that is never twice the same; then an acquisition per slice
        return (float(k) if jitter == "per image" else float(k % 3), 100.0 * k + k % 3)

    files = [entry(f"{k}", (0, 0, k % 3), phase=phase(k), instance=k) for k in range(6)]
    found = gather(files)
    assert sorted(map(order, found)) == [["0", "1", "2"], ["3", "4", "5"]]


def test_numbers_tell_volumes_apart_together_where_none_does_alone():
    # b-values 0 and 1000, this one in three directions; the numbering of a scanner that counts them
    files = [
        entry(f"{v}-{z}", (0, 0, z), phase=(1000.0 * (v > 0), float(v % 3), 7.0), instance=z)
        for v in range(4)
        for z in range(3)
    ]
    found = gather(files)
    assert sorted(map(order, found)) == [[f"{v}-{z}" for z in range(3)] for v in range(4)]
    assert {series.flags for series in found} == {()}


def test_a_volume_that_was_broken_off_is_the_last_of_several():
    files = [
        entry(f"{t}-{z}", (0, 0, z), phase=(float(t),), instance=1)
        for t in range(3)
        for z in range(4 if t < 2 else 2)
    ]
    assert sorted(map(order, gather(files))) == [
        ["0-0", "0-1", "0-2", "0-3"], ["1-0", "1-1", "1-2", "1-3"], ["2-0", "2-1"],
    ]  # fmt: skip


def test_three_stations_that_overlap_are_three_volumes():
    files = [
        entry(f"{s}{z:02d}", (0, 0, 8 * s + z), phase=(float(s),), instance=z)
        for s in range(3)
        for z in range(10)
    ]
    found = sorted(map(order, gather(files)))
    assert found == [[f"{s}{z:02d}" for z in range(10)] for s in range(3)]


def test_of_two_numbers_the_one_that_cuts_less_is_meant():
    files = [
        entry(f"{s}{z:02d}", (0, 0, 8 * s + z), phase=phase, instance=z)
        for s in range(3)
        for z in range(10)
        for phase in [(float(s), s + (z > 4) / 2 if s == 1 else float(s))]
    ]
    for order_of in (lambda phase: phase, lambda phase: phase[::-1]):
        swapped = [
            entry(f.file.relative, f.header.frames[0].plane.origin,
                  phase=order_of(f.header.frames[0].phase), instance=1)
            for f in files
        ]  # fmt: skip
        assert sorted(len(series.slices) for series in gather(swapped)) == [10, 10, 10]


def test_stations_beside_each_other_are_volumes_without_any_number():
    files = [entry(f"{side}{z}", (0, 60 * (side == "b"), z)) for side in "ab" for z in range(3)]
    assert sorted(map(order, gather(files))) == [["a0", "a1", "a2"], ["b0", "b1", "b2"]]


def test_numbers_that_count_shots_do_not_explain_an_uneven_repeat():
    # two slices are taken at a time: as a time, the shot would make a volume of every two slices
    files = [entry(f"{z}", (0, 0, z), phase=(float(z // 2),), instance=z) for z in range(20)]
    again = entry("again", (0, 0, 0), phase=(99.0,), instance=99)
    (series,) = gather([*files, again])
    assert order(series) == [f"{z}" for z in range(20)]
    assert behind(series) == {"0": [("again", Code.SAME_POSITION)]}


@pytest.mark.parametrize(("step", "thickness"), [(0.0008, 0.0008), (0.02, 0.02), (2.0, None)])
def test_thin_slices_are_places_of_their_own_and_repeats_are_not(step, thickness):
    moved = min(step / 100, 5e-4)  # the patient, between the repetitions
    files = [
        entry(f"{k}", (0, 0, k % 3 * step + k // 3 * moved), thickness=thickness, instance=k)
        for k in range(6)
    ]
    found = gather(files)
    assert sorted(map(order, found)) == [["0", "1", "2"], ["3", "4", "5"]]


def test_repetitions_without_a_number_follow_the_instances():
    files = [entry(f"{k}", (0, 0, k % 3), instance=k) for k in range(6)]
    found = gather(files)
    assert sorted(map(order, found)) == [["0", "1", "2"], ["3", "4", "5"]]
    assert {series.flags for series in found} == {("repeats_by_instance",)}


def test_a_slice_too_many_stands_behind_the_first_at_its_place():
    names = "gfedcba"  # instance numbers decide which comes first, not names
    files = [entry(names[k], (0, 0, k % 3), instance=k) for k in range(7)]
    (series,) = gather(files)
    assert order(series) == ["g", "f", "e"]
    assert series.flags == ("same_position",)
    assert behind(series) == {
        "g": [("d", Code.SAME_POSITION), ("a", Code.SAME_POSITION)],
        "f": [("c", Code.SAME_POSITION)],
        "e": [("b", Code.SAME_POSITION)],
    }


@pytest.mark.parametrize("instances", [(0, 1, 2, 0, 1, 2), (None,) * 6, (0, 1, 2, 3, 4, None)])
def test_repetitions_that_no_number_puts_in_order_are_rivals(instances):
    files = [entry(f"{k}", (0, 0, k % 3), instance=instances[k]) for k in range(6)]
    (series,) = gather(files)
    assert order(series) == ["0", "1", "2"]
    assert behind(series) == {str(k): [(str(k + 3), Code.SAME_POSITION)] for k in range(3)}


def test_the_copies_of_a_rival_stand_behind_the_first_too():
    files = [
        entry("a", (0, 0, 0), uid="1", instance=1), entry("a2", (0, 0, 0), uid="1", instance=1),
        entry("b", (0, 0, 0), uid="2", instance=1), entry("b2", (0, 0, 0), uid="2", instance=1),
    ]  # fmt: skip
    (series,) = gather(files)
    assert order(series) == ["a"]
    assert behind(series) == {
        "a": [("a2", Code.CONFLICTING_COPY), ("b", Code.SAME_POSITION), ("b2", Code.SAME_POSITION)]
    }


class TestFilesOfSeveralImages:
    def test_it_is_a_series_by_itself(self):
        frames = [Frame(plane=place((0, 0, z))) for z in range(3)]
        loose = [entry(f"{z}", (0, 0, z)) for z in range(3, 5)]
        assert sorted(map(order, gather([file("f", *frames), *loose]))) == [["3", "4"], ["f"] * 3]

    def test_its_frames_are_split_as_files_are(self):
        frames = [
            Frame(plane=place((0, z, z), axes), phase=(t,), kind=(kind,), instance=0)
            for axes in (AXIAL, CORONAL)
            for kind in ("M", "P")
            for t in (1.0, 2.0)
            for z in (1, 0)
        ]
        found = gather([file("f", *frames)])
        numbers = [[piece.number for piece in series.slices] for series in found]
        assert sorted(numbers) == [
            [1, 0], [3, 2], [5, 4], [7, 6], [9, 8], [11, 10], [13, 12], [15, 14],
        ]  # fmt: skip
        assert len({series.key for series in found}) == 8
        assert len({series.base_key for series in found}) == 1

    def test_frames_of_another_kind_are_another_volume_even_at_other_places(self):
        frames = [Frame(plane=place((0, 0, z)), kind=("MP"[z // 2],)) for z in range(4)]
        found = gather([file("f", *frames)])
        assert sorted([piece.number for piece in one.slices] for one in found) == [[0, 1], [2, 3]]

    def test_repeats_that_nothing_explains_are_no_rivals_of_its_own_frames(self):
        frames = [Frame(plane=place((0, 0, k % 3))) for k in range(7)]
        found = gather([file("f", *frames)])
        numbers = [[piece.number for piece in series.slices] for series in found]
        assert sorted(numbers) == [[0, 1, 2], [3, 4, 5], [6]]
        assert not any(piece.copies for series in found for piece in series.slices)

    def test_without_positions_frames_keep_their_order(self):
        (series,) = gather([file("f", *(Frame(instance=k) for k in (3, 1, 2)))])
        assert [piece.number for piece in series.slices] == [1, 2, 0]

    def test_it_counts_its_frames(self):
        short = [Frame(plane=place((0, y, 0), CORONAL)) for y in range(2)]
        long = [Frame(plane=place((0, 0, z))) for z in range(5)]
        found = gather([file("one", *short), file("both", *short, *long)], min_slices=5)
        assert [len(series.slices) for series in found] in ([2, 5], [5, 2])
        assert {name for series in found for name in order(series)} == {"both"}


class TestPolicies:
    UNEVEN = (0, 2, 4, 8)

    def files(self):
        uneven = [entry(f"u{z}", (0, 0, z)) for z in self.UNEVEN]
        return [*uneven, *(entry(f"e{y}", (0, y, 0), CORONAL) for y in range(3))]

    def test_gaps_are_measured_and_kept(self):
        found = gather(self.files())
        told = {len(s.slices): (s.has_gap, s.stack.missing, s.stack.missing_mm) for s in found}
        assert told == {4: (True, 1, 2), 3: (False, 0, 0)}

    def test_gaps_are_rejected_where_asked_for(self):
        found = grouping.gather(self.files(), KEY, gaps="reject")
        assert list(map(order, found.series)) == [["e0", "e1", "e2"]]
        assert codes(found) == {f"u{z}": Code.GAP for z in self.UNEVEN}

    def test_slices_stand_alone_where_asked_for(self):
        found = gather(self.files(), gaps="single")
        assert sorted(map(order, found)) == [["e0", "e1", "e2"], ["u0"], ["u2"], ["u4"], ["u8"]]
        assert {len(s.slices): s.flags for s in found} == {3: (), 1: ("gap",)}
        assert len({series.key for series in found}) == 5
        assert {s.key for s in found if len(s.slices) == 3} < {s.key for s in gather(self.files())}

    def test_a_file_with_a_gap_is_rejected_with_all_it_holds(self):
        frames = [Frame(plane=place((0, 0, z))) for z in self.UNEVEN]
        frames += [Frame(plane=place((0, y, 0), CORONAL)) for y in range(9)]
        found = grouping.gather([file("f", *frames), entry("e", (0, 0, 0))], KEY, gaps="reject")
        assert list(map(order, found.series)) == [["e"]]
        assert codes(found) == {"f": Code.GAP}

    def test_short_series_are_left_out_with_their_copies(self):
        copies = [entry("e0", (0, 0, 0), CORONAL, uid="7"), entry("e9", (0, 0, 0), uid="7")]
        found = grouping.gather([*self.files()[:5], *copies], KEY, min_slices=4)
        assert list(map(order, found.series)) == [["u0", "u2", "u4", "u8"]]
        assert codes(found) == dict.fromkeys(("e0", "e9"), Code.SKIPPED_SHORT_SERIES)

    @pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
    def test_only_volumes_are_short(self, modality):
        facts = Facts(modality=modality)
        files = [
            entry("short", (0, 0, 0), facts=facts),
            entry("nowhere", facts=facts, rows=9),
            entry("film", (0, 0, 0), facts=Facts(modality="DX"), rows=8),
        ]
        found = grouping.gather(files, KEY, min_slices=2)
        assert sorted(map(order, found.series)) == [["film"], ["nowhere"]]
        assert codes(found) == {"short": Code.SKIPPED_SHORT_SERIES}

    def test_a_short_series_with_a_gap_is_short(self):
        found = grouping.gather(self.files(), KEY, min_slices=5, gaps="reject")
        assert set(codes(found).values()) == {Code.SKIPPED_SHORT_SERIES}


def test_without_positions_the_instance_number_decides():
    files = [entry(f"{k}", instance=10 - k) for k in range(3)]
    (series,) = gather(files)
    assert order(series) == ["2", "1", "0"]
    assert series.flags == ("order_by_instance",)


def test_without_numbers_the_table_and_then_the_name_decides():
    by_table = [entry(f"{k}", row={"slice_index": str(-k)}) for k in range(3)]
    (series,) = gather(by_table)
    assert (order(series), series.flags) == (["2", "1", "0"], ("order_by_table",))
    by_name = [entry(name) for name in ("s10", "s9", "s1")]
    (series,) = gather(by_name)
    assert (order(series), series.flags) == (["s1", "s9", "s10"], ("order_by_name",))


def test_files_with_one_instance_uid_are_copies_and_share_their_label():
    files = [entry("b", uid="1.1", row={"label": "1"}), entry("a", uid="1.1"), entry("c", uid="2")]
    (series,) = gather(files)
    assert order(series) == ["a", "c"]
    assert behind(series) == {"a": [("b", Code.CONFLICTING_COPY)]}
    assert series.first.row == {"label": "1"}


@pytest.mark.parametrize("rules", [Rules(series="parent"), Rules(series="col:s")])
def test_copies_in_other_folders_or_series_are_copies(rules):
    told = Identity(patient="P", study="1.2", series="1.2.3", image="1.1")
    header = Header(reader="x", rows=4, columns=4, bits=16, frames=(Frame(),), identity=told)
    parts = [(f"{name}/x", header, {"s": name}) for name in ("b", "a")]
    (series,) = gather(assign(parts, rules))
    assert order(series) == ["a/x"]
    assert behind(series) == {"a/x": [("b/x", Code.CONFLICTING_COPY)]}


def test_keys_do_not_depend_on_the_order_of_other_series():
    alone = gather([entry("a", (0, 0, 0))])[0].key
    assert alone == KEY.series("uid", "1.2", "1.2.3")
    assert geometry.positions([Plane((0.0, 0.0, 5.0), *AXIAL)]).tolist() == [5]
