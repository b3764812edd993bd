"""The preset hash6 against the definition of its paper, on real slices."""

import imagehash
import pytest
from PIL import Image

from medssl.artifacts import archive, selection
from medssl.data.shown import ShownImages

RADIUS = 6
SETS = {
    "mri-neighbour-slices": ("--series", "parent"),
    "mri-hippocampus": ("--exclude", "*/masks/*"),
}


def naive(hashes):
    """Keep the first that is left, delete all within the radius of it, and again."""
    left, kept = dict(enumerate(hashes)), []
    while left:
        first = min(left)
        kept.append(first)
        near = [n for n, other in left.items() if other - left[first] <= RADIUS]
        left = {n: other for n, other in left.items() if n not in near}
    return kept


@pytest.mark.parametrize("name", SETS)
def test_it_keeps_what_the_paper_keeps(test_data, run_main, tmp_path, name):
    words = ("ingest", test_data / name, *SETS[name], "-o", tmp_path / "archive")
    assert run_main(*words)[0] == 0
    words = ("reduce", tmp_path / "archive", "--preset", "hash6", "--controls", 0, "--no-aliases")
    assert run_main(*words, "-o", tmp_path / "run")[0] == 0
    table = archive.read_images(tmp_path / "archive")
    shown = ShownImages(tmp_path / "archive", table, (-1000, 1000))
    hashes = [imagehash.dhash(Image.fromarray(shown[n].image)) for n in range(table.num_rows)]
    ids, series = table["image_id"].to_pylist(), table["series_key"].to_pylist()
    wanted = []
    for key in dict.fromkeys(series):
        rows = [row for row, other in enumerate(series) if other == key]
        kept = naive([hashes[row] for row in rows])
        wanted += [ids[rows[place]] for place in kept]
    assert selection.read_kept(tmp_path / "run")["image_id"].to_pylist() == wanted
    assert len(wanted) < table.num_rows
    hash_of = dict(zip(ids, hashes, strict=True))
    for row in selection.read_dropped(tmp_path / "run").to_pylist():
        apart = hash_of[row["image_id"]] - hash_of[row["representative_id"]]
        assert apart == round((1 - row["similarity"]) * 64) <= RADIUS
