"""Settings of `medssl splits audit`; `make` and `import` take those of `medssl finetune`."""

from pathlib import Path

from pydantic import Field

from medssl.config.settings import Settings


class AuditSettings(Settings):
    """Which split is looked at, and against what."""

    split: Path = Field(description="a finetune run, a splits.json, or a CSV table of folds")
    archive: Path | None = None  # whose images and labels it splits; None: that of the run
    target: tuple[str, ...] = ()  # labels that are to be balanced; empty: those of the split, or
    # the only ones there are
    aliases: Path | None = None  # reduce run or probable_alias.csv: ids of one patient
    key_file: Path | None = None  # institution's key, where a table has patient_id; None: default
    near: bool = True  # look for images that look the same, besides those with the same pixels
