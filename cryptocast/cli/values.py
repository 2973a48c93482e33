"""What people write after an option, as values: lists, durations, moments. A slip is a UsageError that shows how."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptocast.errors import UsageError

UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
MAX_DIGITS: Final = 6


def numbers(option: str, text: str | None) -> tuple[int, ...]:
    """`1,7,14` as numbers, each at least 1 and given once; empty where the option was not given."""
    values = []
    for part in names(option, text):
        if not re.fullmatch(rf"[0-9]{{1,{MAX_DIGITS}}}", part) or int(part) < 1:
            raise UsageError(f"{option} takes whole numbers from 1, separated by commas, such as 1,7; found {part!a}.")
        values.append(int(part))
    if len(set(values)) != len(values):
        raise UsageError(f"{option} contains a number twice: {text}.")
    return tuple(values)


def amounts(option: str, text: str | None) -> tuple[float, ...]:
    """`0.5,-2` as numbers; empty where the option was not given."""
    try:
        values = tuple(float(part) for part in names(option, text))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise UsageError(f"{option} takes numbers separated by commas, such as 0.5,-2; found {text!a}.")
    return values


def names(option: str, text: str | None) -> tuple[str, ...]:
    """`a,b` as words; empty where the option was not given."""
    if text is None:
        return ()
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise UsageError(f"{option} takes a list separated by commas, such as a,b; found {text!a}.")
    return parts


def duration(option: str, text: str | None) -> timedelta | None:
    """`7d`, `12h`, `30m` or `2w`; None where the option was not given."""
    if text is None:
        return None
    match = re.fullmatch(rf"([0-9]{{1,{MAX_DIGITS}}})([mhdw])", text.strip())
    if match is None:
        raise UsageError(f"{option} takes a number with a unit: 30m, 12h, 7d or 2w; found {text!a}.")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def moment(option: str, text: str | None) -> datetime | None:
    """An ISO date or time, in UTC unless it says otherwise; None where the option was not given."""
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text.strip())
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} takes a date or time, UTC by default: 2020-01-31, 2020-01-31T12:00 or "
            f"2020-01-31T12:00+02:00; found {text!a}."
        ) from None
