"""The charts: plain values -> Altair, in stand-in colours, without a size or a legend (the page has those).

Each function returns what `drawing.svg` fits into a place of the page. Text that comes from outside, such as the
names of coins and models, is cleaned of what no document may hold.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import altair as alt
import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.evaluation.records import HonestyRecord, PathsRecord, PitRecord, StatedBin
from cryptocast.evaluation.report.colours import COLOURS, SERIES
from cryptocast.evaluation.report.drawing import Plot, Readings, Row, Sketch
from cryptocast.evaluation.report.markup import clean
from cryptocast.evaluation.report.report_data import FeatureShares, ForecastFan
from cryptocast.evaluation.report.words import interval, percent, points, ratio, signed_percent
from cryptocast.evaluation.trading import Curve
from cryptocast.times import EPOCH

SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "stroke")
DASHES = ((1, 0), (7, 3), (2, 3), (9, 3, 2, 3), (4, 2), (1, 2), (12, 4))
# A line of more points than pixels only costs bytes.
MOST_POINTS = 360
MOST_FANS = 5
WIDTHS = (2.8, 2.5, 2.2, 1.9, 1.6, 1.4, 1.2)
MARGIN = 0.04  # of the reach of an axis, at each end
BANDS = (0.95, 0.80, 0.50)
BAND_ROLES = ("band-wide", "band-middle", "band-narrow")
_INK, _MUTED, _ACCENT, _MISS = (COLOURS[role].stand_in for role in ("ink", "muted", "accent", "miss"))
_SERIES = [colour.stand_in for colour in SERIES]
_DOT = {"filled": True, "opacity": 1}


class SkillPoint(NamedTuple):
    """A skill as a share, with the ends of its interval: in the row of a label, in the colour of a model."""

    label: str
    model: str
    value: float | None
    lower: float | None
    upper: float | None

    def words(self) -> str:
        """`lightgbm, 7 days: +0.6% (−0.5% to +1.5%)`."""
        ends = interval(self.lower, self.upper, share=True)
        return clean(f"{self.model}, {self.label}: {signed_percent(self.value)}" + (f" ({ends})" if ends else ""))


def skill(points: Sequence[SkillPoint], models: Sequence[str], *, legend: bool = False) -> Plot:
    """Skill with intervals, a row for each label, and a line where there is none.

    models: decide the colours. A legend for a picture.
    """
    values: list[Row] = [
        {**_estimate(point), "row": clean(point.label), "series": clean(point.model), "label": point.words()}
        for point in points
    ]
    ends = [end for point in points for end in _estimate(point).values() if end is not None]
    series = [clean(model) for model in models]
    drawn = {value["series"] for value in values}
    key = alt.Legend(title=None, orient="top", values=[name for name in series if name in drawn]) if legend else None
    colour, shape = _colour(series, key), alt.Shape("series:N", scale=_scale(series, SHAPES), legend=key)
    labels = list(dict.fromkeys(value["row"] for value in values))
    rows: dict[str, Any] = {
        "y": alt.Y("row:N", sort=labels, title=None, axis=alt.Axis(grid=False, domain=False, labelLimit=120)),
        "yOffset": alt.YOffset("series:N", sort=[name for name in series if name in drawn]),
    }
    across = alt.X("lower:Q", title="skill, %", axis=alt.Axis(tickCount=4, domain=False), scale=_scope([0.0, *ends]))
    sketch = Sketch()
    return sketch.plot(
        _level_at(sketch, 0.0, vertical=True),
        sketch.layer("rule", values, {"strokeWidth": 2}, x=across, x2="upper:Q", color=colour, **rows),
        sketch.labelled("point", values, {**_DOT, "size": 70}, x="value:Q", color=colour, shape=shape, **rows),
    )


def _reach(values: Iterable[float | None], *, is_log: bool = False) -> tuple[float, float]:
    """Where an axis begins and ends, so that it fits its values and leaves a little room."""
    numbers = [value for value in values if value is not None and (value > 0.0 or not is_log)] or [1.0]
    low, high = min(numbers), max(numbers)
    if is_log:
        room = (high / low) ** MARGIN if high > low else 1.0 + MARGIN
        return low / room, high * room
    room = MARGIN * ((high - low) or abs(high) or 1.0)
    return low - room, high + room


def _scope(values: Iterable[float | None]) -> alt.Scale:
    return alt.Scale(domain=list(_reach(values)), nice=False, zero=False)


def _scale_over(readings: Readings) -> alt.Scale:
    kind = {"type": "log"} if readings.is_log else {"type": "linear", "zero": False}
    return alt.Scale(domain=list(readings.y), nice=False, **kind)


def _estimate(point: SkillPoint) -> dict[str, float | None]:
    """In percent: the labels of an axis count in whole numbers better than in shares."""
    return {"value": _percent(point.value), "lower": _percent(point.lower), "upper": _percent(point.upper)}


def _percent(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(100.0 * value, 4)


def _scale(series: Sequence[str], marks: Sequence[Any]) -> alt.Scale:
    """Each series with a mark of its own, over again where they are too few."""
    return alt.Scale(domain=list(series), range=[marks[i % len(marks)] for i in range(len(series))])


def _colour(series: Sequence[str], legend: alt.Legend | None = None) -> alt.Color:
    return alt.Color("series:N", scale=_scale(series, _SERIES), legend=legend)


def _level_at(sketch: Sketch, value: float, *, vertical: bool = False) -> alt.Chart:
    channel = {"x": alt.X("at:Q")} if vertical else {"y": alt.Y("at:Q")}
    return sketch.layer("rule", [{"at": value}], {"color": _MUTED}, **channel)


def fan(drawn: ForecastFan) -> Plot:
    """Closes, and from a few origins the bands over all horizons: origins whose labels do not overlap, if they can."""
    sketch, rows, origins = Sketch(), list[Row](), _apart(drawn)
    at, close = _around(drawn, origins)
    for number, origin in enumerate(origins):
        rows += _opening(drawn, origin, number, at)
    closes: list[Row] = [{"at": t, "price": _finite(c)} for t, c in zip(_milliseconds(at), close.tolist(), strict=True)]
    columns, starts = central_bands(drawn.levels), [row for row in rows if row["start"]]
    # A fan says nothing of its own start.
    forecasts = [row for row in rows if not row["start"]]
    readings = _readings([*closes, *forecasts], {"close": ("price",), **_band_columns(columns)})
    return sketch.plot(
        *_areas(sketch, rows, columns, detail="fan:N"),
        _line(sketch, closes, readings, 4),
        _points(sketch, starts, "issue", size=26),
        readings=readings,
    )


def outlook(drawn: ForecastFan) -> Plot:
    """The closes until now, and from there the bands and the median of the one forecast."""
    sketch, issued, due = Sketch(), drawn.issued_at[0], drawn.due_at[0]
    at, close = _thinned(drawn.closed_at, drawn.close)
    bars = np.arange(issued, due[-1], np.diff(drawn.closed_at).min(initial=due[-1] - issued))
    rows = _opening(drawn, 0, 0, _thinned(bars, bars)[0])
    closes: list[Row] = [{"at": t, "price": _finite(c)} for t, c in zip(_milliseconds(at), close.tolist(), strict=True)]
    medians = drawn.prices[0, :, int(np.abs(drawn.levels - 0.5).argmin())]
    middle = [{"at": t, "median": _finite(m)} for t, m in zip(_milliseconds(due), medians, strict=True)]
    columns = central_bands(drawn.levels)
    names = {"close": ("price",), "median": ("median",), **_band_columns(columns)}
    readings = _readings([*closes, *middle, *rows[1:]], names)
    curve = [closes[-1], *({"at": row["at"], "price": row["median"]} for row in middle)]
    return sketch.plot(
        *_areas(sketch, rows, columns, detail="fan:N"),
        _line(sketch, closes, readings, 5),
        _line(sketch, curve, readings, 5, color=_ACCENT),
        _points(sketch, rows[:1], "issue", size=26),
        readings=readings,
    )


def _band_columns(columns: Iterable[int]) -> dict[str, tuple[str, str]]:
    return {f"{band}% interval": (f"lower{band}", f"upper{band}") for band in columns}


def _readings(rows: Sequence[Row], columns: Mapping[str, Sequence[str]]) -> Readings:
    """What can be read at each time: of several rows of one time, all. columns: by name, the keys of their values."""
    by_time: dict[int, Row] = {}
    for row in rows:
        by_time.setdefault(row["at"], {}).update(row)
    times = sorted(by_time)
    values = {name: [[by_time[at].get(key) for at in times] for key in keys] for name, keys in columns.items()}
    everything = (value for lists in values.values() for one in lists for value in one)
    minutes = [round(at / 60_000) for at in times]
    x = (min(times, default=0) / 60_000, max(times, default=1) / 60_000)
    return Readings(minutes, values, x, _reach(everything))


def _around(drawn: ForecastFan, origins: Sequence[int]) -> tuple[Int64Array, FloatArray]:
    """The closes from a little before the first fan drawn: a third of the time that the fans take."""
    first, last = drawn.issued_at[origins[0]], drawn.due_at[origins[-1], -1]
    keep = np.isfinite(drawn.close) & (drawn.closed_at >= first - (last - first) // 3)
    return _thinned(drawn.closed_at[keep], drawn.close[keep])


def _apart(drawn: ForecastFan) -> list[int]:
    """The last origins whose longest label ended before the next was issued, oldest first."""
    origins: list[int] = []
    for origin in range(len(drawn.issued_at) - 1, -1, -1):
        if not origins or drawn.due_at[origin, -1] <= drawn.issued_at[origins[-1]]:
            origins.append(origin)
        if len(origins) == MOST_FANS:
            break
    return origins[::-1]


def _opening(drawn: ForecastFan, origin: int, number: int, closed_at: Int64Array) -> list[Row]:
    """One fan, from the close at issue on, at its horizons and at closes: in between it widens with the root of the
    time, as prices do."""
    issued, due = drawn.issued_at[origin], drawn.due_at[origin]
    close = float(drawn.close[max(np.searchsorted(drawn.closed_at, issued, side="right") - 1, 0)])
    between = closed_at[(closed_at > issued) & (closed_at < due[-1])]
    times = np.unique(np.concatenate([issued[None], between, due]))
    places, ends_at = (np.sqrt((at - issued) / 1e6) for at in (times, np.append(issued, due)))
    ends = {
        key: np.interp(places, ends_at, np.append(close, drawn.prices[origin, :, column])).tolist()
        for band, columns in central_bands(drawn.levels).items()
        for key, column in zip((f"lower{band}", f"upper{band}"), columns, strict=True)
    }
    return [
        {"at": at, "fan": number, "start": i == 0, "issue": _finite(close)}
        | {key: _finite(values[i]) for key, values in ends.items()}
        for i, at in enumerate(_milliseconds(times))
    ]


def bands(drawn: ForecastFan, column: int) -> Plot:
    """The bands of one horizon at the time they were for, the price that came, and where it left the widest band."""
    sketch, columns = Sketch(), central_bands(drawn.levels)
    due = zip(
        _milliseconds(drawn.due_at[:, column]), drawn.prices[:, column], drawn.outcome[:, column].tolist(), strict=True
    )
    rows = [{"at": at, "price": _finite(outcome), **_ends(prices, columns)} for at, prices, outcome in due]
    readings = _readings(rows, {"actual price": ("price",), **_band_columns(columns)})
    misses = [_is_miss(row, columns) for row in rows]
    inside = [row for row, miss in zip(rows, misses, strict=True) if not miss]
    outside = [row for row, miss in zip(rows, misses, strict=True) if miss]
    return sketch.plot(
        *_areas(sketch, rows, columns),
        _line(sketch, rows, readings, 3),
        _points(sketch, inside, "price", size=22),
        _points(sketch, outside, "price", size=70, color=_MISS, shape="diamond"),
        readings=readings,
    )


def central_bands(levels: FloatArray) -> dict[int, tuple[int, int]]:
    """Up to three central intervals, widest first: in percent, with the columns of their ends.

    Those nearest to 95, 80 and 50 % among the levels that have a mirror image.
    """
    columns = {}
    for lower, level in enumerate(levels):
        upper = np.flatnonzero(np.isclose(levels, 1.0 - level))
        if level < 0.5 and upper.size:
            columns[round(100 * (1.0 - 2.0 * float(level)))] = (lower, int(upper[0]))
    nearest = {min(columns, key=lambda percent: abs(percent - 100 * share)) for share in BANDS if columns}
    return {percent: columns[percent] for percent in sorted(nearest, reverse=True)}


def _ends(prices: FloatArray, columns: Mapping[int, tuple[int, int]]) -> Row:
    lower: Row = {f"lower{band}": _finite(prices[ends[0]]) for band, ends in columns.items()}
    return lower | {f"upper{band}": _finite(prices[ends[1]]) for band, ends in columns.items()}


def _is_miss(row: Row, columns: Mapping[int, tuple[int, int]]) -> bool:
    widest = next(iter(columns), None)
    lower, price, upper = row.get(f"lower{widest}"), row["price"], row.get(f"upper{widest}")
    return None not in (lower, price, upper) and not lower <= price <= upper


def _finite(value: float | np.float64) -> float | None:
    # Seven digits are more than a pixel can show of any price.
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _time_axis(readings: Readings, most: int) -> alt.X:
    """An axis of time in UTC, with a label at the start of every so many months; of days where there are few."""
    first, last = (60_000 * end for end in readings.x)
    months = month_starts(first, last, most)
    axis = alt.Axis(
        grid=False,
        labelOverlap=True,
        labelSeparation=10,
        labelBound=True,
        tickCount=len(months) or 4,
        format="%b ’%y" if months else "%d %b",
        values=months or alt.Undefined,
    )
    return alt.X("at:T", scale=alt.Scale(type="utc", nice=False, domain=[first, last]), title=None, axis=axis)


def month_starts(first: float, last: float, most: int) -> list[int]:
    """At most `most` starts of months inside the span, evenly apart; none where it holds fewer than two."""
    start, end = (EPOCH + timedelta(milliseconds=at) for at in (first, last))
    months = [
        datetime(year, month, 1, tzinfo=UTC) for year in range(start.year, end.year + 1) for month in range(1, 13)
    ]
    for step in (1, 2, 3, 4, 6, 12, 24, 60, 120, 240):
        apart = [at for at in months if start <= at <= end and (12 * at.year + at.month - 1) % step == 0]
        if 2 <= len(apart) <= most:
            return [int((at - EPOCH).total_seconds() * 1000) for at in apart]
    return []


def _areas(sketch: Sketch, rows: list[Row], columns: Mapping[int, tuple[int, int]], **channels: str) -> list[alt.Chart]:
    return [
        sketch.layer(
            "area",
            rows,
            {"color": COLOURS[role].stand_in},
            x=alt.X("at:T"),
            y=alt.Y(f"lower{band}:Q"),
            y2=f"upper{band}:Q",
            **channels,
        )
        for role, band in zip(BAND_ROLES, columns, strict=False)
    ]


def _line(sketch: Sketch, rows: list[Row], readings: Readings, most: int, color: str = _INK) -> alt.Chart:
    top = readings.y[1]
    digits = ",.0f" if top >= 1000 else ",.4~r" if top >= 0.001 else ".3~g"
    axis = alt.Axis(tickCount=4, format=digits, domain=False)
    up = alt.Y("price:Q", title=None, scale=_scale_over(readings), axis=axis)
    style = {"color": color, "strokeWidth": 1.4}
    return sketch.layer("line", rows, style, x=_time_axis(readings, most), y=up)


def _points(sketch: Sketch, rows: list[Row], column: str, *, color: str = _INK, **style: Any) -> alt.Chart:
    style = {**_DOT, "shape": "circle", "color": color, **style}
    return sketch.layer("point", rows, style, x=alt.X("at:T"), y=alt.Y(f"{column}:Q"))


def _milliseconds(at: Int64Array) -> list[int]:
    milliseconds: list[int] = (at // 1000).tolist()
    return milliseconds


def _thinned(at: Int64Array, values: FloatArray, *, deepest: bool = False) -> tuple[Int64Array, FloatArray]:
    """At most MOST_POINTS of them: the last of each bucket, or its lowest."""
    if len(at) <= MOST_POINTS:
        return at, values
    edges = np.linspace(0, len(at), MOST_POINTS + 1).astype(np.int64)
    places = [
        start + int(np.argmin(values[start:end])) if deepest else end - 1 for start, end in pairwise(edges.tolist())
    ]
    # The first point is where the curve starts, whatever the first bucket held.
    keep = np.unique([0, *places])
    return at[keep], values[keep]


def interval_reliability(records: Sequence[HonestyRecord], models: Sequence[str]) -> Plot:
    """Observed minus nominal share of each central interval, with two standard errors; one horizon, all models."""
    values = []
    for record in records:
        for nominal, observed, se in central_intervals(record):
            gap, spread = 100 * (observed - nominal), 200 * se
            label = f"{record.model}, {points(nominal, 0)}% interval: {points(observed)}% ± {points(se)}"
            values.append(_estimated(record, label, round(100 * nominal, 3), gap, gap - spread, gap + spread))
    return _errors(values, models, x="nominal, %", y="points", nudge=1.4)


def central_intervals(record: HonestyRecord) -> list[tuple[float, float, float]]:
    """Nominal share, observed share and its standard error, narrowest first."""
    levels = {round(one.level, 6): one for one in record.levels}
    pairs = [(levels[low], levels[round(1.0 - low, 6)]) for low in sorted(levels, reverse=True) if low < 0.5]
    # The tails' errors are taken as independent: they rarely miss on both sides at once.
    return [(high.level - low.level, high.share - low.share, math.hypot(high.se, low.se)) for low, high in pairs]


def probability_reliability(records: Sequence[HonestyRecord], models: Sequence[str]) -> Plot:
    """Observed share of rises against the stated probability, with intervals; one horizon, all models."""
    values = [
        _estimated(record, _stated(record, one), *(100 * x for x in (one.stated, one.observed, one.lower, one.upper)))
        for record in records
        for one in record.stated
        if one.n
    ]
    probabilities = [value["x"] for value in values] or [0.0, 100.0]
    span = min(probabilities), max(probabilities)
    return _errors(values, models, x="stated, %", y="observed, %", nudge=0.014 * (span[1] - span[0]), diagonal=span)


def _stated(record: HonestyRecord, one: StatedBin) -> str:
    rises = f"{percent(one.observed)} rose ({percent(one.lower)} to {percent(one.upper)})"
    return f"{record.model}, stated {percent(one.stated)}: {rises}"


def _estimated(record: HonestyRecord, label: str, x: float, value: float, lower: float, upper: float) -> Row:
    estimate = {"value": _finite(value), "lower": _finite(lower), "upper": _finite(upper)}
    return {"x": x, "series": clean(record.model), "label": clean(label), **estimate}


def _errors(
    values: list[Row],
    models: Sequence[str],
    *,
    x: str,
    y: str,
    nudge: float,
    diagonal: tuple[float, float] | None = None,
) -> Plot:
    """Points with error bars by series, a little beside each other, and the line where they should lie."""
    sketch, series = Sketch(), [clean(model) for model in models]
    for value in values:
        value["x"] = round(value["x"] + nudge * (series.index(value["series"]) - (len(series) - 1) / 2), 3)
    colour, shape = _colour(series), alt.Shape("series:N", scale=_scale(series, SHAPES), legend=None)
    across = alt.X("x:Q", title=x, scale=alt.Scale(zero=False), axis=alt.Axis(grid=False, tickCount=6))
    ends = [value[end] for value in values for end in ("lower", "upper")]
    reach = _scope([*ends, *(diagonal or (0.0,))])
    up = alt.Y("lower:Q", title=y, scale=reach, axis=alt.Axis(tickCount=5, domain=False))
    if diagonal is None:
        target = _level_at(sketch, 0.0)
    else:
        perfect: list[Row] = [{"x": end, "value": end} for end in diagonal]
        target = sketch.layer("line", perfect, {"color": _MUTED, "strokeWidth": 1}, x="x:Q", y="value:Q")
    return sketch.plot(
        target,
        sketch.layer("rule", values, {"strokeWidth": 1.4}, x=across, y=up, y2="upper:Q", color=colour),
        sketch.labelled("point", values, {**_DOT, "size": 40}, x=across, y="value:Q", color=colour, shape=shape),
    )


def pit(record: PitRecord, colour: int) -> Plot:
    """The share of outcomes in each cell of their forecast distribution, over what it should be."""
    sketch, cells = Sketch(), len(record.shares)
    values = [
        {
            "start": cell / cells,
            "end": (cell + 0.92) / cells,
            "floor": 0,
            "share": _percent(share),
            "label": f"{cell / cells:.2g} to {(cell + 1) / cells:.2g}: {percent(share)}",
        }
        for cell, share in enumerate(record.shares)
    ]
    whole, few = alt.Scale(domain=[0, 1]), alt.Axis(grid=False, tickCount=4)
    across = alt.X("start:Q", title="place in the forecast", scale=whole, axis=few)
    up = alt.Y("share:Q", title="outcomes, %", axis=alt.Axis(tickCount=4, domain=False))
    style = {"color": _SERIES[colour % len(_SERIES)], "opacity": 0.5}
    bars = sketch.labelled("rect", values, style, x=across, x2="end:Q", y=up, y2="floor:Q")
    return sketch.plot(bars, _level_at(sketch, 100.0 / cells if cells else 0.0))


def equity(curves: Sequence[Curve]) -> Plot:
    """Equity by time, on a logarithmic axis where no curve is ruined."""
    ruined = any((curve.equity[np.isfinite(curve.equity)] <= 0.0).any() for curve in curves)
    axis = alt.Axis(tickCount=6, format=".3~g", domain=False)
    return _curves(curves, [curve.equity for curve in curves], axis, is_log=not ruined)


def drawdown(curves: Sequence[Curve]) -> Plot:
    """How far below its highest equity so far each curve is, in percent."""
    falls = [_below_the_top(curve.equity) for curve in curves]
    return _curves(curves, falls, alt.Axis(tickCount=4, domain=False), deepest=True)


def _below_the_top(value: FloatArray) -> FloatArray:
    top = np.fmax.accumulate(value) if value.size else value
    with np.errstate(divide="ignore", invalid="ignore"):
        fall: FloatArray = 100.0 * (value / top - 1.0)
    return fall


def _curves(
    curves: Sequence[Curve],
    values: Sequence[FloatArray],
    axis: alt.Axis,
    *,
    is_log: bool = False,
    deepest: bool = False,
) -> Plot:
    """The curves, and what the last of each bucket of points was, to be read."""
    sketch, names = Sketch(), [clean(curve.name) for curve in curves]
    rows, last = (
        [row for curve, value in zip(curves, values, strict=True) for row in _points_of(curve, value, deepest=lowest)]
        for lowest in (deepest, False)
    )
    by_name = [{"at": row["at"], row["series"]: row["value"]} for row in last]
    reach = _reach([row["value"] for row in rows], is_log=is_log)
    readings = replace(_readings(by_name, {name: (name,) for name in names}), y=reach, is_log=is_log)
    marks = {
        "color": _colour(names),
        "strokeDash": alt.StrokeDash("series:N", scale=_scale(names, [list(dash) for dash in DASHES]), legend=None),
        # The later a curve is drawn, the thinner: where two are one, both are seen.
        "strokeWidth": alt.StrokeWidth("series:N", scale=_scale(names, WIDTHS), legend=None),
    }
    up = alt.Y("value:Q", title=None, scale=_scale_over(readings), axis=axis)
    return sketch.plot(sketch.layer("line", rows, {}, x=_time_axis(readings, 7), y=up, **marks), readings=readings)


def _points_of(curve: Curve, values: FloatArray, *, deepest: bool) -> list[Row]:
    keep = np.isfinite(values)
    at, drawn = _thinned(curve.close_time[keep], values[keep], deepest=deepest)
    points = zip(_milliseconds(at), drawn.tolist(), strict=True)
    return [{"at": t, "value": float(f"{v:.5g}"), "series": clean(curve.name)} for t, v in points]


def paths(record: PathsRecord) -> Plot:
    """How the Sharpe ratios of the combinatorial paths are spread: one bar a bin, zero and the median marked."""
    sketch, ratios = Sketch(), np.array([ratio for ratio in record.sharpe if ratio is not None])
    counts, edges = np.histogram(ratios, bins=min(16, max(4, round(math.sqrt(ratios.size or 1)))))
    values = [
        {
            "start": start,
            "end": end - 0.06 * (end - start),
            "count": count,
            "floor": 0,
            "label": f"{ratio(start)} to {ratio(end)}: {count} paths",
        }
        for (start, end), count in zip(pairwise(edges.tolist()), counts.tolist(), strict=True)
    ]
    across = alt.X("start:Q", title="annual Sharpe ratio", axis=alt.Axis(grid=False, tickCount=5))
    up = alt.Y("count:Q", title="paths", axis=alt.Axis(tickCount=4, tickMinStep=1, domain=False))
    style = {"color": _ACCENT, "opacity": 0.5}
    layers = [
        sketch.labelled("rect", values, style, x=across, x2="end:Q", y=up, y2="floor:Q"),
        _level_at(sketch, 0.0, vertical=True),
    ]
    if ratios.size:
        median = [{"at": float(np.median(ratios))}]
        layers.append(sketch.layer("rule", median, {"color": _INK, "strokeWidth": 2}, x="at:Q"))
    return sketch.plot(*layers)


def importance(model: FeatureShares, most: int) -> Plot:
    """The features that are worth most, as bars."""
    sketch = Sketch()
    rows: list[Row] = [
        {"feature": clean(name), "share": _percent(share), "label": clean(f"{name}: {percent(share)}")}
        for name, share in model.features[:most]
    ]
    names = [row["feature"] for row in rows]
    across = alt.X("share:Q", title="share, %", axis=alt.Axis(tickCount=4, domain=False))
    axis = alt.Axis(grid=False, domain=False, labelLimit=150)
    up = alt.Y("feature:N", sort=names, title=None, axis=axis)
    return sketch.plot(sketch.labelled("bar", rows, {"color": _ACCENT, "height": {"band": 0.6}}, x=across, y=up))
