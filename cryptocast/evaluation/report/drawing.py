"""Charts -> SVG that can stand inside the page, or PNG. The only place that draws, and it never asks the network."""

import json
import re
import xml.etree.ElementTree as ET  # of text that the renderer made from our own specification, never of a download
import zlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import altair as alt
import vl_convert

from cryptocast.evaluation.report.colours import COLOURS, in_light, in_page
from cryptocast.evaluation.report.markup import Html, clean, tag

Row: TypeAlias = dict[str, Any]

FONT_SIZE = 14
_INK, _MUTED, _LINE = (COLOURS[role].stand_in for role in ("ink", "muted", "line"))
CONFIG = {
    "background": None,
    "font": "sans-serif",
    "padding": 2,
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": FONT_SIZE,
        "titleFontSize": FONT_SIZE,
        "titleFontWeight": "normal",
        "labelColor": _MUTED,
        "titleColor": _MUTED,
        "gridColor": _LINE,
        "domainColor": _LINE,
        "tickColor": _LINE,
        "labelPadding": 6,
        "titlePadding": 8,
        "ticks": False,
        "labelFlush": False,
    },
    "title": {"color": _INK, "subtitleColor": _MUTED, "fontSize": 17, "subtitleFontSize": 14, "anchor": "start"},
    "legend": {"labelFontSize": FONT_SIZE, "labelColor": _INK, "symbolSize": 70},
    "aria": False,
}

# What the drawing says for other scripts and readers, and what the style sheet of the page says.
_DROPPED = frozenset(
    {"aria-hidden", "aria-label", "aria-roledescription", "role", "pointer-events", "class", "version"}
)
_FONTS = frozenset({"font-family", "font-size"})
_DEFAULTS = frozenset({("opacity", "1"), ("stroke-width", "1"), ("x2", "0"), ("y2", "0")})
_DECIMAL = re.compile(r"(?:\.0|(\.\d))\d*")  # a tenth of a pixel is enough
_NUMBER = re.compile(r"[\d.]+")


@dataclass(frozen=True, slots=True)
class Readings:
    """What the script of the page reads off a chart over time, and needs to show a part of it.

    at: minutes since 1970, increasing; columns: by name, the values at those times, or those of the two ends of an
    interval; x in minutes, y: the ends of the axes; is_log: of the y axis.
    """

    at: Sequence[int]
    columns: Mapping[str, Sequence[Sequence[float | None]]]
    x: tuple[float, float]
    y: tuple[float, float]
    is_log: bool = False

    def json(self) -> str:
        """In as few characters as will do: the page shows four digits of a number."""
        columns = [[name, *([*map(_short, one)] for one in values)] for name, values in self.columns.items()]
        steps = [later - earlier for earlier, later in pairwise([0, *self.at])]
        values = {"steps": steps, "columns": columns, "x": self.x, "y": self.y, "log": self.is_log}
        return json.dumps(values, separators=(",", ":"))


def _short(value: float | None) -> float | None:
    rounded = None if value is None else float(f"{value:.6g}")
    return int(rounded) if rounded is not None and rounded.is_integer() else rounded


@dataclass(frozen=True, slots=True)
class Plot:
    """A chart, and the rows of its layers by the names that it calls them. readings: of a chart over time.

    Altair checks and copies every value that it is given, which takes far longer than drawing them: it gets names.
    """

    chart: alt.LayerChart | alt.FacetChart
    rows: dict[str, list[Row]]
    readings: Readings | None = None

    @property
    def labels(self) -> str:
        """What its marks say, one after the other."""
        return "; ".join(dict.fromkeys(row["label"] for rows in self.rows.values() for row in rows if "label" in row))

    def spec(self, **properties: Any) -> dict[str, Any]:
        """The specification with its rows; properties as Altair's: width, height, title."""
        return {**self.chart.properties(**properties).to_dict(validate=False), "datasets": self.rows}


@dataclass(slots=True)
class Sketch:
    """Collects the rows of the layers of one plot."""

    rows: dict[str, list[Row]] = field(default_factory=dict)

    def layer(self, mark: str, rows: list[Row], style: dict[str, Any], **channels: Any) -> alt.Chart:
        """Marks of one kind, such as `point`, of these rows. The same rows are kept once."""
        name = next((name for name, earlier in self.rows.items() if earlier is rows), f"rows-{len(self.rows)}")
        self.rows[name] = rows
        chart = getattr(alt.Chart(alt.NamedData(name=name)), f"mark_{mark}")(**{"aria": False, **style})
        encoded: alt.Chart = chart.encode(**channels)
        return encoded

    def labelled(self, mark: str, rows: list[Row], style: dict[str, Any], **channels: Any) -> alt.Chart:
        """The same of marks each of which says what its row holds as `label`."""
        return self.layer(mark, rows, {"aria": True, **style}, description="label:N", **channels)

    def plot(self, *layers: alt.Chart, readings: Readings | None = None) -> Plot:
        """The layers above one another, the first at the bottom."""
        return Plot(alt.layer(*layers), self.rows, readings)


