"""The charts of the page, drawn as SVG: the fan behind the price before it, and past forecasts against what came.

Each is drawn twice, for a wide and for a narrow screen, so that its letters are as large as those of the page. What can
be read off stands in a title of each column, which browsers show without a script; the script of the page reads it too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

from cryptocast.data.schema import BAR_US
from cryptocast.number_format import Prices, ahead, round_numbers
from cryptocast.workflows.fan_edges import edge_path, interval_edges
from cryptocast.workflows.lifecycle.track_record import TrackedForecast
from cryptocast.workflows.reports import CoinForecast, Interval

Closes = Sequence[tuple[datetime, float]]

LEFT: Final = 8.0
TOP: Final = 14.0
BELOW: Final = 34.0  # for the labels of the times
MARGIN: Final = 0.04  # of the reach of the prices, above and below
# Bars between two labels of the times.
STEPS: Final = {
    "daily": (1, 2, 5, 7, 14, 30, 60, 90, 180, 360),
    "hourly": (1, 2, 3, 6, 12, 24, 48, 72, 168, 336),
}
LEAST_BARS: Final = 30  # of the price before a fan


class Size(NamedTuple):
    """How large a chart is, in units that are pixels on a screen of its kind. labels: room at the right for prices;
    bars: most of them before a fan, and most past forecasts; times, prices: most labels."""

    name: str
    width: float
    height: float
    labels: float
    bars: int
    times: int
    prices: int


FAN_SIZES: Final = (Size("wide", 1120, 420, 84, 120, 10, 6), Size("narrow", 390, 300, 66, 60, 3, 5))
TRACK_SIZES: Final = (Size("wide", 820, 340, 76, 120, 7, 5), Size("narrow", 390, 300, 66, 45, 3, 5))


@dataclass(frozen=True, slots=True)
class Plane:
    """Where a place of the time axis and a price stand. start, end: of the time axis, in bars; low, high: prices."""

    size: Size
    start: float
    end: float
    low: float
    high: float

    @property
    def right(self) -> float:
        """Where the prices end and their labels begin."""
        return self.size.width - self.size.labels

    @property
    def bottom(self) -> float:
        """Where the prices end and the times begin."""
        return self.size.height - BELOW

    @property
    def per_bar(self) -> float:
        """Width of a bar."""
        return (self.right - LEFT) / ((self.end - self.start) or 1.0)

    def x(self, bar: float) -> float:
        """Of a place of the time axis."""
        return LEFT + (bar - self.start) * self.per_bar

    def y(self, price: float) -> float:
        """Of a price."""
        return TOP + (self.bottom - TOP) * (self.high - price) / ((self.high - self.low) or 1.0)

    def points(self, line: Iterable[tuple[float, float]]) -> str:
        """A line of (bar, price) as an attribute."""
        return " ".join(f"{self.x(bar):.1f},{self.y(price):.1f}" for bar, price in line)


def fan_chart(forecast: CoinForecast, closes: Closes, horizon: int) -> str:
    """The closes before a forecast and its intervals behind them, marked at one of its horizons; twice."""
    return "".join(_fan(forecast, closes, horizon, size) for size in FAN_SIZES)


def track_chart(past: Sequence[TrackedForecast], granularity: str) -> str:
    """What was said of each bar so long before, against the price that came; twice. past: of one horizon, by time."""
    return "".join(_track(past[-size.bars :], granularity, size) for size in TRACK_SIZES)


def _fan(forecast: CoinForecast, closes: Closes, horizon: int, size: Size) -> str:
    bar, last = _bar(forecast.granularity), forecast.horizons[-1].horizon
    line = [((time - forecast.as_of) / bar, close) for time, close in closes]
    line = [(at, close) for at, close in line if -min(size.bars, max(LEAST_BARS, 3 * last)) <= at < 0.0]
    levels = sorted({one.level for row in forecast.horizons for one in row.intervals}, reverse=True)
    steps = [last * part / 48 for part in range(49)]
    price, sides = forecast.price, (False, True)
    edges = [[interval_edges(forecast, level, upper=side) for side in sides] for level in levels]
    prices = [price, *(close for _, close in line), *(one for pair in edges for side in pair for one in side.values())]
    plane = _plane(size, line[0][0] if line else 0.0, last, prices)
    bands = []
    for number, (lower, upper) in enumerate(edges):
        over = zip(steps, edge_path(price, upper, steps), strict=True)
        under = zip(reversed(steps), reversed(edge_path(price, lower, steps)), strict=True)
        bands.append(f'<polygon class="band b{number}" points="{plane.points([*over, *under])}"/>')
    median = edge_path(price, {one.horizon: one.median for one in forecast.horizons}, steps)
    inner = (
        f"{_prices(plane)}{''.join(bands)}"
        f'<line class="mark" x1="{plane.x(horizon):.1f}" x2="{plane.x(horizon):.1f}" y1="{TOP}" y2="{plane.bottom}"/>'
        f'<line class="grid" x1="{plane.x(0):.1f}" x2="{plane.x(0):.1f}" y1="{TOP}" y2="{plane.bottom}"/>'
        f'<polyline class="median" points="{plane.points(zip(steps, median, strict=True))}"/>'
        f'<polyline class="price" points="{plane.points([*line, (0.0, price)])}"/>'
        f'<circle class="now" cx="{plane.x(0):.1f}" cy="{plane.y(price):.1f}" r="4"/>'
        '<circle class="live" r="5" visibility="hidden"/>'
        f"{_times(plane, forecast.as_of, forecast.granularity)}{_fan_columns(plane, forecast, line, levels)}"
    )
    shades = " and ".join(f"{level} %" for level in sorted(levels))
    label = f"{forecast.coin}: the price up to the last close, then the median and the {shades} intervals."
    as_of_ms, bar_ms = forecast.as_of.timestamp() * 1e3, bar.total_seconds() * 1e3
    scale = (plane.low, plane.high, TOP, plane.bottom, plane.x(0), plane.per_bar, as_of_ms, bar_ms, last)
    data = f' data-coin="{escape(forecast.coin)}" data-scale="{",".join(f"{one:.10g}" for one in scale)}"'
    return _svg(plane, label, inner, data)


def _fan_columns(
    plane: Plane, forecast: CoinForecast, line: Sequence[tuple[float, float]], levels: Sequence[int]
) -> str:
    bar, shown, last = _bar(forecast.granularity), Prices([forecast.price]), forecast.horizons[-1].horizon
    unit = shown.named(forecast.vs)
    columns = [
        (at, f"{_moment(forecast.as_of + at * bar, forecast.granularity)}: {shown(close)} {unit}")
        for at, close in (*line, (0.0, forecast.price))
    ]
    step = max(1, round(last / 60))
    bars = sorted({*range(1, last + 1, step), *(one.horizon for one in forecast.horizons)})
    medians = edge_path(forecast.price, {one.horizon: one.median for one in forecast.horizons}, bars)
    ends = {
        level: [edge_path(forecast.price, interval_edges(forecast, level, upper=side), bars) for side in (False, True)]
        for level in sorted(levels)
    }
    due = {one.horizon: one.target_time for one in forecast.horizons}
    for place, number in enumerate(bars):
        at = due.get(number, forecast.as_of + number * bar)
        spans = [f"{level} % {shown(low[place])} – {shown(high[place])}" for level, (low, high) in ends.items()]
        what = f"in {ahead(number, forecast.granularity)}, {_moment(at, forecast.granularity)}"
        columns.append((float(number), f"{what}: median {shown(medians[place])}, {', '.join(spans)} {unit}"))
    return _columns(plane, columns)


def _track(past: Sequence[TrackedForecast], granularity: str, size: Size) -> str:
    bar, first, levels = _bar(granularity), past[0].target_time, [one.level for one in past[0].intervals]
    places = [(one.target_time - first) / bar for one in past]
    ends = [end for row in past for one in row.intervals for end in (one.lower, one.upper)]
    plane = _plane(size, places[0] - 0.5, places[-1] + 0.5, [*ends, *(row.outcome for row in past)])
    bands = [
        f'<line class="stem s{number}" x1="{plane.x(at):.1f}" x2="{plane.x(at):.1f}"'
        f' y1="{plane.y(one.lower):.1f}" y2="{plane.y(one.upper):.1f}" stroke-width="{width:.1f}"/>'
        for number, level in enumerate(sorted(levels, reverse=True))
        for width in [max(1.0, plane.per_bar * (0.35 + 0.35 * number))]
        for at, row in zip(places, past, strict=True)
        for one in [_interval(row, level)]
    ]
    dots = "".join(_dot(plane.x(at), plane.y(row.outcome), row) for at, row in zip(places, past, strict=True))
    columns = [(at, _said(row, granularity)) for at, row in zip(places, past, strict=True)]
    inner = f"{_prices(plane)}{''.join(bands)}{dots}{_times(plane, first, granularity)}{_columns(plane, columns)}"
    misses = sum(not _held(row) for row in past)
    label = f"{len(past)} past forecasts as intervals, each with the price that came; {misses} fell outside the widest."
    return _svg(plane, label, inner)


def _dot(x: float, y: float, row: TrackedForecast) -> str:
    """A circle inside the widest interval, a cross outside it: not by the colour alone."""
    if _held(row):
        return f'<circle class="hold" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>'
    return f'<path class="miss" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"/>'


def _held(row: TrackedForecast) -> bool:
    widest = max(row.intervals, key=lambda one: one.level)
    return widest.lower <= row.outcome <= widest.upper


def _interval(row: TrackedForecast, level: int) -> Interval:
    return next(one for one in row.intervals if one.level == level)


def _said(row: TrackedForecast, granularity: str) -> str:
    shown = Prices([row.price])
    spans = ", ".join(f"{one.level} % {shown(one.lower)} – {shown(one.upper)}" for one in row.intervals)
    return (
        f"{_moment(row.target_time, granularity)}: {shown(row.outcome)} came;"
        f" {ahead(row.horizon, granularity)} before: {spans}"
    )


def _plane(size: Size, start: float, end: float, prices: Sequence[float]) -> Plane:
    low, high = min(prices), max(prices)
    margin = (high - low) * MARGIN or abs(high) * MARGIN
    return Plane(size, start, end, low - margin, high + margin)


def _prices(plane: Plane) -> str:
    """Lines and labels at round prices."""
    ticks = round_numbers(plane.low, plane.high, plane.size.prices)
    unit = Prices([plane.high]).unit
    step = (ticks[1] - ticks[0]) / unit if len(ticks) > 1 else 1.0
    decimals = next((places for places in range(12) if step * 10**places >= 0.999), 12)
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{plane.right}" y1="{plane.y(tick):.1f}" y2="{plane.y(tick):.1f}"/>'
        f'<text x="{plane.right + 8}" y="{plane.y(tick) + 5:.1f}">{tick / unit:,.{decimals}f}</text>'
        for tick in ticks
    )


def _times(plane: Plane, origin: datetime, granularity: str) -> str:
    """Dates at bars that are evenly apart, and the last close among them."""
    bar, step = _bar(granularity), (plane.end - plane.start) / plane.size.times
    steps = STEPS["daily" if granularity == "daily" else "hourly"]
    whole = next((one for one in steps if one >= step), 2 * steps[-1])
    first = -int(-plane.start // whole) * whole
    while first < plane.start:
        first += whole
    places = [first + whole * number for number in range(int((plane.end - first) // whole) + 1)]
    room = 42.0 if granularity == "daily" else 46.0
    seen = [place for place in places if LEFT + room <= plane.x(place) <= plane.right - room / 3]
    years = [None, *((origin + place * bar).year for place in seen)]
    return "".join(
        f'<text x="{plane.x(place):.1f}" y="{plane.bottom + 22}" text-anchor="middle">'
        f"{_tick(origin + place * bar, granularity, year)}</text>"
        for place, year in zip(seen, years, strict=False)
    )


def _tick(at: datetime, granularity: str, year: int | None) -> str:
    """A time as a label; year: that of the label before it."""
    if granularity == "hourly":
        return f"{at:%d %b %H:%M}"
    return f"{at:%d %b}" if at.year == year else f"{at:%d %b %Y}"


def _columns(plane: Plane, columns: Sequence[tuple[float, str]]) -> str:
    """What can be read off at each bar: a column that is not seen, with its text as a title."""
    middles = [plane.x(at) for at, _ in columns]
    halves = [(one + other) / 2 for one, other in pairwise(middles)]
    starts, ends = [LEFT, *halves], [*halves, plane.right]
    parts = zip(columns, middles, starts, ends, strict=True)
    rects = "".join(
        f'<rect class="hit" data-x="{middle:.1f}" x="{start:.1f}" width="{max(0.0, end - start):.1f}"'
        f' y="{TOP}" height="{plane.bottom - TOP}"><title>{escape(text)}</title></rect>'
        for (_, text), middle, start, end in parts
    )
    return f'<line class="cursor" y1="{TOP}" y2="{plane.bottom}" visibility="hidden"/>{rects}'


def _svg(plane: Plane, label: str, inner: str, data: str = "") -> str:
    size = plane.size
    return (
        f'<svg class="{size.name}" viewBox="0 0 {size.width:g} {size.height:g}" role="img" tabindex="0"'
        f' aria-label="{escape(label)}"{data}>{inner}</svg>'
    )


def _bar(granularity: str) -> timedelta:
    return timedelta(microseconds=BAR_US["hourly" if granularity == "hourly" else "daily"])


def _moment(at: datetime, granularity: str) -> str:
    return f"{at:%Y-%m-%d}" if granularity == "daily" else f"{at:%Y-%m-%d %H:%M} UTC"
