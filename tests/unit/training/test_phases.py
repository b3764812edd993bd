"""The preset of arXiv:2507.12269 as a table, and learning rates as they will really be."""

import numpy as np
import pytest

from medssl import freezing
from medssl.config.finetune import FinetuneSettings
from medssl.config.loading import decode, read_preset
from medssl.foundation import plugins
from medssl.foundation.errors import UsageError
from medssl.training import phases

GROUPS = ["head", "layer4", "layer3", "layer2", "layer1", "stem"]
PEAKS = {"head": 1e-3, "layer4": 5e-4, "layer3": 2.5e-4, "layer2": 1e-4, "layer1": 0, "stem": 0}


def planned(groups=GROUPS, **values):
    values = {"epochs": 20, **values}
    settings = FinetuneSettings(archive="archive", init_from="none", **values)
    schedule = plugins.load(freezing, settings.schedule)
    config = decode(schedule.Config, settings.schedule_options, where="schedule_options")
    return phases.plan(settings, schedule, config, groups)


def bpd2025(**values):
    return planned(**{**read_preset("finetune", "bpd2025"), **values})


@pytest.mark.parametrize(("epochs", "released"), [(20, (0, 2, 6, 12)), (30, (0, 3, 9, 18))])
def test_the_preset_releases_each_group_when_the_paper_does(epochs, released):
    probe, schedule = bpd2025(epochs=epochs)
    assert probe.released == (("head",),) * 10
    assert schedule.epochs == epochs
    first = {
        group: next(k for k, names in enumerate(schedule.released) if group in names)
        for group in GROUPS[:4]
    }
    assert tuple(first.values()) == released
    for before, after in zip(schedule.released, schedule.released[1:], strict=False):
        assert set(before) <= set(after)
    assert phases.never_trained((probe, schedule)) == ["layer1", "stem"]


def test_the_preset_has_the_published_rates_decays_and_mixing():
    probe, schedule = bpd2025()
    assert dict(schedule.max_lr) == PEAKS
    assert dict(probe.max_lr) == dict.fromkeys(GROUPS, 0) | {"head": 1e-3}
    assert (schedule.weight_decay["head"], schedule.weight_decay["layer4"]) == (1e-5, 1e-4)
    assert probe.weight_decay["head"] == 1e-4
    assert (probe.lr_schedule, schedule.lr_schedule) == ("constant", "one_cycle")
    assert (probe.cutmix.probability, schedule.cutmix.probability) == (0.0, 0.5)
    assert schedule.cutmix.alpha == 1.0
    assert schedule.decay_all


def test_a_group_released_late_enters_part_way_through_its_cycle():
    """At the first step of epochs 2, 6 and 12 of 20, computed apart from the published code."""
    steps = 130 // 8  # about 130 training images in batches of 8, as in the paper
    rates = phases.learning_rates(bpd2025(probe_epochs=0), steps)
    assert rates["layer4"][2 * steps] == pytest.approx(1.42e-4, rel=0.005)
    assert rates["layer3"][6 * steps] == pytest.approx(2.5e-4, rel=0.002)
    assert rates["layer2"][12 * steps] == pytest.approx(6.0e-5, rel=0.01)
    assert np.isnan(rates["layer2"][: 12 * steps]).all()
    assert np.isnan(rates["stem"]).all()


def test_spans_join_the_epochs_in_which_the_same_groups_train():
    rows = phases.spans(bpd2025(), 10)
    assert [(row["phase"], row["first"], row["last"]) for row in rows] == [
        ("probe", 1, 10),
        ("progressive", 11, 12),
        ("progressive", 13, 16),
        ("progressive", 17, 22),
        ("progressive", 23, 30),
    ]
    assert rows[0]["lr"]["head"] == pytest.approx([1e-3] * 3)
    assert rows[0]["lr"]["layer4"] == [0, 0, 0]
    assert rows[1]["max_lr"] == dict.fromkeys(GROUPS, 0) | {"head": 1e-3}
    assert rows[4]["max_lr"] == PEAKS
    start, highest, end = rows[4]["lr"]["layer2"]
    assert 1e-4 > start == highest > end > 0


def test_without_a_probe_there_is_one_phase_named_after_its_schedule():
    (only,) = planned(schedule="full", epochs=3)
    assert (only.name, only.epochs) == ("full", 3)
    assert only.released == (tuple(GROUPS),) * 3


def test_a_probe_can_come_before_any_schedule():
    probe, full = planned(schedule="full", epochs=3, probe_epochs=2, cutmix={"probability": 1})
    assert (probe.name, full.name) == ("probe", "full")
    assert probe.cutmix.probability == 0


def test_the_head_decays_like_the_rest_unless_told_otherwise():
    (only,) = planned(schedule="full", optim={"weight_decay": 0.3})
    assert set(only.weight_decay.values()) == {0.3}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"lr": [1e-3], "release": [0.1, 0.2]}, "1 learning rates for 2 releases"),
        ({"lr": [1e-3] * 6, "release": [0.1] * 6}, "6 releases for an encoder of 5 layer groups"),
        ({"release": [1.0, 0.2, 0.3]}, "less than 1"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(options, problem):
    with pytest.raises(UsageError, match=problem):
        planned(schedule="progressive", schedule_options=options)


def test_a_small_encoder_may_release_all_of_its_groups():
    names = ["head", "blocks", "stem"]
    options = {"lr": [1e-3, 1e-4], "release": [0.25, 0.5]}
    (only,) = planned(names, schedule="progressive", schedule_options=options, epochs=4)
    assert only.released == (("head",), ("head", "blocks"), tuple(names), tuple(names))
