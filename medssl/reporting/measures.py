"""What the values in `metrics.jsonl` are called in a figure, what they mean and where to compare.

Longer explanations, with the papers, are in docs/explanation/why-these-methods.md.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """How one value is shown."""

    title: str
    meaning: str  # one line, as wide as a panel at most
    within: tuple[float, ...] = ()  # the axis reaches these at least
    reference: tuple[float, str] | None = None  # where to draw a line, and what it marks


_SHARE = (0.0, 1.0)

# those everyone looks at first come first
MEASURES = {
    "total": Measure("Loss", "what training makes small; compare within a run only"),
    "feature_std": Measure(
        "Spread of the features", "0: all images look alike; 1: as random directions do", (0,)
    ),
    "effective_rank": Measure(
        "Effective rank of the features", "in how many directions images differ", (0,)
    ),
    "knn_auroc": Measure(
        "AUROC of nearest neighbours",
        "labels of held-out patients, read off similar images",
        (0.4, 1),  # from chance on, so that a small change looks small
        (0.5, "chance"),
    ),
    "feature_alignment": Measure(
        "Distance between two views", "of held-out images. 0: equal; 2: unrelated", (0,)
    ),
    "feature_uniformity": Measure(
        "Evenness of the features",
        "lower: more even; −4: as random directions",
        (0, -0.1),
        (0, "all images alike"),
    ),
    "lr": Measure("Learning rate", "how far a step moves the weights", (0,)),
    "projection_std": Measure(
        "Spread of the projections",
        "the same for what the loss sees, behind the projector",
        _SHARE,
        (0, "collapsed"),
    ),
    "agreement": Measure(
        "Agreement of two views", "mean cosine; 1: the same", _SHARE, (0, "unrelated")
    ),
    "top1": Measure("Other view found first", "share of views; by chance 1 / candidates", _SHARE),
    "queue_filled": Measure(
        "Queue in use", "until it is full the task gets harder", _SHARE, (1, "full")
    ),
    "share_of_ln_k": Measure(
        "Loss compared with guessing",
        "as a share of ln K, for K prototypes",
        _SHARE,
        (1, "guessing: nothing is learned"),
    ),
    "prototypes_used": Measure(
        "Prototypes in use", "share that is nearest to some view of a batch", _SHARE, (1, "all")
    ),
    "invariance": Measure("Invariance term", "how far two views differ; before its weight", (0,)),
    "variance": Measure(
        "Variance term",
        "how much variation is missing; before its weight",
        _SHARE,
        (1, "collapsed"),
    ),
    "covariance": Measure(
        "Covariance term", "how much dimensions repeat each other; no weight", (0,)
    ),
    "redundancy": Measure(
        "Redundancy term", "how much dimensions repeat each other; no weight", (0,)
    ),
    "counted": Measure(
        "Hidden patches that count", "as a share; those of even background do not", _SHARE
    ),
}  # fmt: skip


def of(name: str) -> Measure:
    """Return how a value is shown; one that no table knows comes from a method and is named so."""
    unknown = Measure(name.replace("_", " ").capitalize(), "reported by the method")
    return MEASURES.get(name, unknown)
