"""The committed sample is what its README says, byte for byte, and small."""

from pathlib import Path

from medssl.ingestion import phantoms


def contents(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_the_sample_is_what_the_generator_writes(repository, tmp_path):
    phantoms.generate(tmp_path, n_patients=16, image_size=64, ct_slices=8, rejects=False)
    committed = contents(repository / "sample_data")
    readme = committed.pop("README.md").decode()

    made = contents(tmp_path)
    assert sorted(committed) == sorted(made)
    assert [name for name in made if committed[name] != made[name]] == []
    assert "n_patients=16, image_size=64, ct_slices=8, rejects=False" in readme
    assert "synthetic" in readme


def test_the_sample_stays_small(repository):
    assert sum(len(content) for content in contents(repository / "sample_data").values()) < 400_000
