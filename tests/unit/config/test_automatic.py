"""Every `auto` of the training stages is resolved, with a reason, and nothing else is touched."""

import pytest
from pydantic import ValidationError

from medssl.config import finetune, loading, pretrain
from medssl.foundation.errors import UsageError


def pretraining(**given):
    return pretrain.PretrainSettings(archive="somewhere", **given)


def resolved(settings, n_images, side=256, gpu=False, n_whole=None, **more):
    facts = {"n_patients": n_images, "n_whole": n_whole or n_images, "side": side, "gpu": gpu}
    kinds = {"spark": "convolutional", "mae": "transformer"}
    facts["encoder_kind"] = lambda method: kinds.get(method, "any")
    return pretrain.resolve(settings, pretrain.Facts(n_images=n_images, **facts | more))


def finetuning(**given):
    return finetune.FinetuneSettings(archive="somewhere", init_from="none", **given)


def autos(value):
    found = value if isinstance(value, dict) else {}
    return [k for k, v in found.items() if v == "auto" or autos(v)]


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("n_images", [2, 50, 1000, 200_000])
def test_no_auto_is_left_in_pretraining(n_images, gpu):
    held, because = pretrain.resolve_validation(pretraining(), n_patients=n_images)
    settings, reasons = resolved(held, n_images, gpu=gpu)
    assert autos(settings.model_dump()) == []
    reasons += because
    assert len(reasons) == (10 if settings.batch_size >= 16 else 11)  # and options of the encoder
    assert all("(auto: " in reason for reason in reasons)
    assert 2 <= settings.batch_size <= n_images
    assert settings.image_size == (224 if gpu else 64)


def test_what_the_user_says_stays():
    given = pretraining(epochs=3, batch_size=10, image_size=96, optim={"lr": 0.5})
    settings, reasons = resolved(given, 100)
    assert (settings.epochs, settings.batch_size, settings.image_size) == (3, 10, 96)
    assert settings.optim.lr == 0.5
    assert {reason.split()[0] for reason in reasons} == {
        "method", "encoder", "encoder_options", "precision", "monitor_every", "negatives",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "n_images", "method", "encoder"),
    [
        ({}, 1000, "vicreg", "resnet18"),
        ({"batch_size": 16}, 1000, "spark", "resnet18"),
        ({"batch_size": 16, "image_size": 32}, 1000, "vicreg", "resnet18"),  # too few cells
        ({"encoder": "vit_b"}, 1000, "mae", "vit_b"),
        ({"method": "mae"}, 1000, "mae", "vit_s"),
        ({"method": "byol", "batch_size": 8}, 1000, "byol", "resnet18"),
        ({"spatial_dims": 3}, 1000, "spark", "resnet18"),
    ],
)
def test_method_and_encoder_follow_from_each_other_and_from_the_batch(
    given, n_images, method, encoder
):
    settings, reasons = resolved(pretraining(**given), n_images)
    assert (settings.method, settings.encoder) == (method, encoder)
    said = {reason.split()[0]: reason for reason in reasons}
    assert ("method" in said) == ("method" not in given)
    small = settings.batch_size < 16 and encoder == "resnet18"
    expected = {"patch_size": 8} if encoder.startswith("vit") else {}
    assert settings.encoder_options == ({"norm": "group"} if small else expected)


@pytest.mark.parametrize("method", ["spark", "mae"])
@pytest.mark.parametrize(("side", "expected"), [(20, 64), (48, 64), (100, 64)])
def test_views_of_masking_methods_are_whole_cells(method, side, expected):
    settings, _ = resolved(pretraining(method=method), 1000, side=side)
    assert settings.shape == (expected, expected)


