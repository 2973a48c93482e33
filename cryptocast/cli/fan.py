"""The forecast as a picture in the terminal: recent closes, then the bands of its intervals, which open like a fan."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from cryptocast.cli.canvas import Canvas
from cryptocast.number_format import Prices, round_numbers
from cryptocast.workflows.fan_edges import edge_path, interval_edges

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
        columns_ahead, price = range(canvas.column(0.0), columns), self._forecast.price
        bars = [max(0.0, canvas.middle(column)) for column in columns_ahead]
        for shade, level in self._bands():
            edges = (interval_edges(self._forecast, level, upper=side) for side in (False, True))
            lower, upper = (edge_path(price, one, bars) for one in edges)
            for column, low, high in zip(columns_ahead, lower, upper, strict=True):
                canvas.bar(column, low, high, shade)
        canvas.line(past)
        medians = {h.horizon: h.median for h in self._forecast.horizons}
        for column, median in zip(columns_ahead, edge_path(price, medians, bars), strict=True):
            canvas.bar(column, median, median, MEDIAN)
        return "\n".join(line.rstrip() for line in canvas.framed(self._times(width, first), prices))

    def _bands(self) -> list[tuple[str, int]]:
        """A shade for each interval that is drawn, widest first, so that the narrower ones lie on top."""
        levels = sorted({i.level for h in self._forecast.horizons for i in h.intervals}, reverse=True)
        drawn_levels = levels if len(levels) <= len(SHADES) else [level for level in BANDS if level in levels]
        return list(zip(SHADES, drawn_levels, strict=False))

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
