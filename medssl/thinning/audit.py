"""What is written of a selection, image by image."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from medssl.artifacts import selection
from medssl.thinning.metrics import Metric
from medssl.thinning.outcomes import Thinned
from medssl.thinning.pools import Pool


def tables(
    table: pa.Table, chain: Sequence[Metric], pool: Pool, thinned: Thinned
) -> tuple[pa.Table, pa.Table]:
    """Return `kept.parquet` and `dropped.parquet`.

    Args:
        table: Rows of images.parquet.
        chain: The metrics that chose.
        pool: What they chose from.
        thinned: What they chose.
    """
    ids = table["image_id"]
    represents = np.ones(len(ids), dtype=np.int32)  # itself
    np.add.at(represents, thinned.representative, 1)
    names = np.array([metric.name for metric in chain])
    kept = {
        "image_id": ids.take(thinned.kept),
        "represents": represents[thinned.kept],
        "reason": thinned.reasons(pool.protected),
    }
    dropped = {
        "image_id": ids.take(thinned.dropped),
        "representative_id": ids.take(thinned.representative),
        "similarity": thinned.similarity,
        "metric": names[thinned.stage].tolist(),
        "tau": thinned.tau,
        "stage": thinned.stage,
    }
    return pa.table(kept, schema=selection.KEPT), pa.table(dropped, schema=selection.DROPPED)
