"""Every Parquet format reads back what was written, and refuses what it is not."""

import importlib
import itertools
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medssl import artifacts
from medssl.artifacts import (
    archive,
    attention,
    comparison,
    predictions,
    quarantine,
    records,
    reduce_report,
    report,
    schedules,
    scores,
    selection,
    source_paths,
    tables,
    trials,
    unmatched_labels,
)
from medssl.foundation.errors import ArtifactError, ResourceError


@dataclass(frozen=True)
class Format:
    """One table of a folder, written and read through its own module."""

    name: str
    schema: str
    columns: pa.Schema
    write: Callable[[Path, pa.Table], None]
    read: Callable[[Path], pa.Table]

    def __str__(self) -> str:
        return self.name


def archive_with_info(read: Callable[[Path], pa.Table]) -> Callable[[Path], pa.Table]:
    """An archive without archive.json is unfinished, so one has to be there."""

    def reading(folder: Path) -> pa.Table:
        info = archive.ArchiveInfo(
            medssl="1", size=None, spatial_dims=2, key_id="k", files_found=0, files_written=0
        )
        archive.write_info(folder, info)
        return read(folder)

    return reading


def selected(name: str, schema: str) -> Callable[[Path, pa.Table], None]:
    def write(folder: Path, table: pa.Table) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        tables.write(folder / name, schema, table)

    return write


FORMATS = [
    Format(
        "images.parquet",
        archive.IMAGES_SCHEMA,
        archive.IMAGES,
        archive.write_images,
        archive_with_info(archive.read_images),
    ),
    Format(
        "labels.parquet",
        archive.LABELS_SCHEMA,
        archive.LABELS,
        archive.write_labels,
        archive_with_info(archive.read_labels),
    ),
    Format(
        "quarantine.parquet",
        quarantine.SCHEMA,
        quarantine.QUARANTINE,
        quarantine.write,
        quarantine.read,
    ),
    Format(
        "private/paths.parquet",
        source_paths.SCHEMA,
        source_paths.PATHS,
        source_paths.write,
        source_paths.read,
    ),
    Format(
        "private/unmatched_labels.parquet",
        unmatched_labels.SCHEMA,
        unmatched_labels.UNMATCHED,
        unmatched_labels.write,
        unmatched_labels.read,
    ),
    Format(
        "kept.parquet",
        selection.KEPT_SCHEMA,
        selection.KEPT,
        selected("kept.parquet", selection.KEPT_SCHEMA),
        selection.read_kept,
    ),
    Format(
        "dropped.parquet",
        selection.DROPPED_SCHEMA,
        selection.DROPPED,
        selected("dropped.parquet", selection.DROPPED_SCHEMA),
        selection.read_dropped,
    ),
    Format(
        "leaks.parquet",
        selection.LEAKS_SCHEMA,
        selection.LEAKS,
        selection.write_leaks,
        selection.read_leaks,
    ),
    Format(
        "tables/schedule.parquet",
        schedules.SCHEMA,
        schedules.SCHEDULE,
        schedules.write,
        schedules.read,
    ),
    Format(
        "tables/strata.parquet",
        reduce_report.STRATA_SCHEMA,
        reduce_report.STRATA,
        selected("tables/strata.parquet", reduce_report.STRATA_SCHEMA),
        reduce_report.read_strata,
    ),
    Format(
        "tables/per_patient.parquet",
        reduce_report.PER_PATIENT_SCHEMA,
        reduce_report.PER_PATIENT,
        selected("tables/per_patient.parquet", reduce_report.PER_PATIENT_SCHEMA),
        reduce_report.read_per_patient,
    ),
    Format(
        "tables/per_series.parquet",
        reduce_report.PER_SERIES_SCHEMA,
        reduce_report.PER_SERIES,
        selected("tables/per_series.parquet", reduce_report.PER_SERIES_SCHEMA),
        reduce_report.read_per_series,
    ),
    Format(
        "attention.parquet", attention.SCHEMA, attention.ATTENTION, attention.write, attention.read
    ),
    Format("scores.parquet", scores.SCORES_SCHEMA, scores.SCORES, scores.write, scores.read),
    Format(
        "predictions.parquet",
        predictions.SCHEMA,
        predictions.PREDICTIONS,
        lambda folder, table: predictions.write(folder / "predictions.parquet", table),
        lambda folder: predictions.read(folder / "predictions.parquet"),
    ),
    Format(
        "tables/estimates.parquet",
        report.ESTIMATES_SCHEMA,
        report.ESTIMATES,
        selected("tables/estimates.parquet", report.ESTIMATES_SCHEMA),
        report.read_estimates,
    ),
    Format(
        "tables/differences.parquet",
        comparison.DIFFERENCES_SCHEMA,
        comparison.DIFFERENCES,
        selected("tables/differences.parquet", comparison.DIFFERENCES_SCHEMA),
        comparison.read_differences,
    ),
    Format(
        "tables/folds.parquet",
        report.FOLDS_SCHEMA,
        report.FOLDS,
        selected("tables/folds.parquet", report.FOLDS_SCHEMA),
        report.read_folds,
    ),
    Format(
        "tables/subgroups.parquet",
        report.SUBGROUPS_SCHEMA,
        report.SUBGROUPS,
        selected("tables/subgroups.parquet", report.SUBGROUPS_SCHEMA),
        report.read_subgroups,
    ),
    Format(
        "tables/subgroup_gaps.parquet",
        report.GAPS_SCHEMA,
        report.GAPS,
        selected("tables/subgroup_gaps.parquet", report.GAPS_SCHEMA),
        report.read_gaps,
    ),
]
every_format = pytest.mark.parametrize("form", FORMATS, ids=str)


