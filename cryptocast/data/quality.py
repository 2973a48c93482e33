"""What is wrong with a series of candles: found, counted and put into words. Looks only; changes no bar.

The frame may be unsorted, hold duplicates or bad numbers: that is what the checks are for.
"""

from datetime import datetime
from typing import Final

import msgspec
import polars as pl

from cryptocast.config import Granularity, QualityConfig
from cryptocast.data.schema import BAR_US

__all__ = ["Gap", "Jump", "Outlier", "QualityReport", "Run", "broken_range", "check_quality"]

WINDOW: Final = 61  # bars around a bar that say what is usual there
JUMP_WINDOW: Final = 7  # bars before and after a change of the volume's unit
MAD_TO_SIGMA: Final = 1.4826  # of a normal distribution
TOLERANCE: Final = 1e-9  # relative; prices that went through text or through other units differ in the last digits


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Bars that are missing between two bars that are there."""

    after: datetime  # close time of the last bar before the gap
    before: datetime  # close time of the first bar behind it
    missing: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive bars with the same close."""

    first: datetime
    last: datetime
    bars: int


class Outlier(msgspec.Struct, frozen=True, kw_only=True):
    """A bar far outside of what is usual around it: `return` of the close, or `range` from low to high."""

    close_time: datetime
    kind: str
    log_change: float
    sigmas: float


class Jump(msgspec.Struct, frozen=True, kw_only=True):
    """A lasting change of the volume's level by more than a market does: most likely another unit."""

    close_time: datetime
    factor: float


class QualityReport(msgspec.Struct, frozen=True, kw_only=True):
    """Findings on one series. `lines` says them in words, with what is done about each; empty if there is nothing."""

    coin: str
    granularity: Granularity
    rows: int
    first: datetime | None
    last: datetime | None
    missing_bars: int
    duplicates: int
    non_positive: int  # rows with a price that is null, not finite, zero or negative
    broken_ranges: int
    close_only: int
    zero_volume: int
    unknown_volume: int
    gaps: tuple[Gap, ...]
    frozen_runs: tuple[Run, ...]
    outliers: tuple[Outlier, ...]
    volume_jumps: tuple[Jump, ...]
    lines: tuple[str, ...]


def broken_range() -> pl.Expr:
    """True where high or low contradict open and close, or each other."""
    top, bottom = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
    return (pl.col("high") < top * (1 - TOLERANCE)) | (pl.col("low") > bottom * (1 + TOLERANCE))


def check_quality(frame: pl.DataFrame, coin: str, granularity: Granularity, config: QualityConfig) -> QualityReport:
    """Check the candles of one coin (columns of CANDLE_SCHEMA, in any order of rows) against the thresholds."""
    bar = BAR_US[granularity]
    bad = ~pl.all_horizontal(pl.col(name).is_finite() & (pl.col(name) > 0) for name in ("open", "high", "low", "close"))
    counts = frame.select(
        duplicates=pl.len() - pl.col("close_time").n_unique(),
        non_positive=bad.fill_null(value=True).sum(),
        broken_ranges=broken_range().fill_null(value=False).sum(),
        close_only=(~pl.col("range_known")).sum(),
        zero_volume=(pl.col("volume") == 0).sum(),
        unknown_volume=pl.col("volume").is_null().sum(),
    ).row(0, named=True)
    usable = frame.filter(~bad.fill_null(value=True)).unique("close_time", keep="last").sort("close_time")
    gaps = _gaps(frame, bar)
    report = QualityReport(
        coin=coin,
        granularity=granularity,
        rows=len(frame),
        first=frame["close_time"].min(),  # type: ignore[arg-type]
        last=frame["close_time"].max(),  # type: ignore[arg-type]
        missing_bars=sum(gap.missing for gap in gaps),
        gaps=gaps,
        frozen_runs=_frozen(usable, bar, config.frozen_bars),
        outliers=_outliers(usable, bar, config.outlier_sigmas),
        volume_jumps=_jumps(usable, config.volume_jump_factor),
        lines=(),
        **counts,
    )
    return msgspec.structs.replace(report, lines=_lines(report))


