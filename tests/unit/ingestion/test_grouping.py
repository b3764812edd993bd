from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.ingestion import assignment, geometry, grouping
from medssl.ingestion.assignment import Item, Rules
from medssl.ingestion.discover import SourceFile
from medssl.ingestion.geometry import Plane
from medssl.ingestion.header import Frame, Header, Identity
from medssl.ingestion.identity import SiteKey

KEY = SiteKey(b"k" * 32)
AXIAL = ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0))  # rows and columns of an axial slice, RAS+
SAGITTAL = ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0))
CORONAL = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))


def entry(name, origin=None, axes=AXIAL, *, row=None, uid="", **more):
    frame = {key: more.pop(key) for key in ("instance", "phase") if key in more}
    plane = None if origin is None else Plane(tuple(map(float, origin)), *axes)
    defaults = {"rows": 4, "columns": 4, "bits": 16}
    header = Header(
        reader="x", frames=(Frame(plane=plane, **frame),), digest=name, **defaults | more,
        identity=Identity(patient="P", study="1.2", series="1.2.3", image=uid),
    )  # fmt: skip
    return assign([(name, header, row)], Rules())[0]


def assign(parts, rules):
    names, headers, rows = zip(*parts, strict=True)
    files = [SourceFile(path=Path("/d") / name, source=0, relative=name) for name in names]
    items = [Item(file, header) for file, header in zip(files, headers, strict=True)]
    return assignment.assign(items, rows, rules, KEY)


def order(series):
    return [piece.entry.file.relative for piece in series.slices]


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL], ids=["axial", "sagittal", "coronal"])
def test_slices_ascend_along_the_nearest_ras_axis(axes):
    up = np.abs(np.cross(*axes))
    files = [entry(f"{9 - k}", up * k, axes, instance=k * 7 % 5) for k in range(5)]
    (series,) = grouping.gather(files, KEY)
    assert order(series) == ["9", "8", "7", "6", "5"]
    assert series.flags == ()


@given(st.permutations(range(12)))
def test_the_result_does_not_depend_on_the_listing(listing):
    files = [
        entry(f"f{k}", (0, 0, k % 6), axes=AXIAL if k < 6 else CORONAL, instance=k)
        for k in range(12)
    ]
    expected = [(one.key, order(one)) for one in grouping.gather(files, KEY)]
    found = grouping.gather([files[k] for k in listing], KEY)
    assert [(one.key, order(one)) for one in found] == expected


def test_a_mixed_series_is_split_and_its_parts_share_a_base_key():
    files = [
        entry("a", (0, 0, 0)), entry("b", (0, 0, 1)), entry("c", (0, 0, 0), CORONAL),
        entry("d", (0, 0, 0), rows=8), entry("e", (0, 0, 0), kind=("MR", "", "", "2")),
        entry("f", (0, 0, 0), ((-2.0, 0, 0), (0, -2.0, 0))), entry("g"),
    ]  # fmt: skip
    found = grouping.gather(files, KEY)
    assert sorted(map(order, found)) == [["a", "b"], ["c"], ["d"], ["e"], ["f"], ["g"]]
    assert len({series.key for series in found}) == 6
    assert len({series.base_key for series in found}) == 1


