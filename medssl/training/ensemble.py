"""The models of all folds together: what they say about images none of them has to have seen."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from medssl.artifacts import fold_models, gates, site_models, weights
from medssl.artifacts.fold_models import FoldModel
from medssl.artifacts.site_models import FinetuneInfo
from medssl.config.loading import decode
from medssl.config.training import Intensity
from medssl.data.inputs import Input
from medssl.evaluation import calibrators, gate, priors
from medssl.evaluation.gate import Gaussian
from medssl.foundation import plugins
from medssl.foundation.errors import ArtifactError
from medssl.models import encoders, pooling
from medssl.models.site_model import SiteModel
from medssl.training import predict
from medssl.training.runtime import Runtime

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the models of a run say about some images or series."""

    score: Floats  # (N, columns) mean over the models, calibrated where they are
    spread: Floats  # (N, columns) standard deviation over the models
    distance: Floats | None  # (N,) from the training images, mean over the models; 1 is usual
    rarity: Floats | None  # (N,) share of held-out images as far away; None: the run has no gate
    each: Floats  # (M, N, columns) of every model by itself, calibrated likewise

    @property
    def n_models(self) -> int:
        """How many models spoke."""
        return len(self.each)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the folds of a run say of themselves, without their weights."""

    n_held_out: int | None  # images that a new one is ranked among; None: the run has no gate
    learned: frozenset[str] | None  # patient keys of whom any model learned; None: not recorded
    n_repeats: int  # how often each tested image was held out


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The models of a finetune run, by folder."""

    run: Path
    info: FinetuneInfo
    folds: tuple[Path, ...]

    @property
    def input(self) -> Input:
        """What the models are fed with."""
        info = self.info
        return Input(
            spatial_dims=info.spatial_dims,
            shape=tuple(info.shape),
            intensity=Intensity(**dict(info.intensity)),
            pooling=info.pooling,
            slices=info.slices,
        )

    def say(
        self,
        runtime: Runtime,
        archive: Path,
        table: pa.Table,
        tracked: Iterable[Path] | None = None,
    ) -> Said:
        """Return what the models say about the rows of a table, one model at a time.

        Args:
            runtime: Where they run.
            archive: Archive folder.
            table: Rows of `images.parquet`, or of whole series as `volumes.table` has them.
            tracked: `folds`, wrapped to show progress.
        """
        scores, distances, held_out = [], [], []
        times = self.known().n_repeats
        for folder in tracked or self.folds:
            model = runtime.setup_module(self.load(folder))
            seen = predict.features(runtime, model, archive, table, self.input)
            scores.append(self._corrected(folder, predict.scores(model, seen)))
            limits = gates.read(folder)
            if limits is not None:
                away = _gaussian(limits).distance(seen.cpu().double().numpy())
                distances.append(gate.relative(away, limits["held_out"]))
                held_out.append(gate.relative(limits["held_out"], limits["held_out"]))
        every = np.stack(scores)
        distance = np.mean(distances, axis=0) if distances else None
        return Said(
            score=every.mean(axis=0),
            spread=every.std(axis=0),
            distance=distance,
            rarity=None
            if distance is None
            else gate.far(distance, np.concatenate(held_out), times=times),
            each=every,
        )

    def known(self) -> Known:
        """Return what the folds say of themselves.

        Raises:
            ArtifactError: A record is damaged.
        """
        records = [fold_models.read(folder) for folder in self.folds]
        counts = [n for folder in self.folds if (n := gates.count(folder)) is not None]
        learned = [set(one.learned) for one in records if one.learned is not None]
        n_repeats = len({one.repeat for one in records})
        return Known(
            n_held_out=sum(counts) // n_repeats if counts else None,
            learned=frozenset(set().union(*learned)) if len(learned) == len(records) else None,
            n_repeats=n_repeats,
        )

    def load(self, folder: Path) -> SiteModel:
        """Return the model of one fold.

        Raises:
            ArtifactError: Its weights are missing or do not fit.
        """
        model = self.build()
        path = folder / "model.safetensors"
        tensors = {k: torch.from_numpy(v) for k, v in weights.read_tensors(path).items()}
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            raise ArtifactError(
                "the weights do not fit the model that finetune.json describes",
                where=str(path),
                fix="run `medssl finetune` again: one of the two files was changed",
            ) from error
        return model

    def build(self) -> SiteModel:
        """Return a model as those of the run are, with weights newly drawn from torch's state."""
        info = self.info
        plugin = plugins.load(encoders, info.encoder)
        config = decode(plugin.Config, dict(info.encoder_options), where="encoder_options")
        encoder = plugin.build(info.in_channels, info.spatial_dims, config)
        return SiteModel(
            encoder, info.task, info.dropout, pooling=pooling.build(info.pooling, encoder.dim)
        )

    def _corrected(self, folder: Path, score: Floats) -> Floats:
        known = fold_models.read(folder)
        return corrected(known, score, binary=self.info.task.kind in ("binary", "multi_label"))


def corrected(known: FoldModel, score: Floats, *, binary: bool) -> Floats:
    """Return the scores of a model for the classes as frequent as in its cohort, and calibrated."""
    moved = priors.moved(score, known.prior, known.drawn, binary=binary)
    return calibrators.from_record(known.calibrator).apply(moved) if known.calibrator else moved


def open_run(run: Path) -> Ensemble:
    """Return the models of a finished finetune run.

    Raises:
        ArtifactError: The run lacks its record or a model, or an older medssl made it.
    """
    info = site_models.read(run)
    if site_models.is_first(run):
        raise ArtifactError(
            "the run was made by an older medssl, which kept too little to predict with its models",
            where=str(run),
            fix="train it again in another folder with `medssl finetune`",
        )
    found = (folder for folder in (run / "folds").glob("*") if folder.name.isdigit())
    folds = sorted(found, key=lambda folder: int(folder.name))
    lacking = [
        f"fold {folder.name} lacks its {name}"
        for folder in folds
        for name in ("fold.json", "model.safetensors")
        if not (folder / name).is_file()
    ]
    if lacking or not folds:
        raise ArtifactError(
            lacking[0] if lacking else "the run has no folds",
            where=str(run),
            fix="run `medssl finetune` again in another folder, or restore the file",
        )
    return Ensemble(run=run, info=info, folds=tuple(folds))


def gate_of(train: Floats, held_out: Floats) -> dict[str, Any]:
    """Return the gate of a model: the Gaussian of its training features, and held-out distances."""
    found = gate.fit(train)
    return {
        "mean": found.mean,
        "components": found.components,
        "variances": found.variances,
        "rest": np.array(found.rest),
        "held_out": found.distance(held_out),
    }


def _gaussian(limits: dict[str, Floats]) -> Gaussian:
    return Gaussian(
        mean=limits["mean"],
        components=limits["components"],
        variances=limits["variances"],
        rest=float(limits["rest"]),
    )
