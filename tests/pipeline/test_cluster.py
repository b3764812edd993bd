"""`ingest --scheduler`: a local Dask cluster of two processes gives the same bytes."""

import os
import signal
import time

import pytest

from medssl.config.ingest import IngestSettings
from medssl.foundation.errors import ResourceError
from medssl.ingestion import cluster, phantoms
from medssl.ingestion.codes import Code
from medssl.ingestion.workers import Budget, Lost, Work, Workers
from medssl.stages import ingest

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")  # Dask's own


@pytest.fixture(scope="module")
def scheduler():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as found:
        yield found.scheduler_address


def act(item: int | str, at) -> int:
    """Double a number; other items kill or stop the process, wherever it runs."""
    at(3)
    if item == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "hang":
        time.sleep(1000)
    return 2 * item


def test_an_archive_made_on_a_cluster_is_the_same(scheduler, tmp_path, cli):
    phantoms.generate(tmp_path / "scans", n_patients=6, image_size=32, ct_slices=4)
    settings = IngestSettings(sources=(tmp_path / "scans",), size=24, max_rejects=1)
    here = ingest.run(settings, tmp_path / "here", workers=1)
    there = cli(
        "ingest", tmp_path / "scans", "-o", tmp_path / "there", "--size", 24, "--max-rejects", 1,
        "--scheduler", scheduler,
    )  # fmt: skip
    assert there[0] == 0, there[2]
    for name in ("images.parquet", "labels.parquet", "quarantine.parquet", "archive.json"):
        assert (here.archive / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    shards = sorted((here.archive / "pixels").iterdir())
    assert shards
    for shard in shards:
        assert shard.read_bytes() == (tmp_path / "there" / "pixels" / shard.name).read_bytes()


@pytest.mark.slow  # Dask takes its time to give a worker up
def test_exactly_the_item_is_lost_that_kills_or_stops_its_process(scheduler):
    budget = Budget(seconds=0.5)
    items = [1, 2, "hang", 4, "kill", 6]
    with Workers(1, budget) as local, cluster.connected(scheduler, budget, local) as pool:
        found = list(pool.run(act, items, Work(chunk=2)))
    assert found == [2, 4, Lost(3, Code.TIMED_OUT), 8, Lost(3, Code.WORKER_DIED), 12]


def test_a_scheduler_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(cluster, "REACHED_WITHIN", 0.5)
    with (
        Workers(1) as local,
        pytest.raises(ResourceError, match="the Dask scheduler cannot be reached"),
        cluster.connected("tcp://127.0.0.1:9", Budget(), local),
    ):
        pass