@pytest.mark.parametrize(
    ("share", "method", "shape"),
    [(1.0, "vicreg", (64, 64, 64)), (0.3, "vicreg", (16, 64, 64)), (0.3, "spark", (32, 64, 64)),
     (2.0, "vicreg", (64, 64, 64)), (0.05, "vicreg", (16, 64, 64))],
)  # fmt: skip
def test_a_view_of_a_volume_is_as_deep_as_volumes_are(share, method, shape):
    given = pretraining(spatial_dims=3, method=method)
    settings, reasons = resolved(given, 500, depth_share=share)
    assert settings.shape == shape
    assert any(reason.startswith(f"depth {shape[0]} (auto: ") for reason in reasons)


def test_few_patients_keep_all_their_negatives():
    assert resolved(pretraining(), 500, n_patients=7)[0].negatives == "all"
    assert resolved(pretraining(), 500, n_patients=8)[0].negatives == "other_patients"


@pytest.mark.parametrize(
    ("name", "batch", "lr"),
    [("adamw", 256, 1e-3), ("adamw", 64, 5e-4), ("sgd", 128, 0.015), ("lars", 64, 0.075),
     ("lamb", 32, 2.5e-5)],
)  # fmt: skip
def test_learning_rates_grow_with_the_batch_as_their_authors_say(name, batch, lr):
    settings, reasons = resolved(pretraining(optim={"name": name}, batch_size=batch), 1000)
    assert settings.optim.lr == pytest.approx(lr)
    assert any(f"optim.lr {lr:g} (auto: " in reason for reason in reasons)


@pytest.mark.parametrize(("n_patients", "share"), [(1, 0.0), (39, 0.0), (40, 0.1), (5000, 0.1)])
def test_a_tenth_of_the_patients_is_held_out_where_there_are_enough(n_patients, share):
    settings, (reason,) = pretrain.resolve_validation(pretraining(), n_patients)
    assert settings.validation == share
    assert f"{n_patients} patients" in reason
    given = pretraining(validation=0.3)
    assert pretrain.resolve_validation(given, n_patients) == (given, [])


@pytest.mark.parametrize(
    ("epochs", "every", "points"), [(1, 1, 1), (9, 1, 9), (20, 2, 10), (32, 4, 8), (95, 10, 10)]
)
def test_about_ten_measurements_in_a_run_whatever_its_length(epochs, every, points):
    settings, _ = resolved(pretraining(epochs=epochs), 99, side=64)
    assert settings.monitor_every == every
    assert len([e for e in range(1, epochs + 1) if e % every == 0 or e == epochs]) == points


def test_views_are_never_larger_than_the_stored_images():
    settings, _ = resolved(pretraining(), 1000, side=48, gpu=True)
    assert settings.image_size == 48


def test_finetuning_takes_its_input_from_the_pretrained_encoder():
    source = {
        "encoder": "resnet18",
        "encoder_options": {},
        "image_size": 96,
        "intensity": {"window_hu": [-160.0, 240.0]},
    }
    facts = finetune.Facts(n_train=800, fewest=300, side=256, source=source)
    settings, reasons = finetune.resolve(finetuning(), facts)
    assert settings.image_size == 96
    assert settings.intensity.window_hu == (-160.0, 240.0)
    assert sum("as pretrained" in reason for reason in reasons) == 3


def test_finetuning_from_random_weights_resolves_everything_but_the_target():
    settings, _ = finetune.resolve(finetuning(), finetune.Facts(n_train=20, fewest=5, side=256))
    left = ["loss", "probe", "probe_epochs", "target", "task"]
    assert sorted(autos(settings.model_dump())) == left  # from the labels, or by the schedule
    assert settings.batch_size == 5


