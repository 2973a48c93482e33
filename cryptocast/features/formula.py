"""Formulas: what a catalogue feature computes, written once and evaluated by `engine` for any number of coins.

A formula is a node with an operation, its arguments and parameters, built by ordinary operators and methods. Equal
formulas are one formula (they have one key), so an ingredient that many features name is computed once. None can look
ahead: shifts and windows go backwards only. Formulas see one coin's bars on its time grid; what is not known is NaN.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Final, TypeAlias, Union

__all__ = [
    "CLOSE",
    "DEVIATION_FLOOR",
    "HIGH",
    "HOUR",
    "LOW",
    "MARKET_CAP",
    "MONTH",
    "OPEN",
    "VARIANCE_FLOOR",
    "VOLUME",
    "WEEKDAY",
    "Formula",
    "Operand",
    "across",
    "coalesce",
    "column",
    "correlation",
    "covariance",
    "enough",
    "known_with",
    "kurtosis",
    "larger",
    "log_return",
    "log_variance",
    "mean",
    "ordered",
    "skewness",
    "spread",
    "variation",
    "where",
]

Parameter: TypeAlias = float | int | str
Operand: TypeAlias = Union["Formula", float, int]

# A variance per bar below this counts as this: moves under 0.01 % a bar are quoting noise, log 0 is not a number, and a
# ratio to the spread of a flat series would be a ratio of rounding errors. Over it, a flat series has z-scores of 0.
VARIANCE_FLOOR: Final = 1e-8
DEVIATION_FLOOR: Final = 1e-4  # its root

LENIENT_FROM = 90


class Formula:
    """An operation on other formulas. Immutable; equal and hashed by what it computes.

    Comparisons and `known` give 1 and 0, and 0 where a side is not known; everything else is NaN where an argument is.
    """

    __slots__ = ("args", "key", "op", "params")

    op: str
    args: tuple["Formula", ...]
    params: tuple[Parameter, ...]
    key: str  # names the formula: the same in every process, and for all that compute the same in the same way

    def __init__(self, op: str, args: Sequence["Formula"] = (), params: Sequence[Parameter] = ()) -> None:
        self.op, self.args, self.params = op, tuple(args), tuple(params)
        said = f"{op} {' '.join(repr(p) for p in params)} {' '.join(a.key for a in args)}"
        self.key = hashlib.blake2b(said.encode(), digest_size=16).hexdigest()

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and self.key == other.key

    def __repr__(self) -> str:
        return f"{self.op}({', '.join(repr(part) for part in (*self.args, *self.params))})"

    def __add__(self, other: Operand) -> "Formula":
        return Formula("add", (self, _node(other)))

    def __radd__(self, other: Operand) -> "Formula":
        return Formula("add", (_node(other), self))

    def __sub__(self, other: Operand) -> "Formula":
        return Formula("subtract", (self, _node(other)))

    def __rsub__(self, other: Operand) -> "Formula":
        return Formula("subtract", (_node(other), self))

    def __mul__(self, other: Operand) -> "Formula":
        return Formula("multiply", (self, _node(other)))

    def __rmul__(self, other: Operand) -> "Formula":
        return Formula("multiply", (_node(other), self))

    def __truediv__(self, other: Operand) -> "Formula":
        return Formula("divide", (self, _node(other)))

    def __rtruediv__(self, other: Operand) -> "Formula":
        return Formula("divide", (_node(other), self))

    def __pow__(self, power: int) -> "Formula":
        """Powers by multiplication. Raises ValueError unless 2, 3 or 4."""
        if power not in (2, 3, 4):
            raise ValueError(f"a power of {power} is not to be had, only 2, 3 and 4")
        squared = Formula("square", (self,))
        return {2: squared, 3: squared * self, 4: Formula("square", (squared,))}[power]

    def __neg__(self) -> "Formula":
        return Formula("negative", (self,))

    def __gt__(self, other: Operand) -> "Formula":
        return Formula("greater", (self, _node(other)))

    def __ge__(self, other: Operand) -> "Formula":
        return Formula("greater_equal", (self, _node(other)))

    def __lt__(self, other: Operand) -> "Formula":
        return Formula("greater", (_node(other), self))

    def __le__(self, other: Operand) -> "Formula":
        return Formula("greater_equal", (_node(other), self))

    def __and__(self, other: "Formula") -> "Formula":
        """Both conditions: the product of their 1 and 0."""
        return Formula("multiply", (self, other))

    def abs(self) -> "Formula":
        return Formula("absolute", (self,))

    def sign(self) -> "Formula":
        return Formula("sign", (self,))

    def sqrt(self) -> "Formula":
        return Formula("sqrt", (self,))

    def log(self) -> "Formula":
        return Formula("log", (self,))

    def sin(self) -> "Formula":
        return Formula("sin", (self,))

    def cos(self) -> "Formula":
        return Formula("cos", (self,))

    def known(self) -> "Formula":
        """1 where the value is known, else 0."""
        return Formula("known", (self,))

    def at_least(self, bound: float) -> "Formula":
        return Formula("at_least", (self,), (float(bound),))

    def at_most(self, bound: float) -> "Formula":
        return Formula("at_most", (self,), (float(bound),))

    def within(self, low: float, high: float) -> "Formula":
        return self.at_least(low).at_most(high)

    def shift(self, bars: int) -> "Formula":
        """The value `bars` bars earlier. Raises ValueError below 0: that would be the future."""
        if bars < 0:
            raise ValueError(f"a shift of {bars} bars looks into the future")
        return Formula("shift", (self,), (bars,)) if bars else self

    def diff(self) -> "Formula":
        return self - self.shift(1)

    def rolling_sum(self, window: int) -> "Formula":
        """Sum of the last `window` values; all must be known."""
        return self._rolling("rolling_sum", window, window)

    def rolling_mean(self, window: int, least: int | None = None) -> "Formula":
        """Mean of the known among the last `window` values, at least `least` (all, unless given)."""
        return self._rolling("rolling_mean", window, window if least is None else least)

    def rolling_std(self, window: int, least: int | None = None) -> "Formula":
        """Standard deviation (of the population) of the known among the last `window` values."""
        return self._rolling("rolling_std", window, window if least is None else least)

    def rolling_max(self, window: int, least: int | None = None) -> "Formula":
        return self._rolling("rolling_max", window, window if least is None else least)

    def rolling_min(self, window: int, least: int | None = None) -> "Formula":
        return self._rolling("rolling_min", window, window if least is None else least)

    def deviation_from(self, middle: "Formula", window: int) -> "Formula":
        """Mean absolute distance of the last `window` values from the current value of `middle`."""
        return Formula("deviation_from", (self, middle), (window,))

    def smooth(self, alpha: float, bars: int, *, lead: int = 0, divisor: int | None = None) -> "Formula":
        """y + alpha (x - y) from bar to bar, started with a mean; starts anew behind every value that is not known.

        The start is the sum of `bars` values over `divisor` (the mean, unless given), after `lead` values that it
        passes over, and stands where the last of them does. NaN before.
        """
        params = (float(alpha), bars, lead, bars if divisor is None else divisor)
        return Formula("smooth", (self,), params)

    def decayed_mean(self, decay: float, least: int) -> "Formula":
        """Mean with weights decay^k, from `least` values on; starts anew behind every value that is not known."""
        return Formula("decayed_mean", (self,), (float(decay), least))

    def running_sum(self) -> "Formula":
        """Sum of all values so far; starts anew behind every value that is not known."""
        return Formula("running_sum", (self,))

    def bars_since(self) -> "Formula":
        """Bars since this condition was last 1; infinite before the first time."""
        return Formula("bars_since", (self,))

    def _rolling(self, op: str, window: int, least: int) -> "Formula":
        if not 1 <= least <= window:
            raise ValueError(f"a window of {window} bars cannot ask for {least}")
        return Formula(op, (self,), (window, least))


def _node(operand: Operand) -> Formula:
    return operand if isinstance(operand, Formula) else Formula("constant", (), (float(operand),))


def column(name: str) -> Formula:
    """A column of the candles."""
    return Formula("column", (), (name,))


def where(condition: Formula, value: Operand, otherwise: Operand = math.nan) -> Formula:
    """The value where the condition is 1, else the other one (not known, unless given)."""
    return Formula("where", (condition, _node(value), _node(otherwise)))


def larger(left: Operand, right: Operand) -> Formula:
    """The larger of both; the other one where one is not known."""
    return Formula("larger", (_node(left), _node(right)))


def coalesce(first: Formula, second: Formula) -> Formula:
    """The first where it is known, else the second."""
    return Formula("coalesce", (first, second))


def across(what: str, values: Formula) -> Formula:
    """A figure over the coins that have a value at the same close time: "count", "mean", "std" (ddof 0).

    Or "rank": this coin's rank among them, from 1, ties share.
    """
    return Formula(f"across_{what}", (values,))


def ordered(formulas: Sequence[Formula]) -> list[Formula]:
    """All distinct nodes of these formulas, every argument before what uses it."""
    found: dict[str, Formula] = {}
    stack = [(formula, False) for formula in reversed(formulas)]
    while stack:
        node, ready = stack.pop()
        if node.key in found:
            continue
        if ready or not node.args:
            found[node.key] = node
        else:
            stack.append((node, True))
            stack.extend((arg, False) for arg in reversed(node.args) if arg.key not in found)
    return list(found.values())


OPEN: Final = column("open")
HIGH: Final = column("high")
LOW: Final = column("low")
CLOSE: Final = column("close")
VOLUME: Final = column("volume")
MARKET_CAP: Final = column("market_cap")
# Of the moment one microsecond before the close, which lies inside the bar whatever its length.
HOUR: Final = column("hour")  # UTC, 0 to 23
WEEKDAY: Final = column("weekday")  # 0 is Monday
MONTH: Final = column("month")  # 0 is January


def enough(window: int) -> int:
    """Known bars that a window needs: all of them below 90 bars, half of them (rounded up) from 90 on.

    Short windows are strict: one missing bar makes them null until it has left. A long window would lose a year to one
    missing day, and a coin with one year of history would never see its 365-bar features; half a year says enough.
    """
    return window if window < LENIENT_FROM else (window + 1) // 2


def mean(values: Formula, window: int) -> Formula:
    """Mean of the known values among the last `window` bars; null if fewer than `enough(window)` are known."""
    return values.rolling_mean(window, enough(window))


def spread(values: Formula, window: int) -> Formula:
    """Standard deviation (of the population, ddof 0) of the last `window` bars, with the tolerance of `enough`."""
    return values.rolling_std(window, enough(window))


def log_variance(variance: Formula) -> Formula:
    """Log of a variance per bar, not below that of a flat series, log 1e-8."""
    return variance.at_least(VARIANCE_FLOOR).log()


def known_with(values: Formula, other: Formula) -> Formula:
    """The values where the other column is known too, else null. Both finite."""
    return values + other * 0.0


def covariance(left: Formula, right: Formula, window: int) -> Formula:
    """Covariance (ddof 0) over the bars of the window on which both are known.

    By the formula E[xy] - E[x] E[y]: meant for returns and the like, whose mean is small against their spread.
    """
    return _covariance(known_with(left, right), known_with(right, left), window)


def _covariance(left: Formula, right: Formula, window: int) -> Formula:
    """Of two that are known on the same bars."""
    return mean(left * right, window) - mean(left, window) * mean(right, window)


def variation(values: Formula, window: int) -> Formula:
    """Standard deviation (ddof 0) by E[x^2] - E[x]^2: for returns and the like, where `spread` is for levels."""
    return (mean(values**2, window) - mean(values, window) ** 2).at_least(0.0).sqrt()


def correlation(left: Formula, right: Formula, window: int) -> Formula:
    """Pearson correlation over the bars of the window on which both are known, between -1 and 1; flat series 0.

    Deviations below 1e-4 count as that, so that a series which hardly moves correlates with nothing. For returns and
    the like, see `covariance`.
    """
    pair = known_with(left, right), known_with(right, left)
    sides = [variation(x, window).at_least(DEVIATION_FLOOR) for x in pair]
    return (_covariance(*pair, window) / (sides[0] * sides[1])).within(-1.0, 1.0)


def skewness(values: Formula, window: int) -> Formula:
    """Third standardised moment (population form) of the last `window` bars; for returns and the like.

    0 where the standard deviation is below 1e-4.
    """
    first, second, third = (mean(x, window) for x in (values, values**2, values**3))
    deviation = variation(values, window)
    shape = (third - 3.0 * first * second + 2.0 * first**3) / deviation**3
    return where(deviation.known(), where(deviation < DEVIATION_FLOOR, 0.0, shape))


def kurtosis(values: Formula, window: int) -> Formula:
    """Fourth standardised moment (population form, normal = 3) of the last `window` bars; for returns and the like.

    3 where the standard deviation is below 1e-4.
    """
    first, second, third, fourth = (mean(x, window) for x in (values, values**2, values**3, values**4))
    deviation = variation(values, window)
    shape = (fourth - 4.0 * first * third + 6.0 * first**2 * second - 3.0 * first**4) / deviation**4
    return where(deviation.known(), where(deviation < DEVIATION_FLOOR, 3.0, shape))


def log_return(bars: int) -> Formula:
    """Log of the close over the close `bars` bars earlier. Both must be known; what lies between need not be."""
    return (CLOSE / CLOSE.shift(bars)).log()