def _gaps(frame: pl.DataFrame, bar: int) -> tuple[Gap, ...]:
    times = frame.select(pl.col("close_time").unique().sort())
    step = pl.col("close_time").diff().dt.total_microseconds()
    found = times.with_columns(after=pl.col("close_time").shift(1), missing=step // bar - 1).filter(step > bar)
    return tuple(
        Gap(after=row["after"], before=row["close_time"], missing=row["missing"]) for row in found.iter_rows(named=True)
    )


def _frozen(usable: pl.DataFrame, bar: int, bars: int) -> tuple[Run, ...]:
    """A run ends at a gap: nobody saw what the price did there."""
    step = pl.col("close_time").diff().dt.total_microseconds()
    starts = (pl.col("close") != pl.col("close").shift(1)) | (step != bar)
    runs = (
        usable.group_by(starts.fill_null(value=True).cum_sum().alias("run"))
        .agg(first=pl.col("close_time").min(), last=pl.col("close_time").max(), bars=pl.len())
        .filter(pl.col("bars") >= bars)
        .sort("first")
    )
    return tuple(Run(first=r["first"], last=r["last"], bars=r["bars"]) for r in runs.iter_rows(named=True))


def _outliers(usable: pl.DataFrame, bar: int, sigmas: float) -> tuple[Outlier, ...]:
    """Distance from the local median in local median absolute deviations, scaled to sigmas of a normal distribution.

    A centred window: these are findings about the past, not features. The scale is at least a tenth of the whole
    series', so that calm stretches do not make ordinary bars look wild. Source: Hampel, JASA 69 (1974).
    """
    step = pl.col("close_time").diff().dt.total_microseconds()
    change = pl.when(step == bar).then((pl.col("close") / pl.col("close").shift(1)).log())
    spread = pl.when(pl.col("range_known")).then((pl.col("high") / pl.col("low")).log())
    found = []
    for kind, value in (("return", change), ("range", spread)):
        away = value - _local_median(value)
        scale = MAD_TO_SIGMA * pl.max_horizontal(_local_median(away.abs()), away.abs().median() / 10)
        table = usable.select("close_time", value=value, away=away, scale=scale).with_columns(
            sigmas=pl.col("away").abs() / pl.col("scale")
        )
        for row in table.filter((pl.col("scale") > 0) & (pl.col("sigmas") > sigmas)).iter_rows(named=True):
            found.append(
                Outlier(close_time=row["close_time"], kind=kind, log_change=row["value"], sigmas=row["sigmas"])
            )
    return tuple(sorted(found, key=lambda outlier: (outlier.close_time, outlier.kind)))


def _local_median(value: pl.Expr) -> pl.Expr:
    return value.rolling_median(WINDOW, min_samples=10, center=True)


def _jumps(usable: pl.DataFrame, factor: float) -> tuple[Jump, ...]:
    """Medians of the volume over the bars before and from a bar on; the largest of neighbouring changes is the jump."""
    known = usable.filter(pl.col("volume") > 0)
    level = pl.col("volume").rolling_median(JUMP_WINDOW)
    ratio = (level.shift(-(JUMP_WINDOW - 1)) / level.shift(1)).log()
    table = known.select("close_time", ratio=ratio).with_columns(wild=pl.col("ratio").abs() > pl.lit(factor).log())
    groups = table.with_columns(group=pl.col("wild").rle_id()).filter(pl.col("wild"))
    largest = groups.sort(pl.col("ratio").abs(), descending=True).unique("group", keep="first").sort("close_time")
    return tuple(Jump(close_time=t, factor=r) for t, r in largest.select("close_time", pl.col("ratio").exp()).rows())


def _lines(report: QualityReport) -> tuple[str, ...]:
    lines = []
    if report.gaps:
        longest = max(report.gaps, key=lambda gap: gap.missing)
        lines.append(
            f"{_count(len(report.gaps), 'gap')}, {_count(report.missing_bars, 'bar')} missing, the longest"
            f" {longest.missing} after {longest.after:%Y-%m-%d %H:%M}: left as gaps, nothing is computed across them"
        )
    for count, noun, which, rule in (
        (report.duplicates, "bar", "repeated", "one series holds each bar once: refused by the store"),
        (report.non_positive, "bar", "with a price that is no positive number", "refused by the store"),
        (report.broken_ranges, "bar", "whose high and low contradict open or close", "kept as published"),
        (report.close_only, "close-only bar", "", "open, high and low equal the close, the range is unknown"),
        (report.zero_volume, "bar", "with zero volume", "kept; it can mean no trade or an unknown volume"),
        (report.unknown_volume, "bar", "without volume", "kept as unknown"),
    ):
        if count:
            lines.append(f"{_count(count, noun)} {which}".rstrip() + f": {rule}")
    lines += [
        f"the same close {run.bars} times from {run.first:%Y-%m-%d %H:%M}: kept, the source may have been frozen"
        for run in report.frozen_runs[:3]
    ]
    if report.outliers:
        worst = max(report.outliers, key=lambda outlier: outlier.sigmas)
        lines.append(
            f"{_count(len(report.outliers), 'outlier')}, the wildest a {worst.kind} of {worst.log_change:+.2f} (log) at"
            f" {worst.close_time:%Y-%m-%d %H:%M}: kept in prices and targets, clipped in features"
        )
    lines += [
        f"the volume changes by a factor of {jump.factor:.4g} at {jump.close_time:%Y-%m-%d %H:%M}: kept; is it in one"
        " unit throughout?"
        for jump in report.volume_jumps[:3]
    ]
    return tuple(lines)


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
