"""Numbers, times and foreign text as people read them."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

NOTHING: Final = "-"
# Below this price, plain decimals are mostly zeros.
SMALL: Final = 1e-5


class Prices:
    """Formats prices that belong together with the same decimals, so that columns line up.

    values: prices that will be shown; the smallest gets so many significant digits. unit: what the shown numbers count,
    1 unless the prices are tiny: then a power of ten, to be told beside the numbers.
    """

    def __init__(self, values: Iterable[float], significant: int = 4) -> None:
        smallest = min((abs(v) for v in values if v and math.isfinite(v)), default=1.0)
        exponent = math.floor(math.log10(smallest))
        self.unit = 1.0 if smallest >= SMALL else 10.0**exponent
        self._decimals = max(0, significant - 1 - (exponent if self.unit == 1.0 else 0))

    def __call__(self, value: float | None) -> str:
        """The price in units, with thousands separated."""
        if value is None or not math.isfinite(value):
            return NOTHING
        return f"{value / self.unit:,.{self._decimals}f}"

    def named(self, currency: str) -> str:
        """What the numbers count: USD, or 1e-08 USD."""
        return currency.upper() if self.unit == 1.0 else f"{self.unit:.0e} {currency.upper()}"


def price(value: float, currency: str) -> str:
    """One price with its currency, five significant digits: 8,710.1 USD, 1.2345e-08 USD."""
    amount = f"{value:.4e}" if 0 < abs(value) < SMALL else Prices([value], 5)(value)
    return f"{amount} {currency.upper()}"


def digits(value: float | None) -> str:
    """A number of moderate size with four decimals, so that columns line up; others with their exponent."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3e}"
    return f"{value + 0.0:,.4f}"


def percent(share: float | None, decimals: int = 1, *, signed: bool = False) -> str:
    """0.0312 as 3.1: the sign % stands in the head of the column."""
    if share is None or not math.isfinite(share):
        return NOTHING
    rounded = round(100 * share, decimals) + 0.0  # no -0.0
    return f"{rounded:{'+' if signed else ''}.{decimals}f}"


def spread(share: float, error: float) -> str:
    """A share with its standard error, both in percent: 81.2±2.1."""
    return f"{percent(share)}±{percent(error)}"


def when(time: datetime | None, *, midnight: bool = True) -> str:
    """A time in UTC; the hour is left out where every bar closes at midnight."""
    if time is None:
        return NOTHING
    return f"{time:%Y-%m-%d}" if midnight else f"{time:%Y-%m-%d %H:%M}"


def ahead(horizon: int, granularity: str) -> str:
    """A number of bars as the time that they last: 7 d, 24 h."""
    return f"{horizon} {'h' if granularity == 'hourly' else 'd'}"


def horizons_ahead(horizons: Sequence[int], granularity: str) -> str:
    """Several of them: 1, 7 d."""
    return ", ".join([*map(str, horizons[:-1]), *(ahead(last, granularity) for last in horizons[-1:])])


def count(number: int, noun: str) -> str:
    """1 coin, 2 coins, 1,000 series."""
    plural = noun if number == 1 or noun.endswith("s") else f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{number:,} {plural}"


def span(seconds: float) -> str:
    """How long something took."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size(amount: float) -> str:
    """Bytes, in the unit that leaves few digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def one_line(text: str) -> str:
    """Foreign text without line breaks or anything that could steer a terminal."""
    flat = " ".join(text.split())
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in flat)


def round_numbers(low: float, high: float, most: int = 6) -> list[float]:
    """Where an axis from low to high gets its marks: multiples of 1, 2 or 5 times a power of ten, `most` at most and a
    third of that at least; one where both are the same."""
    reach = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(reach / (most + 1)))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if reach / (power * factor) <= most)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
