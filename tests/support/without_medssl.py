"""The network an export names, built by somebody who has MONAI and torch but not medssl."""

import monai.networks.nets
import torch


def built(library):
    """Return the network of the `library` of an `encoder.json`."""
    call, _, lines = library.partition("\n")
    assert call.startswith("monai.networks.nets.")
    names = {"monai": monai, "torch": torch}
    names["network"] = eval(call, names)
    exec(lines, names)
    return names["network"].eval()


def features(network, images):
    """Return what its features are: those of a transformer are the mean over its tokens."""
    found = network(images)
    return found[0].mean(dim=1) if isinstance(found, tuple) else found
