"""A coin's candles as they are known at the last of them, and what must be said about it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from cryptocast.arrays import Int64Array
from cryptocast.data.bad_prints import NEVER, Jumps, find_jumps, without_jumps
from cryptocast.features.grid import microseconds
from cryptocast.number_format import price
from cryptocast.workflows.market_data.resolve import CoinCandles


def clean_frame(bars: CoinCandles) -> pl.DataFrame:
    """The bars that count, without bad prints: what is learned and forecast from."""
    return without_jumps(bars.candles.frame)[0]


def pending_times(bars: CoinCandles) -> Int64Array:
    """The close times, microseconds, at which something was wrong that was only known later."""
    frame = bars.candles.frame
    return microseconds(frame["close_time"])[find_jumps(frame["close"].to_numpy()).pending]


def unit_since(bars: CoinCandles) -> int:
    """When it was known in which unit the prices are, microseconds: 0 where that never changed."""
    frame = bars.candles.frame
    units = find_jumps(frame["close"].to_numpy()).units
    return int(microseconds(frame["close_time"])[units[-1][1]]) if units else 0


def with_notice(bars: CoinCandles) -> CoinCandles:
    """With what must be known about prices that are left out."""
    frame = bars.candles.frame
    clean, jumps = without_jumps(frame)
    if not jumps:
        return bars
    notices = (bars.notice, *_notices(bars, clean, jumps))
    return replace(bars, notice=" ".join(notice for notice in notices if notice))


def _notices(bars: CoinCandles, clean: pl.DataFrame, jumps: Jumps) -> Iterator[str]:
    frame, key = bars.candles.frame, bars.candles.provenance.key
    closed = frame["close_time"].dt.strftime("%Y-%m-%d %H:%M UTC")
    first = len(frame) - len(clean)
    if first:
        yield (
            f"{key.coin}'s prices changed their unit at {closed[first]}, from"
            f" {price(frame['close'][first - 1], key.vs)} to {price(frame['close'][first], key.vs)}: only the bars"
            " since then count."
        )
    prints = np.flatnonzero(jumps.known[first:] < NEVER) + first
    if not len(prints):
        return
    last = int(prints[-1])
    what = f"{price(frame['close'][last], key.vs)} among prices of about {price(clean['close'][last - first], key.vs)}"
    if len(prints) == 1:
        yield f"{key.coin}'s close of {closed[last]} is left out: {what}."
    else:
        yield f"{len(prints)} closes of {key.coin} are left out, the last of {closed[last]}: {what}."
