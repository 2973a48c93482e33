"""The track record of what answers now: its live forecasts from the ledger, and what came of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, cast

import msgspec
import numpy as np

from cryptocast.choices import Granularity
from cryptocast.data.schema import BAR_US
from cryptocast.market import Market
from cryptocast.models.tails import interval_ends
from cryptocast.registry import MaturedRow, Registry, VersionKey
from cryptocast.registry.live import LiveScore, columns_score
from cryptocast.registry.live_rows import LiveRows, live_rows
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.times import Moment
from cryptocast.workflows.context import Context
from cryptocast.workflows.reports import CoinError, CoinForecast, Document, Interval

BASELINE: Final = "baseline"

MIDDLE: Final = len(LEVELS) // 2


class TrackedForecast(Document, frozen=True, kw_only=True):
    """One live forecast of one horizon, and the price that came."""

    horizon: int
    version: int | None
    issued_at: Moment
    target_time: Moment
    price: float
    median: float
    intervals: tuple[Interval, ...]
    outcome: float


class CoinTrack(Document, frozen=True, kw_only=True):
    """The track record of one coin: of the model that answers for it now, and of versions that it refreshes."""

    coin: str
    vs: str
    granularity: str
    source: str
    model_used: str
    version: int | str | None
    versions: tuple[int, ...]
    degraded: tuple[str, ...]
    scores: tuple[LiveScore, ...]
    forecasts: tuple[TrackedForecast, ...]


class TrackDocument(Document, frozen=True, kw_only=True):
    """Track records of several coins."""

    schema: Literal["cryptocast.track/1"] = "cryptocast.track/1"
    tracks: tuple[CoinTrack, ...]
    errors: tuple[CoinError, ...] = ()
    names: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


def track_record(
    context: Context, forecast: CoinForecast, *, levels: Sequence[int], horizons: Sequence[int], last: int
) -> CoinTrack:
    """What the model behind a forecast has said live at these horizons, the newest `last` of each, oldest first.

    Empty where nothing has matured, or there is no registry that can be read: see RegistryError.
    """
    registry = context.registry(create=False)
    market = Market(forecast.source, forecast.vs, cast("Granularity", forecast.granularity))
    key, own, baseline = _matured(registry, forecast, market)
    live = columns_score(own, baseline, context.config.gate, bar_us=BAR_US[market.granularity])
    newest = {horizon: registry.newest_matured(key, own, horizon, last) for horizon in horizons}
    return CoinTrack(
        coin=forecast.coin,
        **msgspec.structs.asdict(market),
        model_used=forecast.model_used,
        version=forecast.version,
        versions=live.versions if forecast.version is not None else (),
        degraded=tuple(map(str, live.degraded)),
        scores=tuple(score for score in live.scores if score.horizon in horizons),
        forecasts=tuple(_past_forecasts(newest, levels)),
    )


def _matured(registry: Registry, forecast: CoinForecast, market: Market) -> tuple[VersionKey, LiveRows, LiveRows]:
    """What the model's lineage forecast and what came of it, of which key, and the same of the baseline."""
    baseline_key = VersionKey(forecast.coin, market, BASELINE)
    baseline = registry.live_columns(baseline_key, 0)
    if forecast.version is None:
        return baseline_key, baseline, baseline
    key, number = VersionKey(forecast.coin, market, forecast.model_used), forecast.version
    if isinstance(number, str):  # the shipped model, which is a version once something of the coin was recorded
        shipped = registry.alias(key, number)
        if shipped is None:
            return key, live_rows(()), baseline
        number = shipped.number
    return key, registry.live_columns(key, number), baseline


def _past_forecasts(by_horizon: Mapping[int, Sequence[MaturedRow]], levels: Sequence[int]) -> Iterator[TrackedForecast]:
    for horizon, newest in by_horizon.items():
        if not newest:
            continue
        values = np.array([row.quantiles for row, _ in newest])  # (n, q)
        ends = {level: np.exp(np.stack(interval_ends(values, level))) for level in levels}  # (2, n)
        for place, (row, outcome) in enumerate(newest):
            yield TrackedForecast(
                horizon=horizon,
                version=row.number or None,
                issued_at=row.issued_at,
                target_time=row.target_at,
                price=row.price,
                median=row.price * float(np.exp(values[place, MIDDLE])),
                intervals=tuple(
                    Interval(level=level, lower=row.price * float(low[place]), upper=row.price * float(high[place]))
                    for level, (low, high) in ends.items()
                ),
                outcome=row.price * float(np.exp(outcome.log_return)),
            )
