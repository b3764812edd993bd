"""The docs are true: links lead somewhere, examples read back, commands and options exist."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from medssl.artifacts import (
    aliases,
    archive,
    arms,
    attention,
    comparison,
    embeddings,
    exported,
    fold_models,
    foreign_predictions,
    gates,
    ingest_report,
    pixels,
    predictions,
    quarantine,
    records,
    reduce_report,
    report,
    run_folder,
    schedules,
    scores,
    selection,
    site_models,
    source_paths,
    splits,
    tables,
    trials,
    unmatched_labels,
    weights,
)
from medssl.evaluation import gate
from medssl.foundation import errors
from medssl.ingestion.identity import SiteKey
from medssl.models.encoders import resnet18
from medssl.training import ensemble

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("sample_data/*.md")])
FORMATS = ROOT / "docs" / "reference" / "formats.md"
DECISIONS = ROOT / "docs" / "decisions"

RECORDS: dict[str, Callable[[Path], Any]] = {
    "archive.json": archive.read_info,
    "archive/report.json": lambda folder: ingest_report.read(folder / "archive"),
    "reduce.json": selection.read_info,
    "selection/report.json": lambda folder: reduce_report.read(folder / "selection"),
    "encoder.json": weights.read_info,
    "embed.json": embeddings.read_info,
    "README.json": exported.read,
    "splits.json": lambda folder: splits.read(folder / "splits.json"),
    "finetune.json": site_models.read,
    "fold.json": fold_models.read,
    "arms.json": lambda folder: {"arms": arms.read(folder)},
    "predict.json": scores.read_info,
    "report.json": report.read,
    "comparison.json": comparison.read,
    "status.json": run_folder.read_status,
    "env.json": lambda folder: records.read(folder / "env.json", run_folder.ENV_SCHEMA),
}
TABLES: dict[str, tuple[str, pa.Schema, Callable[[Path], pa.Table]]] = {
    "images.parquet": (archive.IMAGES_SCHEMA, archive.IMAGES, archive.read_images),
    "labels.parquet": (archive.LABELS_SCHEMA, archive.LABELS, archive.read_labels),
    "quarantine.parquet": (quarantine.SCHEMA, quarantine.QUARANTINE, quarantine.read),
    "private/paths.parquet": (source_paths.SCHEMA, source_paths.PATHS, source_paths.read),
    "private/unmatched_labels.parquet": (
        unmatched_labels.SCHEMA,
        unmatched_labels.UNMATCHED,
        unmatched_labels.read,
    ),
    "kept.parquet": (selection.KEPT_SCHEMA, selection.KEPT, selection.read_kept),
    "dropped.parquet": (selection.DROPPED_SCHEMA, selection.DROPPED, selection.read_dropped),
    "leaks.parquet": (selection.LEAKS_SCHEMA, selection.LEAKS, selection.read_leaks),
    "tables/strata.parquet": (
        reduce_report.STRATA_SCHEMA,
        reduce_report.STRATA,
        reduce_report.read_strata,
    ),
    "tables/per_patient.parquet": (
        reduce_report.PER_PATIENT_SCHEMA,
        reduce_report.PER_PATIENT,
        reduce_report.read_per_patient,
    ),
    "tables/per_series.parquet": (
        reduce_report.PER_SERIES_SCHEMA,
        reduce_report.PER_SERIES,
        reduce_report.read_per_series,
    ),
    "tables/schedule.parquet": (schedules.SCHEMA, schedules.SCHEDULE, schedules.read),
    "embeddings.parquet": (
        embeddings.EMBEDDINGS_SCHEMA,
        embeddings.columns(4),
        embeddings.read_table,
    ),
    "attention.parquet": (attention.SCHEMA, attention.ATTENTION, attention.read),
    "predictions.parquet": (
        predictions.SCHEMA,
        predictions.PREDICTIONS,
        lambda folder: predictions.read(folder / "predictions.parquet"),
    ),
    "trials.parquet": (
        trials.SCHEMA,
        trials.TRIALS,
        lambda folder: tables.read(folder / "trials.parquet", trials.SCHEMA, trials.TRIALS),
    ),
    "scores.parquet": (scores.SCORES_SCHEMA, scores.SCORES, scores.read),
    "tables/estimates.parquet": (
        report.ESTIMATES_SCHEMA,
        report.ESTIMATES,
        report.read_estimates,
    ),
    "tables/differences.parquet": (
        comparison.DIFFERENCES_SCHEMA,
        comparison.DIFFERENCES,
        comparison.read_differences,
    ),
    "tables/folds.parquet": (report.FOLDS_SCHEMA, report.FOLDS, report.read_folds),
    "tables/subgroups.parquet": (
        report.SUBGROUPS_SCHEMA,
        report.SUBGROUPS,
        report.read_subgroups,
    ),
    "tables/subgroup_gaps.parquet": (report.GAPS_SCHEMA, report.GAPS, report.read_gaps),
}
TYPES = {"text": pa.string(), "float64": pa.float64(), "true or false": pa.bool_()}
TYPES |= {f"int{bits}": getattr(pa, f"int{bits}")() for bits in (8, 32, 64)}
TYPES |= {f"{n} × float64": pa.list_(pa.float64(), n) for n in (3, 12)}
TYPES |= {"list of float64": pa.list_(pa.float64())}
TYPES |= {"list of text": pa.list_(pa.string()), "F × float32": pa.list_(pa.float32(), 4)}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def sections() -> dict[str, str]:
    """The sections of the formats page by heading."""
    parts = re.split(r"^### (.+)$", FORMATS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def example(name: str) -> Any:
    return json.loads(blocks(sections()[name], "json")[0])


def write_examples(folder: Path) -> None:
    """Put every example of the page where its format belongs."""
    for name in TABLES:
        schema, columns, _ = TABLES[name]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tables.write(folder / name, schema, tables.build(example(name), columns))
    for name in (*RECORDS, "metrics.jsonl", "pace.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(example(name)) + "\n")


def anchors(page: Path) -> set[str]:
    """The anchors a page's headings get: lower case, no punctuation, hyphens for spaces."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_resolves(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{name_of(page)} links to {target}"
        assert linked.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(linked), f"{name_of(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_has_one_title_and_names_no_machine(page):
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    if text.strip():
        assert len(re.findall(r"^# ", prose, flags=re.MULTILINE)) == 1
    assert not re.search(r"/(work|home|Users|tmp)/", text)


