"""The closes before a forecast, for whoever draws it."""

from datetime import datetime
from typing import cast

from cryptocast.config import Granularity, SourceChoice
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.documents import CoinForecast
from cryptocast.workflows.panel import gather

__all__ = ["recent_closes"]


def recent_closes(context: Context, forecast: CoinForecast, bars: int) -> tuple[tuple[datetime, float], ...]:
    """Close times and closes of the last bars known to the forecast, oldest first, from the store alone.

    Raises DataError if its candles are no longer there.
    """
    source, granularity = cast("SourceChoice", forecast.source), cast("Granularity", forecast.granularity)
    selection = Selection((forecast.coin,), source, forecast.vs, granularity, forecast.as_of)
    (pool,) = gather(context, selection.resolved(context.config), pool=(), fetch_allowed=False)
    frame = pool.bars[forecast.coin].candles.frame.tail(bars)
    return tuple(zip(frame["close_time"].to_list(), frame["close"].to_list(), strict=True))
