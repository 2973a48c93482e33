"""Prices that nobody paid: prints that are gone again at once, and units that changed. Decided as time goes by.

At each bar only bars up to it decide, so that what was known then is part of the data of then.

- A bad print moves its close by at least a factor of 5 against the median of the 7 closes before it, and within 3 bars
  a close is back within 25 % of that median: at that bar it is known. One of the first 7 bars is held against the
  others of the first 8, and known with the eighth.
- A redenomination moves the close by at least a factor of 20 for 7 bars, and is known at the seventh. The bars since
  then are the series; whatever came before is in another unit.

Nothing else is one of them: a crash by half, or an outlier of nine sigmas, is the market.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.data.schema import CANDLE_SCHEMA

BEFORE: Final = 7
MOVED: Final = np.log(5.0)
BACK_BARS: Final = 3
BACK_BY: Final = 0.25
REDENOMINATED: Final = np.log(20.0)
LASTING_BARS: Final = 7
NEVER: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class Jumps:
    """What is wrong with a series of n closes.

    known: (n,) the bar at which each is known to be a bad print, NEVER for the others. units: the first bar of each new
    unit, and the bar at which that is known. undecided: the last bars which later ones may yet show to be one of both.
    """

    known: Int64Array
    units: tuple[tuple[int, int], ...]
    undecided: Int64Array

    def __bool__(self) -> bool:
        return bool(self.units) or bool((self.known < NEVER).any())

    @property
    def pending(self) -> Int64Array:
        """The bars at which something was wrong that was only known later."""
        bars = [np.arange(first, known) for first, known in self.units]
        bars += [np.arange(first, self.known[first]) for first in np.flatnonzero(self.known < NEVER)]
        return np.unique(np.concatenate(bars)) if bars else np.empty(0, dtype=np.int64)


def find_jumps(close: FloatArray) -> Jumps:
    """The bad prints and redenominations of a series of positive closes, oldest first.

    A series that is cut at bar t has those, and only those, that are known at t.
    """
    known = np.full(len(close), NEVER, dtype=np.int64)
    units: list[tuple[int, int]] = []
    start = 0
    while True:
        log = np.log(close[start:])
        usual = _usual(log, _loud(log))
        moved = log - usual
        known[start:] = NEVER
        if not (np.abs(moved) >= MOVED).any():
            return Jumps(known, tuple(units), np.empty(0, dtype=np.int64))
        back = _first_back(log, usual)
        is_bad = (np.abs(moved) >= MOVED) & (back < NEVER)
        known[start:] = np.where(is_bad, back + start, NEVER)
        first = _first_of_a_new_unit(log, usual)
        if first is None:
            return Jumps(known, tuple(units), _undecided(log, usual, back) + start)
        start += first
        units.append((start, start + LASTING_BARS - 1))


def without_jumps(frame: pl.DataFrame) -> tuple[pl.DataFrame, Jumps]:
    """One coin's candles as they are known at the last of them, and what was found.

    Bars before a change of unit are gone. A bad print becomes a close-only bar that closes where the next bar opens, as
    markets do that never rest; where that open is not known, or is no price either, on the straight line of the log
    price between its neighbours. Its volume and market cap stay as they were published.
    """
    jumps = find_jumps(frame["close"].to_numpy())
    if not jumps:
        return frame, jumps
    start = jumps.units[-1][0] if jumps.units else 0
    bad = pl.Series((jumps.known < NEVER)[start:])
    line = pl.when(bad).then(None).otherwise(pl.col("close").log()).interpolate()
    line = line.fill_null(strategy="backward").fill_null(strategy="forward")
    opens = pl.when(pl.col("range_known").shift(-1)).then(pl.col("open").shift(-1).log())
    near = (opens - line).abs() <= np.log1p(BACK_BY)
    frame = frame[start:].with_columns(price=pl.when(near).then(opens).otherwise(line).exp())
    replaced = {name: pl.when(bad).then("price").otherwise(name) for name in ("open", "high", "low", "close")}
    known_range = pl.when(bad).then(statement=False).otherwise("range_known")
    return frame.with_columns(**replaced, range_known=known_range).select(CANDLE_SCHEMA.names()), jumps


def _loud(log: FloatArray) -> Int64Array:
    """The bars that may have moved so far; none on nearly every series.

    Of the 7 closes behind a median 4 lie on it or beyond, so one of these is at most 4 bars away, and as far or
    further.
    """
    loud = np.zeros(len(log), dtype=np.bool_)
    for lag in range(1, BEFORE // 2 + 2):
        far = np.abs(log[lag:] - log[:-lag]) >= MOVED
        loud[lag:] |= far
        loud[:-lag][:BEFORE] |= far[:BEFORE]  # the first are held against what follows, too
    return np.flatnonzero(loud)


def _usual(log: FloatArray, bars: Int64Array) -> FloatArray:
    """The median of the 7 log closes before each of these bars (of the 7 others among the first 8, for the first 7);
    NaN at others, and where there are not so many."""
    usual = np.full(len(log), np.nan)
    if len(log) > BEFORE:
        later = bars[bars >= BEFORE]
        usual[later] = np.median(log[later[:, None] + np.arange(-BEFORE, 0)], axis=1)
        for bar in bars[bars < BEFORE]:
            usual[bar] = np.median(np.delete(log[: BEFORE + 1], bar))
    return usual


def _first_back(log: FloatArray, usual: FloatArray) -> Int64Array:
    """The first of the next 3 bars whose close is near what was usual at each bar; NEVER if none is."""
    back = np.full(len(log), NEVER, dtype=np.int64)
    for ahead in range(BACK_BARS, 0, -1):
        near = np.abs(np.expm1(log[ahead:] - usual[:-ahead])) <= BACK_BY
        at = np.flatnonzero(near)
        back[at] = np.maximum(at + ahead, np.where(at < BEFORE, BEFORE, 0))
    return back


def _first_of_a_new_unit(log: FloatArray, usual: FloatArray) -> int | None:
    """The first bar that moved so far, and whose next ones stayed there."""
    if len(log) < BEFORE + LASTING_BARS:
        return None
    ahead = np.lib.stride_tricks.sliding_window_view(log, LASTING_BARS)
    change = ahead - usual[: len(ahead), None]
    stayed = (change >= REDENOMINATED).all(axis=1) | (change <= -REDENOMINATED).all(axis=1)
    stayed[:BEFORE] = False
    return int(np.argmax(stayed)) if stayed.any() else None


def _undecided(log: FloatArray, usual: FloatArray, back: Int64Array) -> Int64Array:
    """The last bars that moved and may still be back, and those that may be the first of a new unit."""
    bars = len(log)
    may_be_back = np.flatnonzero((np.abs(log - usual) >= MOVED) & (back == NEVER))
    may_be_back = may_be_back[may_be_back >= bars - BACK_BARS]
    for first in range(max(BEFORE, bars - LASTING_BARS + 1), bars):
        change = log[first:] - usual[first]
        if (change >= REDENOMINATED).all() or (change <= -REDENOMINATED).all():
            return np.union1d(may_be_back, np.arange(first, bars))
    return may_be_back
