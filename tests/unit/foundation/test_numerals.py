"""Numbers as people write them."""

import pytest

from medssl.foundation import numerals


@pytest.mark.parametrize(
    ("text", "is_number"),
    [("1", True), (" -1.5e-3 ", True), ("1e308", True), ("1e309", False), ("-inf", False),
     ("nan", False), ("", False), ("0,5", False), ("1 000", False), ("one", False)],
)  # fmt: skip
def test_a_number_is_neither_infinite_nor_a_word(text, is_number):
    assert numerals.is_finite(text) is is_number
