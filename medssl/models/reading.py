"""An encoder whose features are read before its end."""

from torch import Tensor, nn

from medssl.foundation import plugins
from medssl.foundation.errors import UsageError


class Reader(nn.Module):
    """An encoder that ends at one of its layers.

    Args:
        encoder: Offers `features_at` (`encoders/_contract.py`).
        layer: One of its `layers`.

    Raises:
        UsageError: It has no such layer, or its layers cannot be read.
    """

    def __init__(self, encoder: nn.Module, layer: str) -> None:
        super().__init__()
        layers = getattr(encoder, "layers", None)
        if not isinstance(layers, dict):
            raise UsageError(
                "this encoder is read at its end only", where="layer", fix="leave out --layer"
            )
        if layer not in layers:
            raise UsageError(
                f"no layer called {layer!r}", where="layer", fix=plugins.suggest(layer, [*layers])
            )
        self.encoder = encoder
        self.layer = layer
        self.dim = layers[layer]

    def forward(self, images: Tensor) -> Tensor:
        """Return the pooled output of the layer, (B, dim), of images (B, C, *spatial)."""
        features: Tensor = self.encoder.features_at(images, self.layer)  # type: ignore[operator]
        return features
