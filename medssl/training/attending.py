"""Which slices a model with attention looks at."""

import numpy as np
import pyarrow as pa
import torch

from medssl.artifacts.attention import ATTENTION
from medssl.data.bags import BagStore
from medssl.data.cohort import Cohort
from medssl.data.inputs import Input
from medssl.models.pooling import Attention
from medssl.models.site_model import SiteModel
from medssl.training.runtime import Runtime


def weights(runtime: Runtime, model: SiteModel, part: Cohort, given: Input) -> pa.Table:
    """Return `image_id` and `weight` of the slices shown of each series, series after series.

    Args:
        runtime: Where it runs.
        model: One that pools by attention.
        part: Series.
        given: How their slices are read.
    """
    store, pooling = given.open(part.archive, part.table), model.pooling
    assert isinstance(store, BagStore)
    assert isinstance(pooling, Attention)
    model.eval()
    found = []
    with torch.inference_mode(), runtime.autocast():
        for images, slices in given.plain(part.archive, part.table, runtime.device):
            found.append(pooling.weights(model.rows(images, slices["mask"]), **slices).cpu())
    rows, counts = store.chosen(np.arange(len(store)))
    columns = [store.image_ids[rows[counts]], torch.cat(found).double().numpy()[counts]]
    return pa.table(columns, schema=ATTENTION)
