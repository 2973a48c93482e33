"""A feature table made by a Dask cluster: each worker takes some coins, and what looks across coins is computed here.

Dask is an extra (`pip install 'cryptocast[dask]'`) and loaded only when it is asked for. The cluster's own transport
pickles what travels between its processes; nothing of it is ever stored. Who can reach a scheduler can run code on it:
keep it on a network that you trust.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from cryptocast.addresses import shown_address
from cryptocast.data.schema import CANDLE_SCHEMA
from cryptocast.errors import ModelError, UpstreamError
from cryptocast.features.builder import add_features, select_features
from cryptocast.features.catalogue import Feature
from cryptocast.features.market import BITCOIN
from cryptocast.features.own import FeatureSet, catalogue_set, with_own
from cryptocast.workflows.coin_pool import CoinPool, candles_of, missing_needs
from cryptocast.workflows.context import Progress
from cryptocast.workflows.engines import Engine, dask_client

WORKERS_S: Final = 10.0
KEYS: Final = ["coin", "close_time"]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What a worker needs: the candles of its coins and of bitcoin, which features, and the file of the user's own.

    digest: of the feature set here. A worker with other formulas refuses.
    """

    candles: pl.DataFrame
    coins: tuple[str, ...]
    names: tuple[str, ...]
    bar_us: int
    without: frozenset[str]
    digest: str
    origin: str
    text: str
    series: Mapping[str, str]


def spread_table(
    engine: Engine, pool: CoinPool, features: FeatureSet, *, tail: int | None = None, progress: Progress
) -> pl.DataFrame:
    """The same table as `feature_table` makes, to the last bit, with the coins spread over the cluster.

    engine: of kind dask; its jobs are the parts that the coins are dealt into, 0 as many as the cluster has threads.
    Raises UsageError if Dask is not installed, UpstreamError if the cluster cannot be reached or has no worker,
    ModelError if a worker computes other features.
    """
    candles = candles_of(pool, tail=tail, features=features.features)
    across = [feature for feature in features.features if feature.scope == "moment"]
    with dask_client(engine.address or "") as client:
        threads = _threads(client, engine)
        count = engine.jobs or threads
        parts = list(_parts(pool, features, candles, count))
        progress.begin("features on the cluster", len(parts) + 1)
        futures = [client.submit(compute_part, client.scatter(part), pure=False) for part in parts]
        # What compares the coins of a moment needs them all, and is little work beside the rest: done here meanwhile.
        here = add_features(candles.lazy(), across, bar_us=pool.bar_us, without=missing_needs(pool)).collect()
        progress.step("across coins")
        tables = []
        for part, future in zip(parts, futures, strict=True):
            tables.append(future.result())
            progress.step(", ".join(part.coins[:3]))
        progress.end()
    whole = here.join(pl.concat(tables), on=KEYS, how="left", maintain_order="left")
    inputs = candles.select(*KEYS, *features.series)
    whole = whole.drop(features.series, strict=False).join(inputs, on=KEYS, how="left", maintain_order="left")
    return whole.select(*CANDLE_SCHEMA, *features.series, *features.names)


def _threads(client: Any, engine: Engine) -> int:
    try:
        client.wait_for_workers(1, timeout=WORKERS_S)
    except TimeoutError as error:
        address = shown_address(engine.address or "")
        raise UpstreamError(f"The scheduler at {address} has no worker. Start some: dask worker {address}") from error
    return sum(client.nthreads().values())


def _parts(pool: CoinPool, features: FeatureSet, candles: pl.DataFrame, count: int) -> Iterator[Part]:
    names = tuple(feature.name for feature in features.features if feature.scope != "moment")
    count = max(1, min(count, len(pool.coins)))
    for place in range(count):
        coins = pool.coins[place::count]
        # Features of the market read bitcoin's closes beside every coin.
        inputs = [coin for coin in dict.fromkeys((*coins, BITCOIN)) if coin in pool.coins]
        yield Part(
            candles=candles.filter(pl.col("coin").is_in(inputs)),
            coins=coins,
            names=names,
            bar_us=pool.bar_us,
            without=missing_needs(pool),
            digest=features.digest,
            origin=features.origin,
            text=features.text,
            series=features.series,
        )


def compute_part(part: Part) -> pl.DataFrame:
    """On a worker: coin, close_time and the features of the part's coins."""
    features = with_own(part.text, part.origin, part.series) if part.text else catalogue_set()
    if features.digest != part.digest:
        raise ModelError("A worker of the cluster computes other features. Install the same cryptocast on all of them.")
    columns: Sequence[Feature] = select_features(part.names, features.features)
    table = add_features(part.candles.lazy(), columns, bar_us=part.bar_us, without=part.without).collect()
    return table.filter(pl.col("coin").is_in(list(part.coins))).select([*KEYS, *part.names])
