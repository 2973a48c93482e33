"""Charts -> SVG that can stand inside the page, or PNG. The only place that draws, and it never asks the network."""

import json
import re
import xml.etree.ElementTree as ET  # of text that the renderer made from our own specification, never of a download
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import altair as alt
import vl_convert

from cryptocast.evaluation.report.colours import COLOURS, in_light, role_of
from cryptocast.evaluation.report.markup import Html, clean

__all__ = ["Drawer", "Plot", "Row", "Sketch", "png"]

Row: TypeAlias = dict[str, float | int | str | bool | None]

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

# What the drawing says for scripts and readers of single marks; the page gives the whole chart a title and a text.
_DROPPED = ("aria-hidden", "aria-label", "aria-roledescription", "role", "pointer-events", "class", "version")
_DEFAULTS = {
    "opacity": "1",
    "stroke-width": "1",
    "stroke-opacity": "1",
    "fill-opacity": "1",
    "stroke-miterlimit": "10",
    "font-size": f"{FONT_SIZE}px",
    "font-family": "sans-serif",
    "font-weight": "normal",
}
_MEASURES = ("d", "transform", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "rx", "ry", "stroke-width")
_DECIMAL = re.compile(r"-?\d*\.\d+(?:e[+-]?\d+)?")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


@dataclass(frozen=True, slots=True)
class Plot:
    """A chart, and the rows of its layers by the names that it calls them.

    Altair checks and copies every value that it is given, which takes far longer than drawing them: it gets names.
    """

    chart: alt.LayerChart | alt.FacetChart
    rows: dict[str, list[Row]]

    def spec(self, **properties: Any) -> dict[str, Any]:
        """The specification with its rows; properties as Altair's: width, height, title."""
        return {**self.chart.properties(**properties).to_dict(validate=False), "datasets": self.rows}


@dataclass(slots=True)
class Sketch:
    """Collects the rows of the layers of one plot."""

    rows: dict[str, list[Row]] = field(default_factory=dict)

    def of(self, rows: list[Row]) -> alt.Chart:
        """A layer of these rows. The same rows are kept once."""
        for known, kept in self.rows.items():
            if kept is rows:
                return alt.Chart(alt.NamedData(name=known))
        found = f"rows-{len(self.rows)}"
        self.rows[found] = rows
        return alt.Chart(alt.NamedData(name=found))

    def plot(self, *layers: alt.Chart) -> Plot:
        """The layers above one another, the first at the bottom."""
        return Plot(alt.layer(*layers), self.rows)


@dataclass(slots=True)
class Drawer:
    """Draws the charts of one page: numbers them, so that no identifier is given twice."""

    drawn: int = 0

    def svg(self, plot: Plot, *, title: str, description: str, width: int, height: int) -> Html:
        """The plot as an SVG element, width x height including its axes, scaling to the width of its place.

        title and description are what a screen reader says of it.
        """
        self.drawn += 1
        fit = alt.AutoSizeParams(type="fit", contains="padding")
        spec = plot.spec(width=width, height=height, autosize=fit)
        written = vl_convert.vegalite_to_svg(spec, config=CONFIG, allowed_base_urls=[])
        root = ET.fromstring(written)  # noqa: S314 - made by us, one line above
        return _embedded(root, f"c{self.drawn}", title, description)


def png(plots: Sequence[tuple[Plot, dict[str, Any]]], *, title: str, subtitle: list[str]) -> bytes:
    """The plots below one another, each with its properties, as a PNG in the light colours at two pixels a point."""
    stacked = [_renamed(plot.spec(**properties), i) for i, (plot, properties) in enumerate(plots)]
    spec = {
        "$schema": stacked[0]["$schema"],
        "title": {"text": title, "subtitle": subtitle, "fontSize": 21, "offset": 22},
        "vconcat": [{key: value for key, value in one.items() if key not in {"$schema", "config"}} for one in stacked],
        "spacing": 32,
        "resolve": {"scale": {"color": "independent", "shape": "independent"}},
    }
    config = in_light({**CONFIG, "background": COLOURS["paper"].light, "padding": 28})
    return vl_convert.vegalite_to_png(json.dumps(in_light(spec)), config=config, scale=2, allowed_base_urls=[])


def _renamed(spec: dict[str, Any], number: int) -> dict[str, Any]:
    """The specification with its rows inside its layers: names of two charts would meet."""
    rows = spec.pop("datasets")
    layers = [
        {**layer, "data": {"values": rows[(layer.get("data") or spec["data"])["name"]]}} for layer in spec["layer"]
    ]
    return {**{key: value for key, value in spec.items() if key != "data"}, "layer": layers, "name": f"chart-{number}"}


def _embedded(root: ET.Element, name: str, title: str, description: str) -> Html:
    _prune(root)
    identifiers = {
        element.attrib["id"]: f"{name}-{i}" for i, element in enumerate(e for e in root.iter() if "id" in e.attrib)
    }
    for element in root.iter():
        element.tag = element.tag.partition("}")[2] or element.tag
        element.attrib = _attributes(element.attrib, identifiers)
    for part, said in (("desc", description), ("title", title)):
        element = ET.Element(part, {"id": f"{name}-{part}"})
        element.text = clean(said)
        root.insert(0, element)
    width, height = root.attrib.pop("width"), root.attrib.pop("height")
    root.attrib["viewBox"] = f"0 0 {width} {height}"
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    return Html(ET.tostring(root, encoding="unicode"))


def _attributes(given: dict[str, str], identifiers: dict[str, str]) -> dict[str, str]:
    """The attributes that count, with colours as classes, short numbers and identifiers of this page."""
    kept, classes = {}, []
    for key, value in given.items():
        role = role_of(value) if key in {"fill", "stroke"} else None
        if role is not None:
            classes.append(f"{key[0]}-{role}")
        elif key == "id":
            kept[key] = identifiers[value]
        elif key not in _DROPPED and _DEFAULTS.get(key) != value:
            kept[key] = _DECIMAL.sub(_short, value) if key in _MEASURES else value
    if "clip-path" in kept:
        kept["clip-path"] = _REFERENCE.sub(lambda found: f"url(#{identifiers[found[1]]})", kept["clip-path"])
    return {**kept, "class": " ".join(classes)} if classes else kept


def _short(found: re.Match[str]) -> str:
    return f"{float(found[0]):.1f}".removesuffix(".0").replace("-0.", "-.").removeprefix("0") or "0"


def _prune(parent: ET.Element) -> None:
    """Drop what draws nothing, and groups that only hold one other thing."""
    for child in list(parent):
        _prune(child)
        if _is_nothing(child):
            parent.remove(child)
        elif _is_a_bare_group(child):
            parent[list(parent).index(child)] = child[0]


def _is_nothing(element: ET.Element) -> bool:
    if element.tag.endswith("}g"):
        return len(element) == 0
    painted = element.attrib.get("fill", "none") != "none" or element.attrib.get("stroke", "none") != "none"
    return element.tag.endswith("}path") and (
        element.attrib.get("d", "") == "" or element.attrib.get("display") == "none" or not painted
    )


def _is_a_bare_group(element: ET.Element) -> bool:
    meaning = set(element.attrib) - set(_DROPPED)
    return element.tag.endswith("}g") and len(element) == 1 and not meaning
