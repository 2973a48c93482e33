"""The charts: plain values -> Altair, in stand-in colours, without a size or a legend (the page has those).

Each function returns what `drawing.Drawer` fits into a place of the page. Text that comes from outside, such as the
names of coins and models, is cleaned of what no document may hold.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import altair as alt
import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.evaluation.records import HonestyRecord, PathsRecord, PitRecord
from cryptocast.evaluation.report.colours import COLOURS, SERIES
from cryptocast.evaluation.report.drawing import Plot, Row, Sketch
from cryptocast.evaluation.report.markup import clean
from cryptocast.evaluation.report.report_data import Fan, Importance
from cryptocast.evaluation.report.words import EPOCH
from cryptocast.evaluation.trading import Curve

__all__ = [
    "DASHES",
    "SHAPES",
    "SkillPoint",
    "bands",
    "bands_shown",
    "central_intervals",
    "drawdown",
    "equity",
    "fan",
    "importance",
    "interval_reliability",
    "month_starts",
    "paths",
    "pit",
    "probability_reliability",
    "skill",
]

SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "stroke")
DASHES = ((1, 0), (7, 3), (2, 3), (9, 3, 2, 3), (4, 2), (1, 2), (12, 4))
# A line of more points than pixels only costs bytes.
MOST_POINTS = 360
MOST_FANS = 5
WANTED_BANDS = (0.95, 0.80, 0.50)
BAND_ROLES = ("band-wide", "band-middle", "band-narrow")
_INK, _MUTED, _ACCENT, _MISS = (COLOURS[role].stand_in for role in ("ink", "muted", "accent", "miss"))
_SERIES = [colour.stand_in for colour in SERIES]
_UTC = alt.Scale(type="utc", nice=False)


class SkillPoint(NamedTuple):
    """A skill as a share, with the ends of its interval: in the row of a label, in the colour of a model."""

    label: str
    model: str
    value: float | None
    lower: float | None
    upper: float | None


def skill(
    points: Sequence[SkillPoint], models: Sequence[str], *, range_of: Sequence[SkillPoint] = (), legend: bool = False
) -> Plot:
    """Skill with intervals, a row for each label; models in their places among `models`.

    range_of: the axis reaches as far as these do. A legend for a picture.
    """
    values: list[Row] = [
        {**_estimate(point), "row": clean(point.label), "series": clean(point.model)} for point in points
    ]
    ends = [end for point in range_of for end in _estimate(point).values() if isinstance(end, float)]
    series = [clean(model) for model in models]
    shown = {str(value["series"]) for value in values}
    return _forest(
        values,
        list(dict.fromkeys(str(value["row"]) for value in values)),
        [name for name in series if name in shown],
        among=series,
        domain=[min([0.0, *ends]), max([0.0, *ends])] if ends else None,
        legend=legend,
    )


def _estimate(point: SkillPoint) -> Row:
    """In percent: the labels of an axis count in whole numbers better than in shares."""
    return {key: _percent(getattr(point, key)) for key in ("value", "lower", "upper")}


def _percent(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(100.0 * value, 4)


def _forest(
    values: list[Row],
    labels: list[str],
    series: list[str],
    *,
    among: Sequence[str] = (),
    domain: list[float] | None = None,
    legend: bool = False,
) -> Plot:
    """A row for each label, a point with its interval for each series, and a line where there is no skill."""
    sketch = Sketch()
    y = alt.Y("row:N", sort=labels, title=None, axis=alt.Axis(grid=False, domain=False, labelLimit=120))
    offset = alt.YOffset("series:N", sort=series)
    key = alt.Legend(title=None, orient="top") if legend else None
    known = list(among or series)
    colour = alt.Color("series:N", scale=alt.Scale(domain=known, range=_cycled(_SERIES, len(known))), legend=key)
    shape = alt.Shape("series:N", scale=alt.Scale(domain=known, range=_cycled(SHAPES, len(known))), legend=key)
    x_axis = alt.Axis(tickCount=4, domain=False)
    scale = alt.Scale(domain=domain, nice=True) if domain else alt.Scale(nice=True)
    lines = (
        sketch.of(values)
        .mark_rule(strokeWidth=2, aria=False)
        .encode(
            x=alt.X("lower:Q", title="skill, %", axis=x_axis, scale=scale),
            x2="upper:Q",
            y=y,
            yOffset=offset,
            color=colour,
        )
    )
    dots = (
        sketch.of(values)
        .mark_point(filled=True, size=70, opacity=1, aria=False)
        .encode(x="value:Q", y=y, yOffset=offset, color=colour, shape=shape)
    )
    return sketch.plot(_level_at(sketch, 0.0, vertical=True), lines, dots)


def _cycled(values: Sequence[str], count: int) -> list[str]:
    return [values[i % len(values)] for i in range(count)]


def _level_at(sketch: Sketch, value: float, *, vertical: bool = False) -> alt.Chart:
    channel = alt.X("at:Q") if vertical else alt.Y("at:Q")
    line: alt.Chart = sketch.of([{"at": value}]).mark_rule(color=_MUTED, aria=False).encode(channel)
    return line


def fan(shown: Fan) -> Plot:
    """Closes, and from a few origins the bands over all horizons: origins whose labels do not overlap, if they can."""
    sketch, rows = Sketch(), list[Row]()
    origins = _apart(shown)
    for number, origin in enumerate(origins):
        rows += _opening(shown, origin, number)
    layers = [
        _area(sketch, rows, role, f"{kept}").encode(detail="fan:N")
        for role, kept in zip(BAND_ROLES, bands_shown(shown.levels), strict=False)
    ]
    at, close = _around(shown, origins)
    closes: list[Row] = [{"at": t, "price": c} for t, c in zip(_milliseconds(at), close, strict=True)]
    line = _line(sketch, closes, shown, _times([*rows, *closes]), 4)
    starts = _points(sketch, [row for row in rows if row["start"]], "issue", size=26, colour=_INK)
    return sketch.plot(*layers, line, starts)


def _around(shown: Fan, origins: Sequence[int]) -> tuple[Int64Array, list[float | None]]:
    """The closes from a little before the first fan drawn: a third of the time that the fans take."""
    first, last = shown.issued_at[origins[0]], shown.due_at[origins[-1], -1]
    keep = np.isfinite(shown.close) & (shown.closed_at >= first - (last - first) // 3)
    at, close = _thinned(shown.closed_at[keep], shown.close[keep])
    return at, [_finite(price) for price in close.tolist()]


def _apart(shown: Fan) -> list[int]:
    """The last origins whose longest label ended before the next was issued, oldest first."""
    chosen: list[int] = []
    for origin in range(len(shown.issued_at) - 1, -1, -1):
        if not chosen or shown.due_at[origin, -1] <= shown.issued_at[chosen[-1]]:
            chosen.append(origin)
        if len(chosen) == MOST_FANS:
            break
    return chosen[::-1]


def _opening(shown: Fan, origin: int, number: int) -> list[Row]:
    """The corners of one fan: a point at issue, then each band at each horizon."""
    position = np.searchsorted(shown.closed_at, shown.issued_at[origin], side="right") - 1
    close = float(shown.close[max(position, 0)])
    bands = bands_shown(shown.levels)
    issued = _milliseconds(shown.issued_at[origin : origin + 1])[0]
    flat = {name: close for kept in bands for name in (f"lower{kept}", f"upper{kept}")}
    rows: list[Row] = [{"at": issued, "fan": number, "start": True, "issue": close, **flat}]
    for at, prices in zip(_milliseconds(shown.due_at[origin]), shown.prices[origin], strict=True):
        rows.append({"at": at, "fan": number, "start": False, **_ends(prices, bands)})
    return rows


def bands(shown: Fan, column: int) -> Plot:
    """The bands of one horizon at the time they were for, the price that came, and where it left the widest band."""
    sketch, kept, rows = Sketch(), bands_shown(shown.levels), list[Row]()
    for at, prices, outcome in zip(
        _milliseconds(shown.due_at[:, column]), shown.prices[:, column], shown.outcome[:, column], strict=True
    ):
        rows.append({"at": at, "price": _finite(outcome), **_ends(prices, kept)})
    layers = [_area(sketch, rows, role, f"{band}") for role, band in zip(BAND_ROLES, kept, strict=False)]
    line = _line(sketch, rows, shown, _times(rows), 3)
    inside = _points(sketch, [row for row in rows if not _missed(row, kept)], "price", size=22, colour=_INK)
    missed = [row for row in rows if _missed(row, kept)]
    outside = _points(sketch, missed, "price", size=70, colour=_MISS, shape="diamond")
    return sketch.plot(*layers, line, inside, outside)


def bands_shown(levels: FloatArray) -> dict[int, tuple[int, int]]:
    """Up to three central intervals, widest first: in percent, with the columns of their ends.

    Those nearest to 95, 80 and 50 % among the levels that have a mirror image.
    """
    found = {}
    for lower, level in enumerate(levels):
        upper = np.flatnonzero(np.isclose(levels, 1.0 - level))
        if level < 0.5 and upper.size:
            found[round(100 * (1.0 - 2.0 * float(level)))] = (lower, int(upper[0]))
    chosen = {min(found, key=lambda percent: abs(percent - 100 * wanted)) for wanted in WANTED_BANDS if found}
    return {percent: found[percent] for percent in sorted(chosen, reverse=True)}


def _ends(prices: FloatArray, kept: Mapping[int, tuple[int, int]]) -> Row:
    lower: Row = {f"lower{band}": _finite(prices[ends[0]]) for band, ends in kept.items()}
    return lower | {f"upper{band}": _finite(prices[ends[1]]) for band, ends in kept.items()}


def _missed(row: Row, kept: Mapping[int, tuple[int, int]]) -> bool:
    price, widest = row["price"], next(iter(kept), None)
    if widest is None or not isinstance(price, float):
        return False
    lower, upper = row[f"lower{widest}"], row[f"upper{widest}"]
    return isinstance(lower, float) and isinstance(upper, float) and not lower <= price <= upper


def _finite(value: float | np.float64) -> float | None:
    # Seven digits are more than a pixel can show of any price.
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _time_axis(milliseconds: Sequence[float], most: int) -> alt.X:
    """An axis of time in UTC, with a label at the start of every so many months; of days where there are few."""
    months = month_starts(min(milliseconds), max(milliseconds), most) if milliseconds else []
    axis = alt.Axis(
        grid=False,
        labelOverlap=True,
        labelBound=True,
        tickCount=4,
        format="%b ’%y" if months else "%d %b",
        values=months or alt.Undefined,
    )
    return alt.X("at:T", scale=_UTC, title=None, axis=axis)


def month_starts(first: float, last: float, most: int) -> list[int]:
    """At most `most` starts of months inside the span, evenly apart; none where it holds fewer than two."""
    start, end = (EPOCH + timedelta(milliseconds=at) for at in (first, last))
    months = [
        (year, month)
        for year in range(start.year, end.year + 1)
        for month in range(1, 13)
        if start <= datetime(year, month, 1, tzinfo=UTC) <= end
    ]
    for step in (1, 2, 3, 4, 6, 12, 24, 60, 120, 240):
        kept = [(year, month) for year, month in months if (12 * year + month - 1) % step == 0]
        if 2 <= len(kept) <= most:
            return [int((datetime(year, month, 1, tzinfo=UTC) - EPOCH).total_seconds() * 1000) for year, month in kept]
    return []


def _times(rows: Sequence[Row]) -> list[float]:
    return [float(row["at"]) for row in rows if isinstance(row["at"], (int, float))]


def _price_axis(shown: Fan, field: str) -> alt.Y:
    top = float(np.nanmax(shown.close)) if shown.close.size and np.isfinite(shown.close).any() else 1.0
    written = ",.0f" if top >= 1000 else ",.4~r" if top >= 0.001 else ".3~g"
    return alt.Y(
        f"{field}:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4, format=written, domain=False)
    )


def _area(sketch: Sketch, rows: list[Row], role: str, band: str) -> alt.Chart:
    area: alt.Chart = (
        sketch.of(rows)
        .mark_area(color=COLOURS[role].stand_in, aria=False)
        .encode(x=alt.X("at:T"), y=alt.Y(f"lower{band}:Q"), y2=f"upper{band}:Q")
    )
    return area


def _line(sketch: Sketch, rows: list[Row], shown: Fan, times: Sequence[float], most: int) -> alt.Chart:
    line: alt.Chart = (
        sketch.of(rows)
        .mark_line(color=_INK, strokeWidth=1.4, aria=False)
        .encode(x=_time_axis(times, most), y=_price_axis(shown, "price"))
    )
    return line


def _points(sketch: Sketch, rows: list[Row], field: str, *, size: int, colour: str, shape: str = "circle") -> alt.Chart:
    points: alt.Chart = (
        sketch.of(rows)
        .mark_point(filled=True, opacity=1, size=size, color=colour, shape=shape, aria=False)
        .encode(x=alt.X("at:T"), y=alt.Y(f"{field}:Q"))
    )
    return points


def _milliseconds(at: Int64Array) -> list[int]:
    milliseconds: list[int] = (at // 1000).tolist()
    return milliseconds


def _thinned(at: Int64Array, values: FloatArray, *, deepest: bool = False) -> tuple[Int64Array, FloatArray]:
    """At most MOST_POINTS of them: the last of each bucket, or its lowest."""
    if len(at) <= MOST_POINTS:
        return at, values
    edges = np.linspace(0, len(at), MOST_POINTS + 1).astype(np.int64)
    picked = [
        start + int(np.argmin(values[start:end])) if deepest else end - 1 for start, end in pairwise(edges.tolist())
    ]
    # The first point is where the curve starts, whatever the first bucket held.
    kept = np.unique([0, *picked])
    return at[kept], values[kept]


def interval_reliability(records: Sequence[HonestyRecord], models: Sequence[str]) -> Plot:
    """Observed minus nominal share of each central interval, with two standard errors; one horizon, all models."""
    values: list[Row] = []
    for record in records:
        for nominal, observed, se in central_intervals(record):
            gap, spread = 100 * (observed - nominal), 200 * se
            values.append(
                {
                    "x": round(100 * nominal, 3),
                    "value": _finite(gap),
                    "lower": _finite(gap - spread),
                    "upper": _finite(gap + spread),
                    "series": clean(record.model),
                }
            )
    return _errors(values, models, x="nominal, %", y="points", nudge=1.4)


def central_intervals(record: HonestyRecord) -> list[tuple[float, float, float]]:
    """Nominal share, observed share and its standard error, narrowest first."""
    levels = {round(one.level, 6): one for one in record.levels}
    pairs = [(levels[low], levels[round(1.0 - low, 6)]) for low in sorted(levels, reverse=True) if low < 0.5]
    # The tails' errors are taken as independent: they rarely miss on both sides at once.
    return [(high.level - low.level, high.share - low.share, math.hypot(high.se, low.se)) for low, high in pairs]


def probability_reliability(records: Sequence[HonestyRecord], models: Sequence[str]) -> Plot:
    """Observed share of rises against the stated probability, with intervals; one horizon, all models."""
    values: list[Row] = [
        {
            "x": 100 * one.stated,
            "value": _finite(100 * one.observed),
            "lower": _finite(100 * one.lower),
            "upper": _finite(100 * one.upper),
            "series": clean(record.model),
        }
        for record in records
        for one in record.stated
        if one.n
    ]
    seen = [float(v["x"]) for v in values if isinstance(v["x"], float)] or [0.0, 100.0]
    return _errors(
        values,
        models,
        x="stated, %",
        y="observed, %",
        nudge=0.014 * (max(seen) - min(seen)),
        diagonal=(min(seen), max(seen)),
    )


def _errors(
    values: list[Row],
    models: Sequence[str],
    *,
    x: str,
    y: str,
    nudge: float = 0.0,
    diagonal: tuple[float, float] | None = None,
) -> Plot:
    """Points with error bars by series, a little beside each other, and the line where they should lie."""
    sketch, series = Sketch(), [clean(model) for model in models]
    for value in values:
        place = series.index(str(value["series"])) - (len(series) - 1) / 2 if value["series"] in series else 0.0
        value["x"] = round(float(value["x"] or 0.0) + nudge * place, 3)
    colour = alt.Color("series:N", scale=alt.Scale(domain=series, range=_cycled(_SERIES, len(series))), legend=None)
    shape = alt.Shape("series:N", scale=alt.Scale(domain=series, range=_cycled(SHAPES, len(series))), legend=None)
    across = alt.X("x:Q", title=x, scale=alt.Scale(zero=False), axis=alt.Axis(grid=False, tickCount=6))
    up = alt.Y("lower:Q", title=y, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5, domain=False))
    bars = sketch.of(values).mark_rule(strokeWidth=1.4, aria=False).encode(x=across, y=up, y2="upper:Q", color=colour)
    dots = (
        sketch.of(values)
        .mark_point(filled=True, size=40, opacity=1, aria=False)
        .encode(x=across, y=alt.Y("value:Q"), color=colour, shape=shape)
    )
    return sketch.plot(_level_at(sketch, 0.0) if diagonal is None else _diagonal(sketch, *diagonal), bars, dots)


def _diagonal(sketch: Sketch, start: float, end: float) -> alt.Chart:
    line: alt.Chart = (
        sketch.of([{"x": start, "value": start}, {"x": end, "value": end}])
        .mark_line(color=_MUTED, strokeWidth=1, aria=False)
        .encode(x="x:Q", y="value:Q")
    )
    return line


def pit(shown: PitRecord, colour: int) -> Plot:
    """The share of outcomes in each cell of their forecast distribution, over what it should be."""
    sketch, cells = Sketch(), len(shown.shares)
    values: list[Row] = [
        {"start": cell / cells, "end": (cell + 0.92) / cells, "floor": 0, "share": _percent(share)}
        for cell, share in enumerate(shown.shares)
    ]
    across = alt.X(
        "start:Q", title="place in the forecast", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(grid=False, tickCount=4)
    )
    up = alt.Y("share:Q", title="outcomes, %", axis=alt.Axis(tickCount=4, domain=False))
    bars = (
        sketch.of(values)
        .mark_rect(color=_SERIES[colour % len(_SERIES)], opacity=0.5, aria=False)
        .encode(x=across, x2="end:Q", y=up, y2="floor:Q")
    )
    return sketch.plot(bars, _level_at(sketch, 100.0 / cells if cells else 0.0))


def equity(curves: Sequence[Curve]) -> Plot:
    """Equity by time, on a logarithmic axis where no curve is ruined."""
    ruined = any((curve.equity[np.isfinite(curve.equity)] <= 0.0).any() for curve in curves)
    scale = alt.Scale(type="linear" if ruined else "log", zero=False, nice=False)
    axis = alt.Axis(tickCount=6, format=".3~g", domain=False)
    return _curves(curves, [curve.equity for curve in curves], alt.Y("value:Q", title=None, scale=scale, axis=axis))


def drawdown(curves: Sequence[Curve]) -> Plot:
    """How far below its highest equity so far each curve is, in percent."""
    fallen = [_below_the_top(curve.equity) for curve in curves]
    axis = alt.Axis(tickCount=4, domain=False)
    return _curves(curves, fallen, alt.Y("value:Q", title=None, axis=axis), deepest=True)


def _below_the_top(value: FloatArray) -> FloatArray:
    top = np.fmax.accumulate(value) if value.size else value
    with np.errstate(divide="ignore", invalid="ignore"):
        fallen: FloatArray = 100.0 * (value / top - 1.0)
    return fallen


def _curves(curves: Sequence[Curve], values: Sequence[FloatArray], y: alt.Y, *, deepest: bool = False) -> Plot:
    sketch, rows = Sketch(), list[Row]()
    for curve, value in zip(curves, values, strict=True):
        known = np.isfinite(value)
        at, kept = _thinned(curve.close_time[known], value[known], deepest=deepest)
        rows += [
            {"at": t, "value": float(f"{v:.5g}"), "series": clean(curve.name)}
            for t, v in zip(_milliseconds(at), kept.tolist(), strict=True)
        ]
    names = [clean(curve.name) for curve in curves]
    count = len(names)
    colour = alt.Color("series:N", scale=alt.Scale(domain=names, range=_cycled(_SERIES, count)), legend=None)
    dashes = [list(DASHES[i % len(DASHES)]) for i in range(count)]
    dash = alt.StrokeDash("series:N", scale=alt.Scale(domain=names, range=dashes), legend=None)
    return sketch.plot(
        sketch.of(rows)
        .mark_line(strokeWidth=1.8, aria=False)
        .encode(x=_time_axis(_times(rows), 5), y=y, color=colour, strokeDash=dash)
    )


def paths(shown: PathsRecord) -> Plot:
    """How the Sharpe ratios of the combinatorial paths are spread: one bar a bin, zero and the median marked."""
    sketch, known = Sketch(), np.array([ratio for ratio in shown.sharpe if ratio is not None])
    counts, edges = np.histogram(known, bins=min(16, max(4, round(math.sqrt(known.size or 1)))))
    values: list[Row] = [
        {"start": float(start), "end": float(end - 0.06 * (end - start)), "count": int(count), "floor": 0}
        for start, end, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    bars = (
        sketch.of(values)
        .mark_rect(color=_ACCENT, opacity=0.5, aria=False)
        .encode(
            x=alt.X("start:Q", title="annual Sharpe ratio", axis=alt.Axis(grid=False, tickCount=5)),
            x2="end:Q",
            y=alt.Y("count:Q", title="paths", axis=alt.Axis(tickCount=4, tickMinStep=1, domain=False)),
            y2="floor:Q",
        )
    )
    layers = [bars, _level_at(sketch, 0.0, vertical=True)]
    if known.size:
        median = sketch.of([{"at": float(np.median(known))}])
        layers.append(median.mark_rule(color=_INK, strokeWidth=2, aria=False).encode(x="at:Q"))
    return sketch.plot(*layers)


def importance(shown: Importance, most: int) -> Plot:
    """The features that are worth most, as bars."""
    sketch = Sketch()
    rows: list[Row] = [{"feature": clean(name), "share": _percent(share)} for name, share in shown.features[:most]]
    names = [str(row["feature"]) for row in rows]
    return sketch.plot(
        sketch.of(rows)
        .mark_bar(color=_ACCENT, aria=False, height={"band": 0.6})
        .encode(
            x=alt.X("share:Q", title="share, %", axis=alt.Axis(tickCount=4, domain=False)),
            y=alt.Y("feature:N", sort=names, title=None, axis=alt.Axis(grid=False, domain=False, labelLimit=150)),
        )
    )
