"""The one place where anything a decoder does wrong becomes a code.

Exceptions and warnings of the decoding libraries quote element values, so none is passed on: not
as a message, not as a cause, not as a log line.
"""

import errno
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pydicom.config

from medssl.foundation.errors import Interrupted
from medssl.ingestion.codes import Code, RejectedFile

T = TypeVar("T")
_UNREADABLE = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENXIO})  # the disk's fault


def attempt(call: Callable[[], T], otherwise: Code) -> T | Code:
    """Return what ``call`` returns, the code it rejects the file with, or ``otherwise``.

    Only an interrupt and the end of the program pass through.
    """
    with _quiet():
        try:
            return call()
        except RejectedFile as rejection:
            return rejection.code
        except (KeyboardInterrupt, SystemExit, Interrupted):
            raise
        except MemoryError:
            return Code.OUT_OF_MEMORY
        except OSError as error:
            return _code(error) or otherwise
        except BaseException:  # noqa: BLE001 - decoders raise anything, some not even an Exception
            return otherwise


def _code(error: OSError) -> Code | None:
    """Return what the system says of a file, as against a decoder that calls it damaged."""
    if isinstance(error, FileNotFoundError):
        return Code.VANISHED
    is_unreadable = isinstance(error, PermissionError) or error.errno in _UNREADABLE
    return Code.UNREADABLE if is_unreadable else None


@contextmanager
def _quiet() -> Iterator[None]:
    validation = pydicom.config.settings.reading_validation_mode
    disabled = logging.root.manager.disable
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        pydicom.config.settings.reading_validation_mode = validation
