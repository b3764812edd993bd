"""The maps of a report: each of the model that had not seen its image, with what it depends on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medssl.artifacts import fold_models
from medssl.evaluation import saliency as numbers
from medssl.evaluation.judged import Judged
from medssl.evaluation.metrics import Floats
from medssl.evaluation.saliency import Alike, Check, Chosen, Frame, Map, Picture, Saliency
from medssl.foundation import seeding
from medssl.foundation.errors import ArtifactError, DataError, UsageError
from medssl.foundation.reporting import Reporter
from medssl.models.site_model import HEAD, SiteModel
from medssl.training import ensemble, labelled, runtime
from medssl.training.ensemble import Ensemble
from medssl.training.saliency import Evidence, Explainer, last_layer, randomised

ALL, OTHERS, IMAGES = "all weights random", "other trainings", "two different images"
MOST_OTHERS = 4  # other trainings of an image
Place = tuple[int, int]  # repeat and fold of a model


@dataclass(frozen=True, kw_only=True)
class Input:
    """One image as a model is given it, or a series."""

    images: Tensor  # (1, C, *spatial), or pooled slices as channels
    slices: dict[str, Tensor]

    def planes(self, channels: int) -> Floats:
        """Return it as grey slices (S, rows, columns); a single image is one."""
        values = self.images[0].cpu().double().numpy()
        if values.ndim == len("CDHW"):
            values = np.moveaxis(values, 0, 1)
        else:
            values = values.reshape(-1, channels, *values.shape[1:])
        return np.asarray(values.mean(axis=1) if channels == len("RGB") else values[:, 0])


@dataclass(frozen=True, kw_only=True)
class Work:
    """A run, the images chosen of it, and where its models run."""

    judged: Judged
    models: Ensemble
    folders: Mapping[Place, Path]
    chosen: Sequence[Chosen]
    given: Mapping[str, Input]  # by image id
    device: torch.device
    layer: str
    explain: Explainer

    def load(self, place: Place) -> SiteModel:
        """Return the model of a fold."""
        return self.models.load(self.folders[place]).to(self.device)

    def fresh(self, place: Place, draw: int) -> SiteModel:
        """Return the same network with weights that were never trained."""
        seed = self.judged.settings.seed
        return drawn(self.models, seeding.derive(seed, "random weights", *place, draw)).to(
            self.device
        )

    def seen(self, model: SiteModel, rows: Iterable[int]) -> dict[int, Evidence]:
        """Return what a model sees in some of the images, for the columns they were chosen in."""
        explain, found = self.explain.take(model), {}
        for n in rows:
            one = self.chosen[n]
            task, columns = self.models.info.task, self.judged.units.columns
            given = self.given[one.image_id]
            output = numbers.output_of(task, columns, one.column)
            found[n] = explain(given.images, output, **given.slices)
        return found


def find(judged: Judged, reporter: Reporter, *, device: str = "auto") -> Saliency:
    """Return the maps that the settings ask for; where there can be none, why.

    Args:
        judged: Predictions of a finetune run.
        reporter: Shown the progress.
        device: Of the models.
    """
    most, reason = judged.settings.thumbnails, numbers.why_none(judged)
    if not reason and judged.source.external is not None:
        reason = "every model judged these images, and none is theirs alone"
    if not reason and judged.source.archive is None:
        reason = judged.source.no_archive
    try:
        if not reason:
            return _found(_prepare(judged, device), reporter)
    except (ArtifactError, DataError, UsageError) as error:
        reason = error.problem
    return Saliency(reason=reason, most=most)


def drawn(models: Ensemble, seed: int) -> SiteModel:
    """Return a network with random weights; torch's own state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.build().eval()


