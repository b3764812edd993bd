"""Words of the ingest settings that readers know too; imports nothing, as decode workers do."""

from typing import Literal

Colour = Literal["reject", "gray", "keep"]
FourD = Literal["reject", "first", "mean", "split"]
Role = Literal[
    "localizer",
    "reformat",
    "dose_report",
    "screen_capture",
    "secondary_capture",
    "burned_in",
    "other_class",
]  # what an image is for, where it is not a plain image of a patient