GROUPS = {"splits"}  # commands of several words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_shown_exists_with_its_options(page, cli):
    helps: dict[str, str] = {}
    shown = "\n".join(blocks(page.read_text(encoding="utf-8"), "console"))
    for line in re.findall(r"^\$ medssl (.+)$", shown, flags=re.MULTILINE):
        command, *words = line.split()
        if command.startswith("-"):
            continue
        if command in GROUPS:
            command = f"{command} {words.pop(0)}"
        if command not in helps:
            code, helps[command], err = cli(*command.split(), "--help")
            assert (code, err) == (0, ""), f"medssl {command} is no command"
        options = [word.partition("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)]
        known = set(re.findall(r"(?<![\w-])-{1,2}[a-z][a-z-]*", helps[command]))
        assert set(options) <= known, f"{name_of(page)}: {line}"


def test_the_exit_code_table_is_that_of_the_classes():
    text = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.+) \|$", text, flags=re.MULTILINE)
    assert rows == [
        (str(kind.exit_code), kind.__name__, first_sentence(kind))
        for kind in errors.MedSSLError.__subclasses__()
    ]


def first_sentence(kind: type[errors.MedSSLError]) -> str:
    words = (kind.__doc__ or "").strip().replace("``", "`").removesuffix(".")
    return words[0].lower() + words[1:]


def test_the_index_of_decisions_lists_every_page_with_its_number():
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\d{4})\]\((.+\.md)\)", index, flags=re.MULTILINE)
    pages = sorted(path.name for path in DECISIONS.glob("[0-9]*.md"))
    assert [name for _, name in listed] == pages
    assert [number for number, _ in listed] == [f"{n + 1:04d}" for n in range(len(pages))]
    for number, name in listed:
        text = (DECISIONS / name).read_text(encoding="utf-8")
        assert text.startswith(f"# {number} ")
        headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Rejected", "Consequences"]


