"""What may be chosen among what, and what is refused."""

import pytest

from medssl.config import loading
from medssl.config.finetune import FinetuneSettings
from medssl.config.loading import Sources
from medssl.config.settings import to_plain
from medssl.config.tune import (
    DEFAULT,
    TUNABLE,
    Dimension,
    TuneSettings,
    read_space,
    require_tunable,
    shortened,
    with_values,
)
from medssl.foundation.errors import UsageError

NEEDED = {"archive": "archive", "init_from": "none"}
FIXED = {  # every other setting: who is tested, what is asked, what models are fed with and start
    # from, what is done with scores, and where it runs
    "archive", "init_from", "allow_partial", "target", "task", "order", "positive", "spatial_dims",
    "pooling", "slices", "group", "aliases", "encoder", "encoder_options", "split", "folds",
    "repeats", "inner", "fractions", "baselines", "prior_correction", "calibration", "gate",
    "image_size", "depth", "precision", "seed", "seeds", "intensity", "smoke",
}  # fmt: skip


def tune(**changes):
    return TuneSettings(**(NEEDED | changes))


def test_every_setting_of_a_fine_tuning_is_either_tunable_or_the_same_for_all_trials():
    """A new setting has to be put on one side here."""
    tunable = {name for name in TUNABLE if "." not in name}
    assert set(FinetuneSettings.model_fields) == tunable | FIXED
    assert not tunable & FIXED


@pytest.mark.parametrize("setting", sorted(FIXED))
def test_what_decides_folds_labels_or_input_is_not_tuned(setting):
    with pytest.raises(UsageError, match=r"same for all trials"):
        require_tunable(setting)


@pytest.mark.parametrize(
    ("setting", "fix"),
    [
        ("shedule", "did you mean 'schedule'?"),
        ("optim.weight_decai", "did you mean 'optim.weight_decay'?"),
        ("epochs.first", "epochs has nothing below it"),
        ("cutmix", "name one of it, such as cutmix.probability"),
        ("inner.share", "set it once"),
        ("split.by", "set it once"),
    ],
)
def test_a_setting_that_is_none_is_refused_with_what_was_meant(setting, fix):
    with pytest.raises(UsageError) as refusal:
        tune(space={setting: [1, 2]})
    assert fix in refusal.value.fix


@pytest.mark.parametrize(
    ("among", "said"),
    [
        ([], "neither values to choose from nor a range"),
        ({"low": 1}, "a low end below its high end"),
        ({"low": 2, "high": 1}, "a low end below its high end"),
        ({"low": 0.0, "high": 1.0, "log": True}, "orders of magnitude start above 0"),
        (0.1, "neither a list nor a range"),
        ([0.1, 1.5], "less than 1"),
        ({"low": 0.1, "high": 1.5}, "less than 1"),
    ],
)
def test_values_that_cannot_be_are_refused_and_the_setting_is_named(among, said):
    with pytest.raises(UsageError, match="dropout") as refusal:
        tune(space={"dropout": among})
    assert said in str(refusal.value)


def test_a_setting_given_twice_is_refused():
    twice = [{"setting": "dropout", "choices": [0.1]}] * 2
    with pytest.raises(UsageError, match="given twice"):
        tune(space=twice)


def test_a_tuned_run_has_no_others_beside_it():
    for changes in ({"baselines": ("random",)}, {"fractions": (0.5, 1.0)}):
        with pytest.raises(UsageError, match="no others beside it"):
            tune(**changes)
    assert tune(fractions=(0.5,)).fractions == (0.5,)


def test_a_space_is_read_from_a_mapping_nested_or_dotted(tmp_path):
    (tmp_path / "space.yaml").write_text(
        "epochs: {low: 5, high: 30}\noptim:\n  weight_decay: {low: 1e-5, high: 1e-2, log: true}\n"
        "cutmix.probability: [0, 0.5]\nschedule_options.release: [[0.1, 0.3, 0.6], [0, 0, 0]]\n"
    )
    found = {one.setting: one for one in read_space(tmp_path / "space.yaml")}
    assert found["epochs"].ends == (5, 30)
    assert type(found["epochs"].low) is int
    assert found["optim.weight_decay"].ends == (1e-5, 1e-2)
    assert found["optim.weight_decay"].log
    assert found["cutmix.probability"].choices == (0, 0.5)
    assert found["schedule_options.release"].choices == ([0.1, 0.3, 0.6], [0, 0, 0])


def test_the_settings_of_a_run_repeat_it_and_a_given_space_replaces_theirs(tmp_path):
    settings = tune(space={"epochs": [10, 20]})
    again = loading.validate(TuneSettings, to_plain(settings), where="config.yaml")
    assert again == settings
    (tmp_path / "config.yaml").write_text("archive: a\ninit_from: none\nspace: [{setting: "
                                          "dropout, choices: [0.1]}]\n")  # fmt: skip
    other = (Dimension(setting="epochs", choices=(10, 20)),)
    sources = Sources(files=[tmp_path / "config.yaml"], flags={"space": other})
    assert loading.resolve(TuneSettings, "finetune", sources).space == other
    one = Sources(files=[tmp_path / "config.yaml"])
    assert [d.setting for d in loading.resolve(TuneSettings, "finetune", one).space] == ["dropout"]


def test_values_are_put_where_they_belong_and_leave_the_rest_alone():
    settings = tune(optim={"clip": 2.0}, seed=3)
    found = with_values(settings, {"optim.weight_decay": 0.01, "schedule": "lp_ft", "epochs": 7})
    assert (found.optim.weight_decay, found.optim.clip) == (0.01, 2.0)
    assert (found.schedule, found.epochs, found.seed) == ("lp_ft", 7, 3)
    assert settings.optim.weight_decay != 0.01
    assert type(found) is FinetuneSettings
    rest = found.model_copy(
        update={k: getattr(settings, k) for k in ("optim", "schedule", "epochs")}
    )
    assert all(getattr(rest, name) == getattr(settings, name) for name in type(rest).model_fields)


def test_options_go_with_the_plugin_they_belong_to():
    settings = tune(schedule="progressive", schedule_options={"head_lr": 1e-2})
    assert with_values(settings, {"schedule": "full"}).schedule_options == {}
    same = with_values(settings, {"schedule": "progressive"})
    assert same.schedule_options == {"head_lr": 1e-2}
    both = {"schedule": "lp_ft", "schedule_options.head_lr": 0.1}
    assert with_values(settings, both).schedule_options == {"head_lr": 0.1}


def test_a_smoke_run_tries_two_configurations_on_two_inner_folds():
    small = shortened(tune(smoke=True))
    assert (small.trials, small.inner_folds) == (2, 2)
    assert shortened(tune(smoke=True, trials=1)).trials == 1
    whole = tune()
    assert shortened(whole) is whole
    assert (whole.trials, whole.inner_folds, whole.space) == (20, 3, DEFAULT)