def _prepare(judged: Judged, device: str) -> Work:
    """Return what is needed of run and archive.

    Raises:
        ArtifactError: The models are not there, or the archive lacks an image.
        DataError: The archive has other labels now.
        UsageError: The encoder has no maps, or the maps have one cell.
    """
    assert judged.source.run is not None  # the settings refuse a table
    if not (judged.source.run / "folds").is_dir():
        raise ArtifactError(
            "the models of the run are not there",
            where=str(judged.source.run / "folds"),
            fix="restore the folder, or leave out --thumbnails",
        )
    models = ensemble.open_run(judged.source.run)
    where = runtime.start(device, "32").device
    first = drawn(models, 0).to(where)
    layer = last_layer(first)
    chosen = numbers.choose(judged, judged.settings.thumbnails)
    work = Work(
        judged=judged,
        models=models,
        folders={(one.repeat, one.fold): folder for folder in models.folds
                 for one in [fold_models.read(folder)]},
        chosen=chosen,
        given=_read(judged.source.run, models, chosen, where),
        device=where,
        layer=layer,
        explain=Explainer(first, layer),
    )  # fmt: skip
    _require_cells(work, first)
    return work


def _read(
    run: Path, models: Ensemble, chosen: Sequence[Chosen], device: torch.device
) -> dict[str, Input]:
    """Return every image that was chosen, as a model is given it."""
    cohort = labelled.of_run(run)
    place = {name: n for n, name in enumerate(cohort.table["image_id"].to_pylist())}
    names = list(dict.fromkeys(one.image_id for one in chosen))
    if not set(names) <= set(place):
        raise ArtifactError(
            "the archive has no label any more of an image that was predicted",
            where=str(run),
            fix="give the archive the labels it had, or leave out --thumbnails",
        )
    table = cohort.table.take([place[name] for name in names])
    rows = (
        Input(images=images[n : n + 1], slices={k: v[n : n + 1] for k, v in slices.items()})
        for images, slices in models.input.plain(cohort.archive, table, device)
        for n in range(len(images))
    )
    return dict(zip(names, rows, strict=True))


def _require_cells(work: Work, model: SiteModel) -> None:
    grid = _frame(work, work.seen(model, [0])[0]).grid
    if all(side == 1 for side in grid[-2:]):
        raise UsageError(
            f"an input of {_by(work.models.info.shape)} px has one cell in the last layer of the "
            "encoder: a larger --image-size in `medssl finetune` gives more",
            where="thumbnails",
            fix="train with a larger --image-size, or leave it out",
        )


def _by(sides: Sequence[int]) -> str:
    return " × ".join(map(str, sides))


def _found(work: Work, reporter: Reporter) -> Saliency:
    """Return the maps with their checks."""
    seen: dict[int, Evidence] = {}
    random: dict[str, dict[int, Alike | None]] = {}
    own = _by_place((n, (one.repeat, one.fold)) for n, one in enumerate(work.chosen))
    for place in reporter.track(sorted(own), task="maps", unit="models"):
        model = work.load(place)
        maps = work.seen(model, own[place])
        seen |= maps
        for name, found in _against_random(work, place, model, maps).items():
            random.setdefault(name, {}).update(found)
    other = _of_others(work, seen, reporter)
    return _assembled(work, seen, random, other)


def _against_random(
    work: Work, place: Place, model: SiteModel, seen: Mapping[int, Evidence]
) -> dict[str, dict[int, Alike | None]]:
    """Return, from the head down, how alike maps are to those of a model with random weights."""
    groups = list(model.groups())
    last = groups[1]
    cascade = {f"{HEAD} random": [HEAD], f"{HEAD} and {last} random": [HEAD, last], ALL: groups}
    found: dict[str, dict[int, list[Alike | None]]]
    found = {name: {n: [] for n in seen} for name in cascade}
    there = [n for n, trained in seen.items() if has_pattern(trained)]
    for draw in range(numbers.DRAWS):
        fresh = work.fresh(place, draw)
        for name, chosen in cascade.items():
            for n, map_ in work.seen(randomised(model, fresh, chosen), there).items():
                found[name][n].append(_alike(seen[n], map_))
    return {
        name: {n: numbers.middle(several) for n, several in rows.items()}
        for name, rows in found.items()
    }


def _of_others(
    work: Work, seen: Mapping[int, Evidence], reporter: Reporter
) -> dict[int, Alike | None]:
    """Return how alike the maps of other trainings are that had not learned from the image."""
    asked = _by_place(
        (n, place)
        for n, one in enumerate(work.chosen)
        for place in one.others[:MOST_OTHERS]
        if has_pattern(seen[n])
    )
    found: dict[int, list[Alike | None]] = {n: [] for n in seen}
    for place in reporter.track(sorted(asked), task="maps of other trainings", unit="models"):
        for n, map_ in work.seen(work.load(place), asked[place]).items():
            found[n].append(_alike(seen[n], map_))
    return {n: numbers.middle(row) for n, row in found.items()}


