"""Bars of minutes and hours joined to hours and days, and how long the bars of a series are."""

import re
from typing import Final

import numpy as np
import polars as pl

MINUTE: Final = 60_000_000  # microseconds
LENGTHS: Final = tuple(MINUTE * minutes for minutes in (1, 3, 5, 15, 30, 60, 120, 180, 240, 360, 480, 720, 1440))
GAP, SPARSE_GAP = 30 * MINUTE, 360 * MINUTE  # how long nothing must come until bars count as missing
MOST_MISSING: Final = 0.1
# What the names of files call their bars: BTC_USDT-1h, BTCUSDT-1d-2024-01, Bitstamp_BTCUSD_d; and minutes: XBTUSD_1440.
NAMED_UNIT: Final = re.compile(r"[-_](\d*)(m|h|d|minute)(?=[-_.])")
NAMED_MINUTES: Final = re.compile(r"^[A-Z0-9]+_(\d+)()\.")
UNITS: Final = {"": 1, "m": 1, "minute": 1, "h": 60, "d": 1440}


def bar_length(times: pl.Series, spacing: float, *, sparse: bool) -> int | None:
    """How long the bars are, in microseconds, by their times and median spacing; None if that is not clear.

    Where each bar is there the spacing tells. Where bars without trades are left out it is the longest bar on
    whose grid the times lie.
    """
    if sparse:
        fitting = [length for length in LENGTHS if float((times % length == 0).mean() or 0) >= 0.99]  # type: ignore[arg-type]
        return fitting[-1] if fitting and spacing <= max(fitting[-1], SPARSE_GAP) else None
    return next((length for length in LENGTHS if abs(spacing - length) <= length * 0.05), None)


def length_in(name: str) -> int | None:
    """How long the bars of a file are by its name, in microseconds; None if that does not say it."""
    match = NAMED_UNIT.search(name) or NAMED_MINUTES.search(name)
    length = MINUTE * int(match[1] or 1) * UNITS[match[2]] if match else 0
    return length if length in LENGTHS else None


def in_words(length: int) -> str:
    """Such as 15-minute, 4-hour."""
    minutes = length // MINUTE
    if minutes < 60:
        return f"{minutes}-minute"
    return {60: "hourly", 1440: "daily"}.get(minutes, f"{minutes // 60}-hour")


def resample(
    bars: pl.DataFrame, length: int, target: int, *, sparse: bool, rows_at_a_time: int = 200_000
) -> tuple[pl.DataFrame, pl.Series]:
    """Bars of `target` microseconds of bars of `length`, sorted by `opened`; and the opens of those left out.

    First open, highest high, lowest low, last close, summed volume. Left out is a bar of which more than a tenth lies
    in gaps: of half an hour or more, in a sparse series of six hours or more, at both ends of the series always half an
    hour.
    """
    # In slices, and their parts once more: the same in less memory.
    parts = pl.concat(_joined(part, target) for part in bars.iter_slices(rows_at_a_time))
    whole = _joined(parts, target)
    holes = _holes(bars["opened"].to_numpy(), length, target, sparse=sparse)
    missing = whole.filter(pl.col("opened").is_in(holes.implode()))["opened"]
    return whole.filter(~pl.col("opened").is_in(missing.implode())), missing


def _joined(bars: pl.DataFrame, target: int) -> pl.DataFrame:
    return bars.group_by(pl.col("opened") // target * target, maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close", "market_cap").last(),
        pl.when(pl.col("volume").count() > 0).then(pl.col("volume").sum()).alias("volume"),
        pl.col("range_known").any(),
    )


def _holes(opened: np.ndarray[tuple[int], np.dtype[np.int64]], length: int, target: int, *, sparse: bool) -> pl.Series:
    """The opens of the target bars of which too much is missing."""
    before = np.flatnonzero(np.diff(opened) - length >= (SPARSE_GAP if sparse else GAP))
    starts, ends = opened[before] + length, opened[before + 1]
    first, last = opened[0] // target * target, -(-(opened[-1] + length) // target) * target
    for start, end in ((first, opened[0]), (opened[-1] + length, last)):
        if end - start >= GAP:
            starts, ends = np.append(starts, start), np.append(ends, end)
    start, end, at = pl.col("start"), pl.col("end"), pl.col("at")
    gaps = pl.DataFrame({"start": starts, "end": ends}).with_columns(
        at=pl.int_ranges(start // target, (end - 1) // target + 1) * target
    )
    parts = gaps.explode("at", empty_as_null=False).with_columns(
        missing=pl.min_horizontal(end, at + target) - pl.max_horizontal(start, at)
    )
    return parts.group_by("at").agg(pl.col("missing").sum()).filter(pl.col("missing") > target * MOST_MISSING)["at"]
