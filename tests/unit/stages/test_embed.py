"""What an encoder of series finds in an archive."""

from pathlib import Path

import pyarrow as pa
import pytest

from medssl.artifacts import archive
from medssl.foundation.errors import DataError
from medssl.stages import embed

AFFINE = [1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 0]


def rows_of(tiny_archive, keep):
    images = archive.read_images(tiny_archive)
    kept = images.filter([number in keep for number in range(images.num_rows)])
    column = images.schema.get_field_index("affine")
    affine = pa.array([AFFINE] * kept.num_rows, images.schema.field(column).type)
    return kept.set_column(column, "affine", affine)


def test_series_that_are_no_volume_are_left_out_and_counted(tiny_archive):
    """Images 2k and 2k + 1 are the slices of series k."""
    found, notes = embed._series(rows_of(tiny_archive, range(24)), tiny_archive)
    assert (found.num_rows, notes) == (12, ())
    found, notes = embed._series(rows_of(tiny_archive, {0, 1, 2, 4, 5, 6}), tiny_archive)
    assert found["series_key"].to_pylist() == ["series00", "series02"]
    assert notes == ("2 series are embedded; 2 of fewer slices than 2 are left out",)


def test_an_archive_of_single_images_is_refused_with_its_name(tiny_archive):
    with pytest.raises(DataError, match="there are no volumes") as caught:
        embed._series(rows_of(tiny_archive, {0, 2, 4}), Path("radiographs"))
    assert caught.value.where == "radiographs"
    assert "--spatial-dims 2" in caught.value.fix