@pytest.mark.parametrize(("fewest", "share"), [(24, 0.0), (25, 0.2)])
def test_few_patients_are_not_set_apart(fewest, share):
    facts = finetune.Facts(n_train=100, fewest=fewest, side=64)
    settings, reasons = finetune.resolve(finetuning(), facts)
    assert settings.inner.share == share
    assert any(reason.startswith(f"inner.share {share:g}") for reason in reasons)


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"validation": 0.5},
        {"validation": -0.1},
        {"monitor_every": 0},
        {"image_size": 8},
        {"optim": {"lr": -1.0}},
        {"intensity": {"window_hu": [400, -160]}},
        {"views": {"scale": [0, 0]}},
        {"views": {"scale": [0.9, 0.5]}},
        {"views": {"ratio": [-1, 1]}},
    ],
)
def test_values_that_cannot_train_are_refused_wherever_they_come_from(given):
    with pytest.raises(ValidationError, match=next(iter(given))):
        pretraining(**given)


def test_the_rate_follows_the_images_there_are_not_those_asked_for():
    more, all_of_them = (
        resolved(pretraining(batch_size=n), 48, side=64)[0].optim.lr for n in (500, 48)
    )
    assert more == all_of_them


@pytest.mark.parametrize(
    ("asked", "n", "processes", "expected"),
    [(500, 48, 1, 48), (48, 48, 1, 48), (49, 48, 1, 48), (500, 47, 4, 44), (12, 48, 5, 12)],
)
def test_a_batch_has_no_more_images_than_there_are(asked, n, processes, expected):
    given = pretraining(batch_size=asked, optim={"lr": 0.5})
    settings, reasons = resolved(given, n, side=64, n_processes=processes)
    assert settings.batch_size == expected
    said = [reason for reason in reasons if reason.startswith("batch_size")]
    if asked > n:
        (reason,) = said
        assert reason == (
            f"batch_size {expected} instead of {asked}: there are {n} images to train on; "
            "optim.lr 0.5 is kept"
        )
    else:
        assert said == []


def test_everything_else_follows_from_the_batch_there_is():
    more, all_of_them = (resolved(pretraining(batch_size=n), 48)[0] for n in (5000, 48))
    assert more == all_of_them
    assert pretrain.steps_per_epoch(more, n_images=48, n_whole=48) == 1


def test_with_the_updates_of_all_images_a_batch_is_one_of_all_images():
    given = pretraining(batch_size=5000, budget_mode="updates")
    assert resolved(given, 30, n_whole=1000)[0].batch_size == 1000


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("given", [{}, {"batch_size": 100}, {"epochs": 7}])
def test_a_selection_with_the_updates_of_all_images_has_their_length(given, gpu):
    whole, _ = resolved(pretraining(**given), 1000, gpu=gpu)
    for n in (2, 30, 400, 1000):
        few, _ = resolved(pretraining(budget_mode="updates", **given), n, n_whole=1000, gpu=gpu)
        assert (few.epochs, few.batch_size) == (whole.epochs, whole.batch_size)
        lengths = [
            pretrain.steps_per_epoch(few, n_images=n, n_whole=1000),
            pretrain.steps_per_epoch(whole, n_images=1000, n_whole=1000),
        ]
        assert lengths == [1000 // whole.batch_size] * 2
    assert few.optim == whole.optim


def test_by_epochs_a_selection_decides_for_itself():
    settings, _ = resolved(pretraining(), 100, n_whole=1000)
    assert settings == resolved(pretraining(), 100)[0]
    assert pretrain.steps_per_epoch(settings, n_images=100, n_whole=1000) == 4


def test_values_of_labels_may_be_written_as_numbers():
    """`--set order=[3,2,1,0]` is read as numbers, and labels are text."""
    given = loading.Sources(
        sets=["order=[3,2,1.5,0]", "positive=1"], flags={"archive": "a", "init_from": "none"}
    )
    settings = loading.resolve(finetune.FinetuneSettings, "finetune", given)
    assert (settings.order, settings.positive) == (("3", "2", "1.5", "0"), "1")
    wrong = loading.Sources(sets=["order=[[1]]"], flags={"archive": "a", "init_from": "none"})
    with pytest.raises(UsageError, match=r"order\.0"):
        loading.resolve(finetune.FinetuneSettings, "finetune", wrong)
