"""`medssl export`."""

from pathlib import Path
from typing import Annotated

import typer

from medssl.cli import console, options


def export(  # noqa: PLR0913 - one parameter per option
    encoder: Annotated[
        Path | None,
        typer.Argument(help="Run of `medssl pretrain`, or its export folder.", show_default=False),
    ] = None,
    out: options.RunOut = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="torchvision (names of its tensors), onnx or monai-bundle; default torchvision.",
        ),
    ] = None,
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Write an encoder for other programs."""
    from medssl.config.export import ExportSettings

    flags = {"encoder": encoder, "format": kind}
    settings = options.settings(ExportSettings, "export", flags, files=config, sets=sets)
    from medssl.stages import export as stage  # torch loads here: --help stays fast

    folder = options.run_folder(out, "export")
    if dry_run:
        planned = stage.plan(settings)
        console.show("export", planned, console.fields(planned), as_json=as_json)
        return
    result = stage.run(settings, folder, console.RichReporter())
    rows = [
        ("encoder", result.encoder),
        *(("file", folder / name) for name in result.files),
        ("how to load", result.readme),
    ]
    console.show("export", result, rows, as_json=as_json)
