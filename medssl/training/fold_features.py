"""What the encoder of each fold makes of the whole cohort, as a control asks for it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medssl.artifacts import fold_models
from medssl.data.cohort import Cohort
from medssl.foundation.errors import ArtifactError
from medssl.foundation.reporting import Reporter
from medssl.training import ensemble, predict, runtime


def of_first_repeat(
    run: Path, cohort: Cohort, reporter: Reporter, *, device: str = "auto"
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the number of each fold of the first repeat, and features (N, D) by its own encoder.

    Args:
        run: A finished finetune run.
        cohort: Of that run.
        reporter: Shown the progress.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        ArtifactError: The run lacks its record or a model.
    """
    if not (run / "folds").is_dir():
        raise ArtifactError(
            "the models of the run are not there", where=str(run), fix="restore its folder folds"
        )
    models = ensemble.open_run(run)
    facts = {folder: fold_models.read(folder) for folder in models.folds}
    first = [folder for folder in models.folds if facts[folder].repeat == 0]
    started = runtime.start(device, "32")
    for folder in reporter.track(first, task="features", unit="folds"):
        model = started.setup_module(models.load(folder))
        found = predict.features(started, model, cohort.archive, cohort.table, models.input)
        yield facts[folder].fold, found.cpu().numpy()
