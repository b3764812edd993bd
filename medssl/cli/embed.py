"""`medssl embed`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from medssl.cli import console, options
from medssl.foundation.wording import counted


def embed(  # noqa: PLR0913 - one parameter per option
    archive: options.Archive = None,
    out: options.RunOut = None,
    encoder: Annotated[
        Path | None, typer.Option(help="Run of `medssl pretrain`, or its export folder.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Layer to read: layer1, layer2, layer3 or layer4 of a ResNet; default: the last."
        ),
    ] = None,
    device: options.Device = "auto",
    config: options.ConfigFiles = None,
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Write the features of all images as a Parquet table."""
    from medssl.config.embed import EmbedSettings

    flags = {"archive": archive, "encoder": encoder, "layer": layer}
    settings = options.settings(EmbedSettings, "embed", flags, files=config, sets=sets)
    from medssl.stages import embed as stage  # torch loads here: --help stays fast

    folder = options.run_folder(out, "embed")
    if dry_run:
        planned = stage.plan(settings)
        console.plan("embed", planned, stage.cost(settings, device=device), folder, as_json=as_json)
        return
    result = stage.run(settings, folder, console.RichReporter(), device=device)
    what = "series" if result.spatial_dims == 3 else "image"
    rows = [
        ("rows", f"{counted(result.n_rows, what)} of {counted(result.n_patients, 'patient')}"),
        ("features", f"{result.feature_size} at {result.layer} of {result.encoder}"),
        ("table", result.embeddings),
    ]
    following = ["medssl", "finetune", str(settings.archive), "--init-from", str(settings.encoder)]
    then = shlex.join(following) if result.spatial_dims == 2 else ""
    console.show("embed", result, rows, as_json=as_json, next_command=then)
