"""Controls of an external test: whether the archive is one that no model learned from."""

from medssl.artifacts.origin import External
from medssl.evaluation.controls.duplicates import MOST
from medssl.evaluation.controls.verdicts import Verdict, not_assessed
from medssl.foundation.wording import counted


def sides(external: External, n_patients: int) -> Verdict:
    """Return whether a model learned from anybody who is judged; unknown is never nobody.

    Args:
        external: What became of the archive.
        n_patients: Who are judged.
    """
    if external.known_patients is None:
        return not_assessed(
            "split",
            "overlap unknown: patients are not recorded, or pseudonyms were made with another key",
        )
    text = f"a model learned from 0 of {counted(n_patients, 'patient')} who are judged"
    if external.known_patients:
        text += f"; {external.known_patients} of the archive were left out, as one had"
    return Verdict(
        name="split",
        light="pass",
        value=0,
        said=text,
        details={"patients": n_patients, "left_out": external.known_patients},
    )


def copies(n_patients: int, exact: int, alike: int) -> Verdict:
    """Return how many judged patients share an image with those a model learned from.

    Args:
        n_patients: Who are judged.
        exact: Those with an image of the same pixels.
        alike: Others, with an image that looks the same.
    """
    n = exact + alike
    text = f"{n} of {counted(n_patients, 'patient')} share an image with those the models learned "
    text += "from"
    if n:
        text += f" ({exact} the same pixels, {alike} one that looks the same)"
    return Verdict(
        name="duplicates",
        light="pass" if not n else "fail" if n > MOST * n_patients else "warn",
        said=text,
        value=n,
        details={"tested_patients": n_patients, "exact": exact, "alike": alike},
    )