def cells(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Values of one column, null among them."""
    if pa.types.is_fixed_size_list(kind):
        item = st.none() | st.floats(allow_nan=False)
        return st.none() | st.lists(item, min_size=kind.list_size, max_size=kind.list_size)
    if pa.types.is_list(kind):
        return st.none() | st.lists(st.text(max_size=4), max_size=3)
    if pa.types.is_integer(kind):
        top = 2 ** (kind.bit_width - 1)
        return st.none() | st.integers(-top, top - 1)
    if pa.types.is_boolean(kind):
        return st.none() | st.booleans()
    return st.none() | (st.floats(allow_nan=False) if pa.types.is_floating(kind) else st.text())


def rows(columns: pa.Schema) -> st.SearchStrategy[list[dict[str, Any]]]:
    row = st.fixed_dictionaries({field.name: cells(field.type) for field in columns})
    return st.lists(row, max_size=3)


def sample(columns: pa.Schema) -> pa.Table:
    """One row in which every cell is filled."""
    simple = {"string": "a", "int8": 1, "int32": 2, "int64": 3, "double": 0.5, "bool": True}

    def cell(kind: pa.DataType) -> Any:
        if pa.types.is_fixed_size_list(kind):
            return [0.25] * kind.list_size
        return ["a", "b"] if pa.types.is_list(kind) else simple[str(kind)]

    return tables.build([{f.name: cell(f.type) for f in columns}], columns)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "tables").mkdir()
    return tmp_path


@every_format
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.data())
def test_what_is_written_is_read(tmp_path_factory, form, content):
    folder = tmp_path_factory.mktemp("tables")
    (folder / "tables").mkdir()
    table = tables.build(content.draw(rows(form.columns)), form.columns)
    form.write(folder, table)
    assert form.read(folder).equals(table)


@every_format
def test_the_same_rows_give_the_same_bytes(folder, form):
    form.write(folder, sample(form.columns))
    first = (folder / form.name).read_bytes()
    form.write(folder, sample(form.columns))
    assert (folder / form.name).read_bytes() == first


@every_format
def test_the_file_says_its_schema_to_any_parquet_reader(folder, form):
    form.write(folder, sample(form.columns))
    metadata = pq.read_schema(folder / form.name).metadata
    assert metadata[b"medssl_schema"].decode() == form.schema


@every_format
@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("{name}/99", "written by a newer medssl: it has {name}/99, this version reads up to"),
        ("medssl.other/1", "expected {name}/{version}, found medssl.other/1"),
        ("{name}", "expected {name}/{version}, found {name}"),
        ("", "expected {name}/{version}, found no schema"),
    ],
)
def test_another_or_newer_schema_is_refused(folder, form, found, message):
    name, _, version = form.schema.rpartition("/")
    form.write(folder, sample(form.columns))
    tables.write(folder / form.name, found.format(name=name), sample(form.columns))
    with pytest.raises(ArtifactError, match=message.format(name=name, version=version)) as caught:
        form.read(folder)
    assert caught.value.where == str(folder / form.name)
    assert caught.value.fix


@every_format
def test_a_missing_column_is_named(folder, form):
    form.write(folder, sample(form.columns))
    lacking = sample(form.columns).drop_columns([form.columns.names[0]])
    tables.write(folder / form.name, form.schema, lacking)
    with pytest.raises(ArtifactError, match=f"lacks the columns {form.columns.names[0]}"):
        form.read(folder)


@every_format
def test_a_column_of_another_type_is_refused(folder, form):
    form.write(folder, sample(form.columns))
    table = sample(form.columns)
    numbers = [f.name for f in form.columns if pa.types.is_floating(f.type)]
    name = numbers[0] if numbers else form.columns.names[0]
    wrong = pa.array([b"\xff\xfe"]) if not numbers else pa.array(["word"])
    place = table.schema.get_field_index(name)
    tables.write(folder / form.name, form.schema, table.set_column(place, name, wrong))
    with pytest.raises(ArtifactError, match="a column has another type"):
        form.read(folder)


@every_format
def test_surplus_columns_are_left_out_and_order_is_ours(folder, form):
    table = sample(form.columns)
    form.write(folder, table)
    mixed = table.select(table.column_names[::-1]).append_column("note", pa.array(["x"]))
    tables.write(folder / form.name, form.schema, mixed)
    assert form.read(folder).equals(table)


@every_format
@pytest.mark.parametrize("content", [b"", b"not parquet at all", b"PAR1"])
def test_a_damaged_file_is_refused(folder, form, content):
    form.write(folder, sample(form.columns))
    (folder / form.name).write_bytes(content)
    with pytest.raises(ArtifactError, match="not a readable Parquet file"):
        form.read(folder)


@every_format
def test_an_absent_file_is_refused(folder, form):
    with pytest.raises(ArtifactError, match="no such file"):
        form.read(folder)


def test_a_full_disk_leaves_the_old_table(tmp_path, monkeypatch):
    path = tmp_path / "labels.parquet"
    tables.write(path, archive.LABELS_SCHEMA, sample(archive.LABELS))
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(ResourceError, match="the disk is full") as caught:
        tables.write(path, archive.LABELS_SCHEMA, sample(archive.LABELS).slice(1))
    assert caught.value.exit_code == 6
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_writing_images_and_labels_keeps_the_allow_list(tmp_path):
    for columns, write, name in (
        (archive.IMAGES, archive.write_images, "images.parquet"),
        (archive.LABELS, archive.write_labels, "labels.parquet"),
    ):
        leaky = sample(columns).append_column("patient_name", pa.array(["Phantom^PX0001"]))
        write(tmp_path, leaky)
        assert pq.read_schema(tmp_path / name).names == columns.names


def test_build_fills_what_a_row_leaves_out_with_null():
    table = tables.build([{"image_id": "a"}], archive.LABELS)
    assert table.to_pylist() == [{"image_id": "a", "target": None, "value": None}]


def test_no_table_is_left_out_above():
    modules = pkgutil.iter_modules(artifacts.__path__, f"{artifacts.__name__}.")
    values = [value for m in modules for value in vars(importlib.import_module(m.name)).values()]
    found = {id(value) for value in values if isinstance(value, pa.Schema)}
    own_test = {id(trials.TRIALS)}  # `test_trials.py`: what is written are records, not a table
    assert found - own_test == {id(form.columns) for form in FORMATS}


def test_every_schema_name_is_used_once():
    names = [form.schema for form in FORMATS]
    names += [archive.SCHEMA, selection.SCHEMA, report.SCHEMA, comparison.SCHEMA]
    assert len(set(names)) == len(names)
    assert all(name.startswith("medssl.") and name.rpartition("/")[2].isdigit() for name in names)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (lambda folder: source_paths.write(folder, sample(source_paths.PATHS)), "paths"),
        (
            lambda folder: unmatched_labels.write(folder, sample(unmatched_labels.UNMATCHED)),
            "unmatched_labels",
        ),
    ],
    ids=["paths", "unmatched labels"],
)
def test_what_is_private_is_readable_by_the_owner_only(tmp_path, written, name):
    written(tmp_path)
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "private" / f"{name}.parquet").stat().st_mode & 0o777 == 0o600


def test_a_selection_writes_its_record_last(tmp_path, monkeypatch):
    order: list[str] = []
    for module, attribute in ((tables, "write"), (records, "write")):
        original = getattr(module, attribute)

        def spy(path, *rest, _original=original):
            order.append(path.name)
            _original(path, *rest)

        monkeypatch.setattr(module, attribute, spy)
    info = selection.SelectionInfo(
        archive_hash="h",
        by=("dhash",),
        select="leader",
        within="series",
        thresholds=(0.9,),
        n_images=2,
        n_kept=1,
    )
    selection.write(tmp_path, info, sample(selection.KEPT), sample(selection.DROPPED))
    assert order == ["kept.parquet", "dropped.parquet", "reduce.json"]
    assert selection.read_info(tmp_path) == info
    assert list(itertools.chain(*selection.read_kept(tmp_path).to_pydict().values())) == [
        "a",
        2,
        "a",
    ]
