"""Time: when the bar was open, as points on circles, so that Sunday stands beside Monday and December beside January.

`close_time` is the end of the bar: a daily bar that closes on Monday 00:00 UTC traded on Sunday. One microsecond
earlier lies inside the bar whatever its length.
"""

import math
from typing import Final

import polars as pl

from cryptocast.features.expressions import shared

WITHIN: Final = pl.col("close_time") - pl.duration(microseconds=1)
SATURDAY: Final = 5  # Monday is 0


def hour_sine() -> pl.Expr:
    """Sine of the bar's UTC hour on a circle of 24."""
    return _angle(hour(), 24).sin()


def hour_cosine() -> pl.Expr:
    """Cosine of the bar's UTC hour on a circle of 24."""
    return _angle(hour(), 24).cos()


def weekday_sine() -> pl.Expr:
    """Sine of the weekday on a circle of 7, Monday at 0."""
    return _angle(weekday(), 7).sin()


def weekday_cosine() -> pl.Expr:
    """Cosine of the weekday on a circle of 7, Monday at 0."""
    return _angle(weekday(), 7).cos()


def month_sine() -> pl.Expr:
    """Sine of the month on a circle of 12, January at 0."""
    return _angle(month(), 12).sin()


def month_cosine() -> pl.Expr:
    """Cosine of the month on a circle of 12, January at 0."""
    return _angle(month(), 12).cos()


def weekend() -> pl.Expr:
    """1 when the bar traded on a Saturday or Sunday (UTC), else 0."""
    return (weekday() >= SATURDAY).cast(pl.Float64)


@shared
def hour() -> pl.Expr:
    """UTC hour in which the bar ended, 0 to 23."""
    return WITHIN.dt.hour().cast(pl.Float64)


@shared
def weekday() -> pl.Expr:
    """Weekday on which the bar ended, Monday 0."""
    return WITHIN.dt.weekday().cast(pl.Float64) - 1.0


@shared
def month() -> pl.Expr:
    """Month in which the bar ended, January 0."""
    return WITHIN.dt.month().cast(pl.Float64) - 1.0


def _angle(position: pl.Expr, circle: int) -> pl.Expr:
    return position * (2.0 * math.pi / circle)
