"""Help for short histories: the sample's coins as further series that models learn from, and that nothing else sees."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from cryptocast.data.sources.sample import SAMPLE_COINS
from cryptocast.data.sources.sample.source import SAMPLE
from cryptocast.data.sources.table import SOURCES
from cryptocast.features.matrix import Matrix
from cryptocast.workflows.coin_pool import CoinPool, feature_table, gather, matrix_of
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.feature_sets import FeatureSet


@dataclass(frozen=True, slots=True, eq=False)
class ExtraRows:
    """rows: None where there are none to be had; notes: what to say about it."""

    rows: Matrix | None = None
    notes: tuple[str, ...] = ()


def help_for(context: Context, pool: CoinPool, features: FeatureSet, horizons: Sequence[int]) -> ExtraRows:
    """The rows of what `[train] history` names, as series of their own: sample:bitcoin is never spliced to bitcoin.

    Features are computed among the sample's coins alone. Simulated prices never learn from real ones, and the sample
    has daily bars in US dollars only.
    """
    if SAMPLE.name not in context.config.train.history or not SOURCES[pool.source].kept_in_store:
        return ExtraRows()
    if pool.vs != "usd" or pool.granularity != "daily":
        return ExtraRows(notes=('[train] history = ["sample"] is left out: the sample has daily bars in usd only',))
    request = Selection(SAMPLE_COINS, SAMPLE.name, "usd", "daily").resolved(context.config)
    (other,) = gather(context, request, pool=(), fetch_allowed=False)
    table = feature_table(other, features.features)
    labelled = table.with_columns(pl.concat_str([pl.lit("sample:"), pl.col("coin")]).alias("coin"))
    series = ", ".join(
        f"sample:{coin} ({bars.candles.provenance.rows:,} bars to {bars.candles.provenance.last:%Y-%m-%d}, hash "
        f"{bars.candles.provenance.content_hash[:12]})"
        for coin, bars in other.bars.items()
    )
    return ExtraRows(
        matrix_of(labelled, other, horizons, features.names),
        (f"models also learn from {series}, as series of their own that are neither forecast nor scored",),
    )
