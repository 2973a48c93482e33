"""Sending data to a cluster that loses a worker at this very moment."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cryptocast.errors import UpstreamError
from cryptocast.workflows import engines

distributed: Any = pytest.importorskip("distributed", reason="needs the extra cryptocast[dask]")


class HangingClient(distributed.Client):  # type: ignore[misc]
    """A client whose first sendings never end, or fail, as those to a worker that was lost do."""

    hangs = 0
    fails = 0

    def scatter(self, *args: Any, **kwargs: Any) -> Any:
        if self.fails > 0:
            self.fails -= 1
            raise OSError("Stream is closed")
        if self.hangs > 0:
            self.hangs -= 1
            threading.Event().wait(30.0)
        return super().scatter(*args, **kwargs)


@pytest.fixture
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        HangingClient(cluster.scheduler_address, set_as_default=False) as found,
    ):
        yield found


def test_what_does_not_arrive_is_sent_again(client: HangingClient) -> None:
    client.hangs = 1
    backend = engines._on_cluster(client, np.arange(1000.0), 8000.0, patience_s=2.0)
    assert backend.client is client
    assert client.hangs == 0


def test_what_fails_on_its_way_is_sent_again(client: HangingClient) -> None:
    client.fails = 2
    assert engines._on_cluster(client, np.arange(1000.0), 8000.0, patience_s=20.0).client is client
    assert client.fails == 0


def test_a_cluster_that_never_takes_the_data_is_given_up_with_a_sentence(client: HangingClient) -> None:
    client.hangs = 3
    with pytest.raises(UpstreamError, match="did not take the data in 3 tries"):
        engines._on_cluster(client, np.arange(10.0), 80.0, patience_s=1.0)
