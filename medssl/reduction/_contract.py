"""What a strategy file provides: seven constants, `Config` and seven functions."""

from collections.abc import Iterable
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Needs = Literal["ids", "digests", "positions", "pixels", "features"]


class StrategyModule(Protocol):
    """The file `reduction/<name>.py`: how alike two images are, from 0 to 1.

    The functions know nothing of scopes, thresholds or other strategies; `leader.py` and its
    neighbours decide what is kept.
    """

    Config: type[Any]  # a frozen dataclass of options
    THRESHOLD: float  # similarity from which one image stands for another, unless the user says
    SAME: float | None  # similarity from which images of two patients are probably one image;
    # None: the similarity says nothing about likeness
    OWN_ORDER: bool  # `similarity` means what it says only where images are walked by `rank`
    VECTORS: bool  # descriptors are unit vectors, float32
    PAIR_NS: float  # what comparing two images costs, roughly: decides how, never with what result
    STEP: float  # similarities are multiples of it; 0: of nothing
    ERROR: float  # largest error of `similarity`; where it could decide, `exact` is asked. 0: none

    def needs(self, config: Any) -> Needs:  # noqa: ANN401
        """Return what `describe` is given for each image.

        ``ids``: its id. ``digests``: the SHA-256 of its pixels. ``positions``: its number in its
        scope, in archive order, from 0. ``pixels``: a `Shown`, 8-bit grey values (H, W), windowed,
        black outside the body where that is asked for. ``features``: what the encoder called
        ``config.encoder`` makes of it, float32 (F,).
        """
        ...

    def describe(self, source: Iterable[Any], config: Any) -> NDArray[Any]:  # noqa: ANN401
        """Return one descriptor per item of ``source``, shape (N, F), each from its item alone."""
        ...

    def similarity(
        self,
        a: NDArray[Any],
        b: NDArray[Any],
        config: Any,  # noqa: ANN401
        device: str = "cpu",
    ) -> NDArray[np.floating[Any]]:
        """Return the similarities (n, m) of descriptors (n, F) and (m, F); symmetric, 0 to 1.

        Args:
            a: Descriptors.
            b: Descriptors.
            config: The strategy's options.
            device: Where to compute, if that is worth the way there.
        """
        ...

    def exact(self, a: NDArray[Any], b: NDArray[Any], config: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Return the similarities (n,) of pairs of descriptors (n, F) and (n, F).

        The same pair has the same value in every call, whatever stands beside it.
        """
        ...

    def rank(self, descriptors: NDArray[Any], config: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Return a number per image; lower comes first and is kept rather. Equal: archive order."""
        ...

    def is_blank(self, descriptors: NDArray[Any]) -> NDArray[np.bool_]:
        """Say which images show nothing, shape (N,): alike to each other, but nobody's image."""
        ...

    def pair_bytes(self, descriptors: NDArray[Any]) -> int:
        """Return the bytes `similarity` needs for each pair while it works."""
        ...
