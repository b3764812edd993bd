"""What is chosen to be watched, and that what is measured is what it is called."""

import copy
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch

from medssl.artifacts import archive, tables
from medssl.config.pretrain import PretrainSettings
from medssl.data.batches import TrainingBatches
from medssl.data.store import ImageStore
from medssl.foundation import seeding
from medssl.foundation.errors import TrainingError
from medssl.methods import simclr
from medssl.models.encoders import resnet18
from medssl.training import embed, held_out, knn, monitors, runtime, spread


def settings(folder, **more):
    given = {"epochs": 5, "monitor_every": 2, "image_size": 16, "batch_size": 4, "validation": 0.4}
    return PretrainSettings(archive=folder, **given | more)


def parts_of(chosen):
    return held_out.split(archive.read_images(chosen.archive), chosen.validation, chosen.seed)


def monitors_of(chosen):
    parts = parts_of(chosen)
    watch = monitors.choose(chosen, parts)
    return monitors.Monitors(runtime.start("cpu", "32"), chosen, watch, parts, n_views=2), watch


@pytest.fixture
def method():
    torch.manual_seed(0)
    return simclr.Method(resnet18.build(1, 2, resnet18.Config()), simclr.Config())


def test_held_out_images_are_watched_unless_they_are_too_few(tiny_archive, monkeypatch):
    chosen = settings(tiny_archive)
    parts = parts_of(chosen)
    assert set(monitors.choose(chosen, parts).images) == set(parts.train["image_id"].to_pylist())
    assert "watched: 14 training images" in monitors.choose(chosen, parts).notes
    monkeypatch.setattr(spread, "LEAST_IMAGES", 10)
    watch = monitors.choose(chosen, parts)
    assert set(watch.images) == set(parts.validation["image_id"].to_pylist())
    assert watch.stops


def test_too_few_images_and_a_smoke_run_are_no_verdict(tiny_archive):
    watch = monitors.choose(settings(tiny_archive), parts_of(settings(tiny_archive)))
    assert not watch.stops
    assert any("a collapse would not stop the run" in note for note in watch.notes)
    smoke = settings(tiny_archive, smoke=True, validation=0.0)
    assert not monitors.choose(smoke, parts_of(smoke)).stops
    whole = settings(tiny_archive, validation=0.0)
    assert monitors.choose(whole, parts_of(whole)).stops


def test_it_is_due_every_so_many_epochs_and_at_the_end(tiny_archive):
    made, _ = monitors_of(settings(tiny_archive))
    assert [epoch for epoch in range(1, 6) if made.due(epoch)] == [2, 4, 5]


def test_the_values_are_those_of_the_images_they_are_said_to_be_of(tiny_archive, method):
    chosen = settings(tiny_archive)
    made, watch = monitors_of(chosen)
    twin = copy.deepcopy(method)
    measured = made.measure(method)

    device, table = torch.device("cpu"), archive.read_images(tiny_archive)
    where = {"device": device, "intensity": chosen.intensity, "image_size": 16}
    names = table["image_id"].to_pylist()
    rows = np.array([names.index(name) for name in watch.images])
    features = embed.features(twin.encoder, ImageStore(tiny_archive, table.take(rows)), **where)
    assert measured["feature_std"] == pytest.approx(spread.feature_std(features), rel=1e-3)
    assert measured["effective_rank"] == pytest.approx(spread.effective_rank(features), rel=1e-3)

    unseen = ImageStore(tiny_archive, parts_of(chosen).validation)
    seed = seeding.derive(chosen.seed, "validation views")
    views = TrainingBatches(
        unseen, **where, views=chosen.views, batch_size=4, n_views=2, seed=seed
    )  # fmt: skip
    losses = [twin.train()(shown)["total"].item() for shown, _ in views.epoch(0)]
    assert len(losses) == 2
    assert measured["val_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_measuring_again_gives_the_same_and_leaves_the_method_as_it_was(tiny_archive, method):
    made, _ = monitors_of(settings(tiny_archive))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    state = torch.get_rng_state()
    assert made.measure(method) == made.measure(method)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())


def test_features_that_are_not_finite_stop_the_run(tiny_archive, method):
    made, _ = monitors_of(settings(tiny_archive))
    with torch.no_grad():
        method.encoder.net.conv1.weight.fill_(torch.nan)
    with pytest.raises(TrainingError, match="the features are not finite"):
        made.measure(method)


@pytest.fixture
def several_targets(tiny_archive, tmp_path):
    """The tiny archive with a second target of three classes, a third with one, a fourth."""
    folder = shutil.copytree(tiny_archive, tmp_path / "archive")
    images = archive.read_images(folder)["image_id"].to_pylist()
    more = [
        {"image_id": name, "target": target, "value": value}
        for k, name in enumerate(images)
        for target, value in [("grade", "abc"[k // 2 % 3]), ("only", "x"), ("side", "LR"[k % 2]),
                              ("zone", "12"[k // 4 % 2])]
    ]  # fmt: skip
    labels = [archive.read_labels(folder), tables.build(more, archive.LABELS)]
    archive.write_labels(folder, pa.concat_tables(labels))
    info = vars(archive.read_info(folder))
    targets = {**info["targets"], "grade": {"a": 8, "b": 8, "c": 8}, "only": {"x": 24},
               "side": {"L": 12, "R": 12}, "zone": {"1": 12, "2": 12}}  # fmt: skip
    archive.write_info(folder, archive.ArchiveInfo(**{**info, "targets": targets}))
    return folder


def test_several_targets_are_probed_under_their_own_names(several_targets, monkeypatch, method):
    chosen = settings(several_targets)
    assert monitors.choose(chosen, parts_of(chosen)).probes == ()  # five patients held out
    monkeypatch.setattr(knn, "LEAST_PATIENTS", 1)
    probes, notes = knn.probes(several_targets, parts_of(chosen), chosen.seed)
    assert [probe.name for probe in probes] == [
        "knn_auroc.finding", "knn_auroc.grade", "knn_auroc.side",
    ]  # fmt: skip
    assert [note.partition(":")[0] for note in notes] == [
        f"kNN probe of {name}" for name in ("finding", "grade", "side")
    ]
    held = set(parts_of(chosen).validation["image_id"].to_pylist())
    for probe in probes:
        assert set(probe.query) <= held
        assert not set(probe.bank) & held
    made, _ = monitors_of(chosen)
    assert {probe.name for probe in probes} < set(made.measure(method))


def test_classes_with_few_patients_are_left_out_and_said(several_targets, monkeypatch):
    chosen = settings(several_targets)
    monkeypatch.setattr(knn, "LEAST_PATIENTS", 2)
    probes, notes = knn.probes(several_targets, parts_of(chosen), chosen.seed)
    grade = next(probe for probe in probes if probe.name == "knn_auroc.grade")
    assert len(grade.scored) == 2
    (note,) = (note for note in notes if "of grade" in note)
    assert f"AUROC of {', '.join(grade.scored)} on" in note
