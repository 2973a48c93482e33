"""A store in which the baseline has forecast bitcoin live, bar after bar."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from cryptocast.config import Config, DataConfig, ForecastConfig, StoreConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.market import Market
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.lifecycle.live_scoring import record
from tests.conftest import simulated_candles
from tests.serving.serving_app import Clock

BARS = 120
MARKET = Market("coingecko", "usd", "daily")
CANDLES = simulated_candles(("bitcoin",), BARS, seed=3, price=60_000.0)


def live_bars(store: Path, live: int = 12) -> Context:
    """The clock stands half an hour behind the last bar; `live` bars have come since the first forecast."""
    data = DataConfig(coins=("bitcoin",), source="coingecko", exchanges=())
    config = Config(store=StoreConfig(path=store), data=data, forecast=ForecastConfig(daily_horizons=(1, 7)))
    context = Context(config)
    for bars in range(BARS - live, BARS + 1):
        frame = CANDLES.head(bars)
        now = frame["close_time"][-1] + timedelta(minutes=30)
        context = replace(context, wall_clock=Clock(now))
        CandleStore(store, lock_timeout_s=10).write(SeriesKey(MARKET, "bitcoin"), frame, fetched_at=now)
        record(context, Selection(("bitcoin",), stored=True))
    return context
