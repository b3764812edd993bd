"""What kind of start a run had, and which runs are compared because of it."""

import pytest

from medssl.evaluation import label_efficiency
from medssl.evaluation.label_efficiency import Arm


@pytest.mark.parametrize(
    ("init", "kind"),
    [
        ({}, label_efficiency.RANDOM),
        ({"weights_sha256": "ab", "layout": "torchvision"}, label_efficiency.FOREIGN),
        ({"method": "vicreg"}, label_efficiency.PRETRAINED),
        ({"method": "vicreg", "selection": {}}, label_efficiency.WHOLE),
        ({"method": "vicreg", "selection": {"by": ["dhash"]}}, label_efficiency.REDUCED),
        ({"method": "vicreg", "selection": {"by": ["random"]}}, label_efficiency.BY_CHANCE),
    ],
)
def test_the_record_of_the_weights_tells_the_kind_of_start(init, kind):
    assert label_efficiency.kind_of(init) == kind


def arm(run, start, patients, kind=label_efficiency.WHOLE, schedule="full"):
    return Arm(run=run, kind=kind, start=start, schedule=schedule, patients=patients)


RANDOM = (arm("r40", "random", 40, label_efficiency.RANDOM),
          arm("r80", "random", 80, label_efficiency.RANDOM))  # fmt: skip


def test_starts_are_compared_with_random_weights_at_each_size():
    own = (arm("main", "own", 80), arm("o40", "own", 40), arm("o20", "own", 20))
    assert label_efficiency.pairs((*own, *RANDOM)) == (("main", "r80"), ("o40", "r40"))


def test_without_random_weights_the_first_start_is_the_reference():
    arms = (arm("main", "own", 80), arm("p", "published", 80, label_efficiency.FOREIGN))
    assert label_efficiency.pairs(arms) == (("p", "main"),)


def test_a_selection_is_compared_with_a_random_one_too():
    arms = (
        *RANDOM,
        arm("reduced", "by dhash", 80, label_efficiency.REDUCED),
        arm("chance", "by chance", 80, label_efficiency.BY_CHANCE),
    )
    assert label_efficiency.pairs(arms) == (
        ("reduced", "r80"), ("chance", "r80"), ("reduced", "chance"),
    )  # fmt: skip


def test_one_start_is_compared_over_sizes():
    assert label_efficiency.pairs(RANDOM) == (("r40", "r80"),)


def test_curves_need_several_sizes_and_each_point_once():
    assert label_efficiency.are_curves(RANDOM)
    assert not label_efficiency.are_curves(RANDOM[:1])
    assert not label_efficiency.are_curves((*RANDOM, arm("again", "random", 40)))
    assert label_efficiency.are_curves((*RANDOM, arm("other", "random", 40, schedule="lp_ft")))
