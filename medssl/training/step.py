"""One self-supervised step as one call: views in, losses out."""

from typing import cast

from torch import Tensor, nn

from medssl.methods._contract import Method
from medssl.training import gathering


class Step(nn.Module):
    """A method with everything between its two halves.

    Args:
        method: The method; its encoder is `encoder` here too.
    """

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method

    @property
    def encoder(self) -> nn.Module:
        """What is measured and exported."""
        return cast(nn.Module, self.method.encoder)

    def forward(
        self,
        views: list[Tensor],
        patients: Tensor,
        gradients: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses of all images of a step, wherever they lie.

        Args:
            views: Of the images of this process.
            patients: Their patients, shape (B,), int64.
            gradients: Of the loss with respect to what these images are embedded in. Given, the
                images are a piece of a step whose loss is known: only ``total`` is returned, of no
                use but for its gradient, which is that of the loss.
        """
        method = cast(Method, self.method)
        embedded = method.embed(views)
        if gradients is not None:
            products = [(embedded[name] * value).sum() for name, value in gradients.items()]
            return {"total": sum(products[1:], start=products[0])}
        return self.compare(embedded, patients)

    def embed(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Return what the method embeds the images of this process in."""
        return cast(Method, self.method).embed(views)

    def compare(self, embedded: dict[str, Tensor], patients: Tensor) -> dict[str, Tensor]:
        """Return the losses of the images of all processes."""
        everyone = {name: gathering.gather(rows) for name, rows in embedded.items()}
        return cast(Method, self.method).loss(everyone, gathering.gather(patients))
