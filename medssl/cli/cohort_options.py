"""Options of the commands that train or split a cohort: `finetune`, `tune` and `splits`."""

from pathlib import Path
from typing import Annotated

import typer

from medssl.cli import options

InitFrom = Annotated[
    str | None, typer.Option(help="Pretrain run, weight file, or none for random weights.")
]
Target = Annotated[
    list[str] | None,
    typer.Option(help="Label column; default auto: the only one. Repeat it for several at once."),
]
Task = Annotated[
    str | None,
    typer.Option(help="binary, multi_class, multi_label, ordinal or regression; default auto."),
]
Positive = Annotated[str | None, typer.Option(help="Positive class of two.")]
Folds = Annotated[int | None, typer.Option(min=2, help="Folds of patients; default 5.")]
Repeats = Annotated[int | None, typer.Option(min=1, help="How often to split anew; default 1.")]
Split = Annotated[
    str | None,
    typer.Option(
        help="Who is tested: folds, site (each once), hold_out, time or file; default folds."
    ),
]
HoldOut = Annotated[
    list[str] | None,
    typer.Option(help="Site that is tested and never trained on; may be repeated."),
]
Inner = Annotated[
    str | None,
    typer.Option(help="Share of the training patients set apart to choose on; default auto."),
]
Group = Annotated[
    str | None,
    typer.Option(help="patient, or none: every series is its own patient; default patient."),
]
Aliases = Annotated[
    Path | None,
    typer.Option(help="Reduce run or probable_alias.csv: count ids of one patient as one."),
]
Preset = Annotated[str | None, typer.Option(help=options.presets("finetune"))]
ImageSize = Annotated[int | None, typer.Option(min=16, help="Side of the input, px; default auto.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Folds side by side; default: one per core or GPU.")
]
