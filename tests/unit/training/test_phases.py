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


def test_a_group_can_have_a_rate_and_a_decay_of_its_own():
    values = {"group_lr": {"layer1": 3e-3}, "group_weight_decay": {"head": 0.5}}
    (only,) = planned(schedule="full", optim={"head_weight_decay": 0.1, **values})
    assert only.max_lr == {**dict.fromkeys(GROUPS, 2.5e-4), "head": 1e-3, "layer1": 3e-3}
    assert only.weight_decay == {**dict.fromkeys(GROUPS, 1e-4), "head": 0.5}
    rates = phases.learning_rates((only,), 5)
    assert rates["layer1"].max() == pytest.approx(3e-3)


@pytest.mark.parametrize("key", ["group_lr", "group_weight_decay"])
@pytest.mark.parametrize(
    ("group", "problem"),
    [("layer5", "no layer group called 'layer5'"), ("stem", "nothing ever trains in 'stem'")],
)
def test_a_rate_for_nothing_is_refused_with_the_groups_there_are(key, group, problem):
    with pytest.raises(UsageError, match=problem) as error:
        planned(schedule="progressive", optim={key: {group: 1e-3}})
    assert error.value.where == f"optim.{key}"
    assert error.value.fix == "choose from head, layer4, layer3, layer2"


@pytest.mark.parametrize("lr_schedule", ["warmup_cosine", "one_cycle"])
def test_a_cycle_can_begin_when_its_group_is_released(lr_schedule):
    steps, options = 10, {"lr_schedule": lr_schedule, "warmup": 0.1}
    by_run, by_release = (
        phases.learning_rates(
            planned(schedule="progressive", optim={**options, "cycle": cycle}), steps
        )
        for cycle in ("run", "release")
    )
    assert np.array_equal(by_run["head"], by_release["head"])
    for group, first in (("layer4", 2), ("layer3", 6), ("layer2", 12)):
        own = by_release[group][first * steps :]
        peak = PEAKS[group]
        if lr_schedule == "warmup_cosine":
            rise = round(0.1 * len(own))
            assert own[0] == pytest.approx(peak / (rise + 1))
            assert own.argmax() == rise
        else:
            assert own[0] == pytest.approx(peak / 25)
            assert own.argmax() == pytest.approx(0.3 * len(own) - 1, abs=1)
        assert own.max() == pytest.approx(peak, rel=0.01)
        assert np.isnan(by_release[group][: first * steps]).all()
    late = by_run["layer2"][12 * steps :]
    assert late.max() < 0.7 * PEAKS["layer2"]  # in the run's own cycle it never sees its peak


def test_lp_ft_begins_with_a_probe_half_as_long_unless_told_otherwise():
    probe, rest = planned(schedule="lp_ft")
    assert (probe.epochs, rest.epochs) == (10, 20)
    assert (probe.max_lr["head"], set(rest.max_lr.values())) == (1e-2, {1e-4})
    probe, _ = planned(schedule="lp_ft", probe_epochs=3, probe={"lr": 0.5})
    assert (probe.epochs, probe.max_lr["head"]) == (3, 0.5)
    assert len(planned(schedule="lp_ft", probe_epochs=0)) == 1


def test_what_a_probe_was_resolved_to_repeats_it():
    schedule = plugins.load(freezing, "lp_ft")
    given = FinetuneSettings(archive="archive", init_from="none", schedule="lp_ft", epochs=7)
    resolved, why = phases.probe(given, schedule)
    assert (resolved.probe_epochs, resolved.probe.lr) == (4, 1e-2)
    assert [reason.split()[0] for reason in why] == ["probe_epochs", "probe.lr"]
    assert phases.probe(resolved, schedule) == (resolved, ())


def test_discriminative_rates_fall_by_the_same_factor():
    (only,) = planned(schedule="discriminative", schedule_options={"head_lr": 1.0, "decay": 2.0})
    assert list(only.max_lr.values()) == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32]


@pytest.mark.parametrize(("group", "trains"), [("stem", 5), ("layer2", 3), ("layer4", 1)])
def test_freeze_to_freezes_up_to_its_group_and_includes_it(group, trains):
    (only,) = planned(schedule="freeze_to", schedule_options={"group": group})
    assert set(only.released) == {tuple(GROUPS[:trains])}
    assert {name for name, peak in only.max_lr.items() if peak} == set(GROUPS[:trains])


@pytest.mark.parametrize("group", ["layer7", "head"])
def test_freeze_to_a_group_that_is_not_there_names_those_that_are(group):
    with pytest.raises(UsageError, match=f"no layer group called '{group}'") as error:
        planned(schedule="freeze_to", schedule_options={"group": group})
    assert error.value.fix == "choose from stem, layer1, layer2, layer3, layer4"


def test_norms_are_told_from_whole_groups():
    """A stem without a norm, as that of a transformer, trains nothing."""
    settings = FinetuneSettings(archive="archive", init_from="none", schedule="bn_affine", epochs=3)
    schedule = plugins.load(freezing, "bn_affine")
    only = phases.plan(settings, schedule, schedule.Config(), GROUPS, set(GROUPS) - {"stem"})
    assert phases.never_trained(only) == ["stem"]
    assert phases.norms_trained(only) == ["layer4", "layer3", "layer2", "layer1"]
    (row,) = phases.spans(only, 4)
    assert row["norms"] == phases.norms_trained(only)
    assert (row["max_lr"]["head"], row["max_lr"]["layer1"], row["max_lr"]["stem"]) == (
        1e-3,
        1e-3,
        0,
    )
    assert row["lr"]["layer1"][1] > 0
    assert np.isnan(phases.learning_rates(only, 4)["stem"]).all()


def test_rates_that_are_measured_are_marked_as_the_highest_possible():
    (row,) = phases.spans(planned(schedule="surgical"), 4)
    assert row["measured"]
    assert not any(row["measured"] for row in phases.spans(bpd2025(), 4))


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
