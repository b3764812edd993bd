import pytest

from medssl.foundation.wording import counted


@pytest.mark.parametrize(
    ("n", "thing", "said"),
    [
        (1, "file", "1 file"), (0, "file", "0 files"), (1200, "patient id", "1,200 patient ids"),
        (1, "series", "1 series"), (2, "series", "2 series"), (2, "study", "2 studies"),
        (1, "study", "1 study"), (3, "day", "3 days"), (2, "CT image", "2 CT images"),
    ],
)  # fmt: skip
def test_a_number_stands_with_what_it_counts(n, thing, said):
    assert counted(n, thing) == said