def test_every_format_has_a_section_and_every_section_a_test():
    without_example = {
        "config.yaml", "log.txt", "Predictions of other tools", "Folds of other tools",
        "private/journal.sqlite", "probable_alias.csv", "checkpoints/",
    }  # fmt: skip
    tested = {*RECORDS, *TABLES, "pixels/00000.npy", "gate.safetensors"}
    tested |= {"metrics.jsonl", "pace.jsonl"}
    assert set(sections()) == tested | without_example
    modules = {path.stem for path in (ROOT / "medssl" / "artifacts").glob("*.py")}
    assert modules - {"__init__", "origin", "records", "tables", "schema"} == {
        "aliases", "archive", "arms", "attention", "building", "cohort_tables", "comparison",
        "embeddings", "exported", "fold_models", "foreign_columns", "foreign_predictions", "gates",
        "ingest_report", "journal", "pixels", "predictions", "quarantine", "reduce_report",
        "report", "report_tables", "run_folder", "schedules", "scores", "selection", "site_models",
        "source_paths", "split_tables", "splits", "trials",
        "unmatched_labels", "weights",
    }  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_the_example_of_a_record_reads_back(tmp_path, name):
    shown = example(name)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(json.dumps(shown))
    found = RECORDS[name](tmp_path)
    content = found if isinstance(found, dict) else vars(found)
    assert set(shown) - {"schema", "digest"} == set(content)
    for key, value in content.items():
        assert json.loads(json.dumps(value, default=vars)) == shown[key]


def test_the_digest_of_the_example_plan_is_its_digest(tmp_path):
    (tmp_path / "splits.json").write_text(json.dumps(example("splits.json")))
    assert splits.read(tmp_path / "splits.json").digest == example("splits.json")["digest"]


@pytest.mark.parametrize("name", TABLES)
def test_the_columns_of_a_table_are_those_of_its_schema(name):
    schema, columns, _ = TABLES[name]
    section = sections()[name]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", section, flags=re.MULTILINE)
    assert [(key, TYPES[kind]) for key, kind in rows] == [(f.name, f.type) for f in columns]
    assert f"`{schema}`" in " ".join(section.split())


@pytest.mark.parametrize("name", TABLES)
def test_the_example_of_a_table_reads_back(tmp_path, name):
    write_examples(tmp_path)
    _, columns, read = TABLES[name]
    assert list(example(name)[0]) == columns.names
    assert read(tmp_path).to_pylist() == example(name)


def test_the_example_for_pixels_finds_the_values(tmp_path, monkeypatch):
    write_examples(tmp_path)
    row = example("images.parquet")[0] | {"slope": 2.0, "intercept": -3.0, "row": 1}
    tables.write(
        tmp_path / "images.parquet", archive.IMAGES_SCHEMA, tables.build([row], archive.IMAGES)
    )
    store = np.arange(2 * 64 * 64, dtype=np.uint16).reshape(2, 1, 64, 64)
    pixels.write(tmp_path, row["shard"], store)

    monkeypatch.chdir(tmp_path)
    (code,) = blocks(sections()["pixels/00000.npy"], "python")
    names: dict[str, Any] = {}
    exec(code, names)
    assert np.array_equal(names["values"], store[1, :, :64, :56] * 2.0 - 3.0)


