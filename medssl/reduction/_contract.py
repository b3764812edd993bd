"""What a strategy file provides: two constants, `Config`, `describe`, `similarity` and `rank`."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class StrategyModule(Protocol):
    """The file `reduction/<name>.py`: how alike two images are, from 0 to 1."""

    Config: type[Any]  # a frozen dataclass of options
    THRESHOLD: float  # similarity from which one image stands for another, unless the user says
    NEEDS_PIXELS: bool  # False: images are empty, and each scope is described on its own

    def describe(
        self,
        images: Iterable[NDArray[np.uint8]],
        ids: Sequence[str],
        config: Any,  # noqa: ANN401
    ) -> NDArray[Any]:
        """Return one descriptor per image, shape (N, F).

        Args:
            images: 8-bit images (H, W), read as they are asked for, in the order of ``ids``.
            ids: Image ids, in archive order.
            config: The strategy's options.
        """
        ...

    def similarity(
        self,
        a: NDArray[Any],
        b: NDArray[Any],
        config: Any,  # noqa: ANN401
    ) -> NDArray[np.float64]:
        """Return the similarities (n, m) of descriptors (n, F) and (m, F); symmetric, 0 to 1."""
        ...

    def rank(self, descriptors: NDArray[Any], config: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Return a number per image; lower comes first and is kept rather. Equal: archive order."""
        ...
