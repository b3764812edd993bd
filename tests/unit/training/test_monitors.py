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
from medssl.data.sampling import Shuffled
from medssl.data.store import ImageStore
from medssl.foundation import seeding
from medssl.foundation.errors import TrainingError
from medssl.methods import mocov2, simclr
from medssl.models.encoders import resnet18
from medssl.training import embed, held_out, knn, monitors, runtime, spread
from medssl.training.showing import Views
from medssl.training.step import Step


def settings(folder, **more):
    given = {"epochs": 5, "monitor_every": 2, "image_size": 16, "depth": None, "batch_size": 4,
             "validation": 0.4, "negatives": "other_patients"}  # fmt: skip
    return PretrainSettings(archive=folder, **given | more)


def parts_of(chosen):
    return held_out.split(archive.read_images(chosen.archive), chosen.validation, chosen.seed)


def monitors_of(chosen):
    parts = parts_of(chosen)
    watch = monitors.choose(chosen, parts)
    shows = Views(full=2, local=0)
    return monitors.Monitors(runtime.start("cpu", "32"), chosen, watch, parts, shows), watch


@pytest.fixture
def method():
    torch.manual_seed(0)
    return Step(simclr.Method(resnet18.build(1, 2, resnet18.Config()), simclr.Config()))


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
    where = {"device": device, "intensity": chosen.intensity, "shape": (16, 16)}
    names = table["image_id"].to_pylist()
    rows = np.array([names.index(name) for name in watch.images])
    features = embed.features(twin.encoder, ImageStore(tiny_archive, table.take(rows)), **where)
    assert measured["feature_std"] == pytest.approx(spread.feature_std(features), rel=1e-3)
    assert measured["effective_rank"] == pytest.approx(spread.effective_rank(features), rel=1e-3)

    unseen = ImageStore(tiny_archive, parts_of(chosen).validation)
    seed = seeding.derive(chosen.seed, "validation views")
    sampler = Shuffled(len(unseen), 4, seed)
    views = TrainingBatches(unseen, sampler, **where, views=chosen.views, n_views=2, seed=seed)
    shown = list(views.epoch(0))
    losses = [twin.train()(s.views, s.patients)["total"].item() for s in shown]
    assert len(losses) == 2
    assert measured["val_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_alignment_and_uniformity_are_those_of_the_paper(tiny_archive, method):
    chosen = settings(tiny_archive, validation=0.4)
    made, watch = monitors_of(chosen)
    measured = made.measure(method)

    def unit(features):
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    unseen = ImageStore(tiny_archive, parts_of(chosen).validation)
    seed = seeding.derive(chosen.seed, "validation views")
    where = {"device": torch.device("cpu"), "intensity": chosen.intensity, "shape": (16, 16)}
    sampler = Shuffled(len(unseen), 4, seed)
    views = TrainingBatches(unseen, sampler, **where, views=chosen.views, n_views=2, seed=seed)
    squared = []
    with torch.no_grad():
        for step in views.epoch(0):
            a, b = (unit(method.eval().encoder(view).numpy()) for view in step.views)
            squared += [sum((x - y) ** 2) for x, y in zip(a, b, strict=True)]
    assert measured["feature_alignment"] == pytest.approx(np.mean(squared), rel=1e-4)

    table = archive.read_images(tiny_archive)
    names = table["image_id"].to_pylist()
    rows = np.array([names.index(name) for name in watch.images])
    whole = unit(
        embed.features(method.encoder, ImageStore(tiny_archive, table.take(rows)), **where)
    )
    pairs = [sum((x - y) ** 2) for k, x in enumerate(whole) for y in whole[:k]]
    assert measured["feature_uniformity"] == pytest.approx(
        np.log(np.mean(np.exp(-2 * np.array(pairs)))), rel=1e-3
    )


def test_measuring_again_gives_the_same_and_leaves_the_method_as_it_was(tiny_archive, method):
    made, _ = monitors_of(settings(tiny_archive))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    state = torch.get_rng_state()
    assert made.measure(method) == made.measure(method)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())


def test_there_is_no_loss_to_compare_until_the_queue_is_full(tiny_archive):
    torch.manual_seed(0)
    config = mocov2.Config(queue=8, split_bn=1, projector_hidden=0, projector_dim=8)
    step = Step(mocov2.Method(resnet18.build(1, 2, resnet18.Config()), config))
    made, _ = monitors_of(settings(tiny_archive))
    for filled in (0, 4, 8):
        if filled:
            keys = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
            step.method.queue.put(keys, torch.arange(4))
        assert int(step.method.queue.filled.sum()) == filled
        measured = made.measure(step)
        assert ("val_loss" in measured) == (filled == 8)
        assert {"feature_alignment", "feature_std"} <= set(measured)
    assert measured["val_loss"] > 0.5  # eight keys, none of them of these patients


def test_time_to_measure_grows_with_the_images_and_blank_features_are_refused(tiny_archive, method):
    made, _ = monitors_of(settings(tiny_archive))
    less, _ = monitors_of(settings(tiny_archive, validation=0.0))
    shown = next(iter(made._batches.epoch(0)))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    assert made.seconds(method, shown) > less.seconds(method, shown) > 0
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())
    with torch.no_grad():
        method.encoder.net.conv1.weight.fill_(torch.nan)
    with pytest.raises(TrainingError, match="the features are not finite"):
        made.seconds(method, shown)


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
    chosen = settings(several_targets, seed=1)  # of three grades one has one patient held out
    monkeypatch.setattr(knn, "LEAST_PATIENTS", 2)
    probes, notes = knn.probes(several_targets, parts_of(chosen), chosen.seed)
    grade = next(probe for probe in probes if probe.name == "knn_auroc.grade")
    assert len(grade.scored) == 2
    (note,) = (note for note in notes if "of grade" in note)
    assert f"AUROC of {', '.join(grade.scored)} on" in note
