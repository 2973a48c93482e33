"""Time: when the bar was open, as points on circles, so that Sunday stands beside Monday and December beside January.

`close_time` is the end of the bar: a daily bar that closes on Monday 00:00 UTC traded on Sunday. One microsecond
earlier lies inside the bar whatever its length.
"""

import math
from typing import Final

import polars as pl

__all__ = [
    "hour_cosine",
    "hour_sine",
    "month_cosine",
    "month_sine",
    "weekday_cosine",
    "weekday_sine",
    "weekend",
]

WITHIN: Final = pl.col("close_time") - pl.duration(microseconds=1)
SATURDAY = 6  # ISO: Monday is 1


def hour_sine() -> pl.Expr:
    """Sine of the bar's UTC hour on a circle of 24."""
    return _angle(WITHIN.dt.hour(), 24).sin()


def hour_cosine() -> pl.Expr:
    """Cosine of the bar's UTC hour on a circle of 24."""
    return _angle(WITHIN.dt.hour(), 24).cos()


def weekday_sine() -> pl.Expr:
    """Sine of the weekday on a circle of 7, Monday at 0."""
    return _angle(WITHIN.dt.weekday().cast(pl.Int16) - 1, 7).sin()


def weekday_cosine() -> pl.Expr:
    """Cosine of the weekday on a circle of 7, Monday at 0."""
    return _angle(WITHIN.dt.weekday().cast(pl.Int16) - 1, 7).cos()


def month_sine() -> pl.Expr:
    """Sine of the month on a circle of 12, January at 0."""
    return _angle(WITHIN.dt.month().cast(pl.Int16) - 1, 12).sin()


def month_cosine() -> pl.Expr:
    """Cosine of the month on a circle of 12, January at 0."""
    return _angle(WITHIN.dt.month().cast(pl.Int16) - 1, 12).cos()


def weekend() -> pl.Expr:
    """1 when the bar traded on a Saturday or Sunday (UTC), else 0."""
    return (WITHIN.dt.weekday() >= SATURDAY).cast(pl.Float64)


def _angle(position: pl.Expr, circle: int) -> pl.Expr:
    return position.cast(pl.Float64) * (2.0 * math.pi / circle)
