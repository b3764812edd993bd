"""Compare what a file claims to hold with its size, before memory is taken for it.

A few hundred bytes can claim gigabytes, and a megabyte can really unpack to one. An image that is
all background packs as well as any bomb, so what is small enough to be harmless is never refused.
"""

from medssl.ingestion.codes import Code, RejectedFile

HARMLESS = 2**28  # bytes that a file may unpack to, however small it is
RATIO = 200  # beyond them, how many times its own size; noisy tissue packs 2 to 4 times
DEFLATE_RATIO = 1100  # more than deflate can reach: 1,032


def check(claimed: int, held: int) -> None:
    """Reject what packs too well to be an image.

    Args:
        claimed: Bytes that the content takes unpacked, by its header.
        held: Bytes of the file.

    Raises:
        RejectedFile: It is a bomb, or made to look like one.
    """
    if is_bomb(claimed, held):
        raise RejectedFile(Code.BOMB)


def is_bomb(claimed: int, held: int) -> bool:
    """Tell whether so much content in so small a file is no image."""
    return claimed > HARMLESS and claimed > RATIO * held
