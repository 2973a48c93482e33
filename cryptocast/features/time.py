"""Time: when the bar was open, as points on circles, so that Sunday stands beside Monday and December beside January.

`close_time` is the end of the bar: a daily bar that closes on Monday 00:00 UTC traded on Sunday. One microsecond
earlier lies inside the bar whatever its length.
"""

import math

from cryptocast.features.formula import HOUR, MONTH, WEEKDAY, Formula

__all__ = [
    "hour_cosine",
    "hour_sine",
    "month_cosine",
    "month_sine",
    "weekday_cosine",
    "weekday_sine",
    "weekend",
]

SATURDAY = 5  # Monday is 0


def hour_sine() -> Formula:
    """Sine of the bar's UTC hour on a circle of 24."""
    return _angle(HOUR, 24).sin()


def hour_cosine() -> Formula:
    """Cosine of the bar's UTC hour on a circle of 24."""
    return _angle(HOUR, 24).cos()


def weekday_sine() -> Formula:
    """Sine of the weekday on a circle of 7, Monday at 0."""
    return _angle(WEEKDAY, 7).sin()


def weekday_cosine() -> Formula:
    """Cosine of the weekday on a circle of 7, Monday at 0."""
    return _angle(WEEKDAY, 7).cos()


def month_sine() -> Formula:
    """Sine of the month on a circle of 12, January at 0."""
    return _angle(MONTH, 12).sin()


def month_cosine() -> Formula:
    """Cosine of the month on a circle of 12, January at 0."""
    return _angle(MONTH, 12).cos()


def weekend() -> Formula:
    """1 when the bar traded on a Saturday or Sunday (UTC), else 0."""
    return WEEKDAY >= SATURDAY


def _angle(position: Formula, circle: int) -> Formula:
    return position * (2.0 * math.pi / circle)