def _by_place(pairs: Iterable[tuple[int, Place]]) -> dict[Place, list[int]]:
    """Return the numbers of images by the model that is asked about them."""
    found: dict[Place, list[int]] = {}
    for n, place in pairs:
        found.setdefault(place, []).append(n)
    return found


def has_pattern(found: Evidence) -> bool:
    """Say whether the cells of a map differ: a blank one can be compared with nothing."""
    return bool(np.ptp(found.cells) > 0)


def _of_pairs(work: Work, seen: Mapping[int, Evidence]) -> list[Alike | None]:
    """Return how alike the maps of two images are, of the same model and for the same column."""
    return [
        _alike(seen[a], seen[b])
        for a, b in combinations([n for n, found in seen.items() if has_pattern(found)], 2)
        for one, other in [(work.chosen[a], work.chosen[b])]
        if (one.column, one.repeat, one.fold) == (other.column, other.repeat, other.fold)
        and one.image_id != other.image_id
    ]


def _alike(one: Evidence, other: Evidence) -> Alike | None:
    return numbers.alike(one.smooth, other.smooth, one.cells, other.cells)


def _assembled(
    work: Work,
    seen: Mapping[int, Evidence],
    random: Mapping[str, Mapping[int, Alike | None]],
    other: Mapping[int, Alike | None],
) -> Saliency:
    several = any(one.others for one in work.chosen)
    checks = [numbers.check(name, list(found.values())) for name, found in random.items()]
    of_others = numbers.check(OTHERS, list(other.values()))
    pairs = numbers.check(IMAGES, _of_pairs(work, seen))
    frame = _frame(work, seen[0])
    verdict, said = numbers.judge(checks[-1], frame.grid)
    drawn_maps = [
        _drawn(work, n, seen[n], random[ALL][n], other[n]) for n in range(len(work.chosen))
    ]
    shown: list[Check] = [*checks, *([of_others] if several else []), *([pairs] if pairs.n else [])]
    task = work.models.info.task
    return Saliency(
        reason="",
        most=work.judged.settings.thumbnails,
        frame=frame,
        shows={name: numbers.shown_for(task, name) for name in work.judged.units.columns},
        kinds=numbers.kinds_of(work.judged),
        maps=tuple(one for one, _ in drawn_maps),
        pictures=tuple(picture for _, picture in drawn_maps),
        checks=tuple(shown),
        verdict=verdict,
        said=said,
        repeatability=numbers.repeatable(of_others, several=several),
    )


def _frame(work: Work, evidence: Evidence) -> Frame:
    """Return what all maps share."""
    info = work.models.info
    grid = evidence.cells.shape[-len(info.shape) :]  # those of pooled slices are side by side
    volume = info.spatial_dims == len("DHW")
    slices = info.slices if info.pooling != "none" else info.shape[0] if volume else None
    return Frame(layer=work.layer.rpartition(".")[2], input=info.shape, grid=grid, slices=slices)


def _drawn(
    work: Work, number: int, evidence: Evidence, random: Alike | None, other: Alike | None
) -> tuple[Map, Picture]:
    """Return one map, of a series the slice where it is highest, in the middle if it is blank."""
    chosen = work.chosen[number]
    planes = work.given[chosen.image_id].planes(work.models.info.in_channels)
    layers = evidence.cells.reshape(-1, *evidence.cells.shape[-2:])
    blank = not evidence.cells.any()
    layer = len(layers) // 2 if blank else int(layers.max(axis=(1, 2)).argmax())
    plane = int((layer + 0.5) * len(planes) / len(layers))
    shown = Map(
        chosen=chosen,
        low=float(evidence.cells.min()),
        high=float(evidence.cells.max()),
        blank=blank,
        slice=plane + 1 if len(planes) > 1 else None,
        random=random,
        other=other,
    )
    return shown, Picture(image=planes[plane], cells=layers[layer])
