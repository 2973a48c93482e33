"""The forecast as a picture in the terminal: recent closes, then the bands of its intervals, which open like a fan."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from cryptocast.cli.canvas import Canvas
from cryptocast.number_format import Prices, round_numbers

if TYPE_CHECKING:
    from cryptocast.workflows.reports import CoinForecast

# The intervals to ask for where there is a choice, and the shades of three of them, widest first.
BANDS: Final = (95, 80, 40)
SHADES: Final = "░▒▓"
COLOURS: Final = {"░": "blue", "▒": "blue", "▓": "bright_blue", "━": "bold"}
MEDIAN: Final = "━"
HEIGHT: Final = 18
WIDEST: Final = 120
NARROWEST: Final = 40
# Terminals without Unicode get the same picture in ASCII.
ASCII: Final = str.maketrans(
    {
        **dict(zip("░▒▓━─│┌┐└┘├┤┬┴┼", ".:#=-|++++++++++", strict=False)),
        **{chr(code): "*" for code in range(0x2801, 0x2900)},
        "⠀": " ",
    }
)


def history_bars(longest_horizon: int) -> int:
    """How many closes are drawn before a forecast of so many bars."""
    return max(20, 2 * longest_horizon)


class FanChart:
    """The picture, as wide as the terminal within reason; where there is no room, nothing."""

    def __init__(self, forecast: "CoinForecast", closes: Sequence[tuple[datetime, float]]) -> None:
        self._forecast, self._closes = forecast, closes
        self._bar_s = 3600 if forecast.granularity == "hourly" else 86_400
        self._last = max(horizon.horizon for horizon in forecast.horizons)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, WIDEST)
        if width < NARROWEST:
            return
        text = Text(f"{self._draw(width)}\n{self._legend()}", no_wrap=True)
        if not options.encoding.startswith("utf"):
            text = Text(text.plain.translate(ASCII), no_wrap=True)
        for sign, colour in COLOURS.items():
            text.highlight_regex(f"{sign}+", colour)
        yield text

    def _draw(self, width: int) -> str:
        past = self._past()
        reach, prices = self._reach(past), self._prices(past)
        first, columns = (past[0][0] if past else 0.0), width - 2 - max(len(name) for _, name in prices)
        canvas = Canvas(columns, HEIGHT - 3, (first, float(self._last)), reach)
        ahead = [(column, max(0.0, canvas.middle(column))) for column in range(canvas.column(0.0), columns)]
        for shade, level in self._bands():
            lower, upper = (self._edges(level, upper=side) for side in (False, True))
            for column, x in ahead:
                canvas.bar(column, self._between(lower, x), self._between(upper, x), shade)
        canvas.line(past)
        medians = {h.horizon: h.median for h in self._forecast.horizons}
        for column, x in ahead:
            price = self._between(medians, x)
            canvas.bar(column, price, price, MEDIAN)
        return "\n".join(line.rstrip() for line in canvas.framed(self._times(width, first), prices))

    def _bands(self) -> list[tuple[str, int]]:
        """A shade for each interval that is drawn, widest first, so that the narrower ones lie on top."""
        levels = sorted({i.level for h in self._forecast.horizons for i in h.intervals}, reverse=True)
        drawn_levels = levels if len(levels) <= len(SHADES) else [level for level in BANDS if level in levels]
        return list(zip(SHADES, drawn_levels, strict=False))

    def _edges(self, level: int, *, upper: bool) -> dict[int, float]:
        return {
            h.horizon: i.upper if upper else i.lower
            for h in self._forecast.horizons
            for i in h.intervals
            if i.level == level
        }

    def _between(self, prices: dict[int, float], x: float) -> float:
        """The price x bars ahead: logs on the square root of time, on which a random walk's edges are straight."""
        price = self._forecast.price
        points = [(0.0, 0.0), *((math.sqrt(h), math.log(value / price)) for h, value in sorted(prices.items()))]
        return price * math.exp(_on_line(points, math.sqrt(x)))

    def _past(self) -> list[tuple[float, float]]:
        """Recent closes; x in bars, 0 at the last one known."""
        as_of = self._forecast.as_of
        return [((time - as_of).total_seconds() / self._bar_s, close) for time, close in self._closes]

    def _times(self, width: int, first: float) -> list[tuple[float, str]]:
        """Where the time axis says a date: the last close, the last horizon, and what fits beside them."""
        daily = self._bar_s == 86_400
        shape = "%Y-%m-%d" if daily else "%m-%d %H:%M"
        room = (self._last - first) * (16 if daily else 17) / width
        horizons = sorted((float(h.horizon) for h in self._forecast.horizons), reverse=True)
        places: list[float] = []
        for x in (0.0, *horizons, first, float(round(first / 2))):
            if all(abs(x - other) >= room for other in places):
                places.append(x)
        return [(x, f"{self._forecast.as_of + timedelta(seconds=x * self._bar_s):{shape}}") for x in places]

    def _reach(self, past: list[tuple[float, float]]) -> tuple[float, float]:
        """The lowest and the highest price of the picture."""
        edges = [edge for h in self._forecast.horizons for i in h.intervals for edge in (i.lower, i.upper)]
        prices = [self._forecast.price, *edges, *(price for _, price in past)]
        return min(prices), max(prices)

    def _prices(self, past: list[tuple[float, float]]) -> list[tuple[float, str]]:
        """Round prices on the price axis."""
        ticks = round_numbers(*self._reach(past))
        step = ticks[1] - ticks[0] if len(ticks) > 1 else ticks[0]
        unit = Prices([self._forecast.price]).unit
        decimals = max(0, -math.floor(math.log10(step / unit) + 1e-9))
        return [(tick, f"{tick / unit:,.{decimals}f}") for tick in ticks]

    def _legend(self) -> str:
        bands = "   ".join(f"{shade * 3} {level} %" for shade, level in self._bands())
        currency = Prices([self._forecast.price]).named(self._forecast.vs)
        return f"  {bands}   {MEDIAN * 3} median   ⣀⠤⠒ closes   in {currency}"


def _on_line(points: Sequence[tuple[float, float]], x: float) -> float:
    """The value at x on the line through the points, which are sorted by x."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]