@pytest.mark.parametrize("number", [0, 1])
def test_repeated_positions_are_split_by_what_changes(number):
    def phase(k):
        return tuple(float(k // 3 if n == number else -1) for n in range(3))

    files = [entry(f"{k}", (0, 0, k % 3), phase=phase(k), instance=1) for k in range(6)]
    found = grouping.gather(files, KEY)
    assert sorted(map(order, found)) == [["0", "1", "2"], ["3", "4", "5"]]


def test_a_number_that_changes_with_every_slice_does_not_split():
    files = [entry(f"{k}", (0, 0, k), phase=(float(k),)) for k in range(3)]
    (series,) = grouping.gather(files, KEY)
    assert order(series) == ["0", "1", "2"]


@pytest.mark.parametrize("jitter", ["per image", "per slice and phase"])
def test_a_number_that_is_unique_per_image_does_not_tear_volumes_apart(jitter):
    def phase(k):  # a trigger time that is never twice the same; then an acquisition per slice
        return (float(k) if jitter == "per image" else float(k % 3), 100.0 * k + k % 3)

    files = [entry(f"{k}", (0, 0, k % 3), phase=phase(k), instance=k) for k in range(6)]
    found = grouping.gather(files, KEY)
    assert sorted(map(order, found)) == [["0", "1", "2"], ["3", "4", "5"]]


def test_a_phase_that_covers_only_a_part_does_not_split_more_than_needed():
    places, phases = (0, 1, 1, 2), (1.0, 1.0, 2.0, 3.0)
    files = [
        entry(f"{k}", (0, 0, place), phase=(phases[k],), instance=k)
        for k, place in enumerate(places)
    ]
    assert sorted(map(order, grouping.gather(files, KEY))) == [["0", "1", "3"], ["2"]]


@pytest.mark.parametrize(("step", "thickness"), [(0.0008, 0.0008), (0.02, 0.02), (2.0, None)])
def test_thin_slices_are_places_of_their_own_and_repeats_are_not(step, thickness):
    moved = min(step / 100, 5e-4)  # the patient, between the repetitions
    files = [
        entry(f"{k}", (0, 0, k % 3 * step + k // 3 * moved), thickness=thickness, instance=k)
        for k in range(6)
    ]
    found = grouping.gather(files, KEY)
    assert sorted(map(order, found)) == [["0", "1", "2"], ["3", "4", "5"]]


def test_repetitions_without_a_number_follow_the_instances():
    files = [entry(f"{k}", (0, 0, k % 3), instance=k) for k in range(7)]
    found = grouping.gather(files, KEY)
    assert sorted(map(order, found)) == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


def test_without_positions_the_instance_number_decides():
    files = [entry(f"{k}", instance=10 - k) for k in range(3)]
    (series,) = grouping.gather(files, KEY)
    assert order(series) == ["2", "1", "0"]
    assert series.flags == ("order_by_instance",)


def test_without_numbers_the_table_and_then_the_name_decides():
    by_table = [entry(f"{k}", row={"slice_index": str(-k)}) for k in range(3)]
    (series,) = grouping.gather(by_table, KEY)
    assert (order(series), series.flags) == (["2", "1", "0"], ("order_by_table",))
    by_name = [entry(name) for name in ("s10", "s9", "s1")]
    (series,) = grouping.gather(by_name, KEY)
    assert (order(series), series.flags) == (["s1", "s9", "s10"], ("order_by_name",))


def test_files_with_one_instance_uid_are_copies_and_share_their_label():
    files = [entry("b", uid="1.1", row={"label": "1"}), entry("a", uid="1.1"), entry("c", uid="2")]
    (series,) = grouping.gather(files, KEY)
    assert order(series) == ["a", "c"]
    assert [copy.file.relative for copy in series.slices[0].copies] == ["b"]
    assert series.first.row == {"label": "1"}


@pytest.mark.parametrize("rules", [Rules(series="parent"), Rules(series="col:s")])
def test_copies_in_other_folders_or_series_are_copies(rules):
    told = Identity(patient="P", study="1.2", series="1.2.3", image="1.1")
    header = Header(reader="x", rows=4, columns=4, bits=16, frames=(Frame(),), identity=told)
    parts = [(f"{name}/x", header, {"s": name}) for name in ("b", "a")]
    (series,) = grouping.gather(assign(parts, rules), KEY)
    assert order(series) == ["a/x"]
    assert [copy.file.relative for copy in series.slices[0].copies] == ["b/x"]


def test_keys_do_not_depend_on_the_order_of_other_series():
    alone = grouping.gather([entry("a", (0, 0, 0))], KEY)[0].key
    assert alone == KEY.series("uid", "1.2", "1.2.3")
    assert geometry.positions([Plane((0.0, 0.0, 5.0), *AXIAL)]).tolist() == [5]