def svg(plot: Plot, *, title: str, description: str, width: int, height: int) -> Html:
    """The plot as an SVG element, width x height including its axes, scaling to the width of its place.

    title and description are what a screen reader says of it. Its marks say by themselves what they show.
    """
    fit = alt.AutoSizeParams(type="fit", contains="padding")
    spec = plot.spec(width=width, height=height, autosize=fit)
    text = vl_convert.vegalite_to_svg(spec, config=CONFIG, allowed_base_urls=[])
    root = ET.fromstring(text)  # noqa: S314 - made by us, one line above
    return _embedded(root, _name_of(title, description, text), title, description, _DROPPED | _FONTS)


def _name_of(title: str, description: str, text: str) -> str:
    """What it shows names it, so that no identifier is given twice."""
    return f"c{zlib.crc32(f'{title} {description} {text}'.encode(errors='replace')):08x}"


def png(plots: Sequence[tuple[Plot, dict[str, Any]]], *, title: str, subtitle: list[str]) -> bytes:
    """The plots below one another, each with its properties, as a PNG in the light colours at two pixels a point."""
    spec, config = _stacked(plots, title, subtitle)
    return vl_convert.vegalite_to_png(spec, config=config, scale=2, allowed_base_urls=[])


def light_svg(
    plots: Sequence[tuple[Plot, dict[str, Any]]], *, title: str, subtitle: list[str], description: str
) -> Html:
    """The same as an SVG element: a file by itself, or a part of a page whose colours are unknown."""
    spec, config = _stacked(plots, title, subtitle)
    text = vl_convert.vegalite_to_svg(spec, config=config, allowed_base_urls=[])
    root = ET.fromstring(text)  # noqa: S314 - made by us, one line above
    size = {key: root.attrib[key] for key in ("width", "height")}
    drawn = _embedded(root, _name_of(title, description, text), title, description)
    shown = tag("svg", xmlns="http://www.w3.org/2000/svg", style="max-width:100%;height:auto", **size)
    return Html(drawn.replace("<svg", shown.removesuffix("></svg>"), 1))


def _stacked(
    plots: Sequence[tuple[Plot, dict[str, Any]]], title: str, subtitle: list[str]
) -> tuple[str, dict[str, Any]]:
    """A specification of them all, in JSON, and its configuration."""
    stacked = [_renamed(plot.spec(**properties), i) for i, (plot, properties) in enumerate(plots)]
    spec = {
        "$schema": stacked[0]["$schema"],
        "title": {"text": title, "subtitle": subtitle, "fontSize": 21, "offset": 22},
        "vconcat": [{key: value for key, value in one.items() if key not in {"$schema", "config"}} for one in stacked],
        "spacing": 32,
        "resolve": {"scale": {"color": "independent", "shape": "independent"}},
    }
    config: dict[str, Any] = in_light({**CONFIG, "background": COLOURS["paper"].light, "padding": 28})
    return json.dumps(in_light(spec)), config


def _renamed(spec: dict[str, Any], number: int) -> dict[str, Any]:
    """The specification with its rows inside its layers: names of two charts would meet."""
    rows = spec.pop("datasets")
    layers = [
        {**layer, "data": {"values": rows[(layer.get("data") or spec["data"])["name"]]}} for layer in spec["layer"]
    ]
    return {**{key: value for key, value in spec.items() if key != "data"}, "layer": layers, "name": f"chart-{number}"}


def _embedded(root: ET.Element, name: str, title: str, description: str, dropped: Container[str] = _DROPPED) -> Html:
    """The drawing as an element of the page: in its colours, with identifiers of its own, scaling to its place."""
    frame = _frame(root)
    for element in list(root.iter()):
        _trim(element)
        element.tag = element.tag.partition("}")[2] or element.tag
        label, is_axis = element.get("aria-label"), "role-axis" in element.get("class", "").split()
        rest = (item for item in element.items() if item[0] not in dropped and item not in _DEFAULTS)
        element.attrib = {key: _shown(key, text, name) for key, text in rest}
        if is_axis:
            element.set("class", "axis")
        if label:
            # Browsers show it to a pointer without a script.
            ET.SubElement(element, "title").text = label
    words = ET.Element("desc", {"id": f"{name}-desc"})
    words.text = clean(description)
    root.insert(0, words)
    del root.attrib["width"], root.attrib["height"]
    labels = {"aria-label": clean(title), "aria-describedby": f"{name}-desc"}
    root.attrib |= {"role": "img", **labels, "data-frame": frame}
    return Html(ET.tostring(root, encoding="unicode"))


def _trim(element: ET.Element) -> None:
    """Without the empty shapes that stand before and behind every group."""
    for shape in element.findall("*"):
        if shape.get("class") in {"background", "foreground"}:
            element.remove(shape)


def _frame(root: ET.Element) -> str:
    """Where the axes begin and how long they are, in pixels of the drawing: x, y, width, height."""
    ground = next(shape for shape in root.iter() if shape.get("class") == "background")
    place, shape = (_NUMBER.findall(text) for text in (root[0].get("transform", ""), ground.get("d", "")))
    return " ".join([*place, *shape[2:4]])


def _shown(key: str, text: str, name: str) -> str:
    """The text of an attribute in the page."""
    if key in {"d", "transform"}:
        return _DECIMAL.sub(lambda match: match[1] or "", text)
    if key == "id":
        return f"{name}-{text}"
    return text.replace("url(#", f"url(#{name}-") if key == "clip-path" else in_page(text)