def test_the_tensors_of_a_gate_measure_as_the_page_says(tmp_path):
    section = sections()["gate.safetensors"]
    listed = re.findall(r"^\| `(\w+)` \| \(", section, flags=re.MULTILINE)
    assert tuple(listed) == gates.NAMES
    rng = np.random.default_rng(0)
    train, test, new = (rng.normal(size=(n, 5)) for n in (3, 4, 1))
    gates.write(tmp_path, ensemble.gate_of(train, test))
    kept = gates.read(tmp_path)
    assert kept is not None
    away = new[0] - kept["mean"]
    along = kept["components"] @ away
    beside = (away**2).sum() - (along**2).sum()
    shown = ((along**2 / kept["variances"]).sum() + beside / kept["rest"]) / 5
    assert gate.fit(train).distance(new)[0] == pytest.approx(shown, rel=1e-5)
    assert kept["held_out"].shape == (4,)


def test_the_example_of_foreign_predictions_reads(tmp_path):
    (shown,) = blocks(sections()["Predictions of other tools"], "csv")
    (tmp_path / "scores.csv").write_text(shown)
    table = foreign_predictions.read(tmp_path / "scores.csv", lambda: SiteKey(bytes(32))).table
    assert table["score"].to_pylist() == [0.81, 0.64, 0.22]
    assert len(set(table["patient_key"].to_pylist())) == 2


def test_the_example_of_aliases_reads_and_is_written_like_that(tmp_path):
    section = sections()["probable_alias.csv"]
    (shown,) = blocks(section, "csv")
    (tmp_path / "shown.csv").write_text(shown)
    rows = aliases.read(tmp_path / "shown.csv")
    assert [row.kind for row in rows] == list(aliases.KINDS)
    aliases.write(tmp_path, reversed(rows))
    assert (tmp_path / aliases.NAME).read_text() == shown
    listed = re.findall(r"^\| `(\w+)` \| ", section, flags=re.MULTILINE)
    assert tuple(listed) == aliases.COLUMNS


def test_the_pandas_examples_run(tmp_path, monkeypatch):
    for folder in ("run", "archive", "report"):
        write_examples(tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    page = ROOT / "docs" / "how-to" / "read-results-in-pandas.md"
    for code in blocks(page.read_text(encoding="utf-8"), "python"):
        exec(code, names)
    assert names["per_patient"]["score"].tolist() == [example("predictions.parquet")[0]["score"]]
    assert names["cohort"]["finding"].tolist() == ["1"]
    assert names["by_site"].to_dict() == {("south", "DX"): 1}
    assert names["reasons"].to_dict() == {"SKIPPED_TEXT": 1}
    assert names["short"]["metric"].tolist() == ["brier"]
    assert names["course"]["step"].tolist() == [2]
    assert names["status"] == "finished"


def test_the_method_of_the_how_to_computes_what_its_paper_says():
    page = (ROOT / "docs" / "how-to" / "add-a-method.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "align_uniform"}
    exec(blocks(page, "python")[0], names)
    assert "arXiv:2005.10242" in names["__doc__"]
    config = names["Config"](projector_dim=8, temperature=3.0)
    method = names["Method"](resnet18.build(1, 2, resnet18.Config()), config).eval()
    shown = [torch.randn(5, 1, 32, 32) for _ in range(2)]
    patients = torch.arange(5)
    losses = method.loss(method.embed(shown), patients)

    with torch.no_grad():
        z = [method.projector(method.encoder(view)).double().numpy() for view in shown]
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in z)
    alignment = np.mean([np.sum((p - q) ** 2) for p, q in zip(a, b, strict=True)])
    spread = []
    for rows in (a, b):
        pairs = [(p, q) for i, p in enumerate(rows) for j, q in enumerate(rows) if i != j]
        spread.append(np.log(np.mean([np.exp(-3.0 * np.sum((p - q) ** 2)) for p, q in pairs])))
    assert losses["alignment"].item() == pytest.approx(alignment, rel=1e-4)
    assert losses["uniformity"].item() == pytest.approx(np.mean(spread), rel=1e-4)
    assert losses["total"].item() == pytest.approx(alignment + np.mean(spread), rel=1e-4)
    same = method.loss(method.embed([shown[0], shown[0]]), patients)
    assert same["alignment"].item() == pytest.approx(0, abs=1e-6)
