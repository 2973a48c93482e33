"""The pieces that every section is made of: tables, figures, legends, lists of facts."""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptocast.evaluation.report.charts import DASHES, SHAPES
from cryptocast.evaluation.report.colours import SERIES
from cryptocast.evaluation.report.drawing import Plot, svg
from cryptocast.evaluation.report.markup import Html, tag

TILE = 358  # a phone's width less its margins: drawn at this size, letters are as large as they say
QUARTER = 302  # four beside each other
HALF = 626
NARROW_HEIGHT, HALF_HEIGHT = 280, 350

_MARKS = {
    "circle": '<circle cx="14" cy="7" r="5"/>',
    "square": '<path d="M9.5 2.5h9v9h-9z"/>',
    "triangle-up": '<path d="M14 1.5l5.5 10h-11z"/>',
    "diamond": '<path d="M14 .5l5 6.5-5 6.5-5-6.5z"/>',
    "triangle-down": '<path d="M14 12.5l5.5-10h-11z"/>',
    "cross": '<path d="M12.2 1.5h3.6v3.7h3.7v3.6h-3.7v3.7h-3.6V8.8H8.5V5.2h3.7z"/>',
    "stroke": '<path d="M8 5.5h12v3H8z"/>',
}


@dataclass(frozen=True, slots=True)
class PageSection:
    """One section of the page: its anchor, its heading and what stands under it."""

    anchor: str
    heading: str
    body: Html


def name(value: str) -> Html:
    """A name from outside, apart from the direction in which the text around it runs."""
    return tag("bdi", value)


def small(value: str) -> Html:
    """A note in smaller letters."""
    return tag("span", value, class_="small")


def read(value: str) -> Html:
    """The line that says how to read what follows."""
    return tag("p", tag("b", "How to read: "), value, class_="read")


def table(
    title: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    about: str = "",
    left: int = 1,
    wrap: bool = False,
) -> Html:
    """A table in a box of its own that scrolls: the first cell of each row names it, the first `left` are texts.

    title: without a full stop; about: sentences behind it.
    """
    return grouped(title, head, [("", rows)], about=about, left=left, wrap=wrap)


def grouped(
    title: str,
    head: Sequence[str],
    groups: Sequence[tuple[str, Sequence[Sequence[str]]]],
    *,
    about: str = "",
    left: int = 1,
    wrap: bool = False,
) -> Html:
    """The same with rows in groups, each under its heading; no heading for a group without a name."""
    top = [tag("th", cell, scope="col", class_="left" if i < left else None) for i, cell in enumerate(head)]
    bodies = []
    for group, rows in groups:
        over = tag("tr", tag("th", name(group), scope="rowgroup", colspan=str(len(head))), class_="over")
        lines = [
            tag(
                "tr",
                tag("th", row[0], scope="row"),
                *(tag("td", cell, class_="left" if i < left else None) for i, cell in enumerate(row[1:], 1)),
            )
            for row in rows
        ]
        bodies.append(tag("tbody", *([over] if group else []), *lines))
    whole = tag("table", tag("thead", tag("tr", *top)), *bodies, aria_label=title)
    # Stands above the box, so that it does not scroll away; the box has a focus, to be scrolled without a pointer.
    above = tag("p", f"{title}. {about}".rstrip(), class_="about")
    box = tag("div", whole, class_="scroll wrap" if wrap else "scroll", role="region", tabindex="0", aria_label=title)
    return tag("div", above, box, class_="table")


def figure(
    plot: Plot, *, title: str, note: str = "", description: str = "", height: int = 250, width: int = TILE
) -> Html:
    """A chart of one column of the grid, with its caption. Without a description its marks describe it."""
    drawing = svg(plot, title=title, description=description or plot.labels, width=width, height=height)
    return _figure(plot, title, note, drawing)


def wide_figure(plot: Plot, *, title: str, note: str, description: str, legend: str = "") -> Html:
    """A chart of half the width, drawn a second time for a narrow screen, where it would shrink past reading."""
    texts = {"title": title, "description": description}
    wide = svg(plot, width=HALF, height=HALF_HEIGHT, **texts)
    narrow = svg(plot, width=TILE, height=NARROW_HEIGHT, **texts)
    both = tag("div", wide, class_="only-wide"), tag("div", narrow, class_="only-narrow")
    return _figure(plot, title, note, legend, *both)


def _figure(plot: Plot, title: str, note: str, *content: str) -> Html:
    caption = tag("figcaption", tag("b", name(title)), small(note) if note else Html(""))
    return tag("figure", caption, *content, data_readings=plot.readings.json() if plot.readings else None)


def grid(figures: Sequence[Html], *, width: int = TILE) -> Html:
    """Figures of one width side by side, as many as fit."""
    return tag("div", *figures, class_="grid" if width == TILE else "grid four")


def tile(count: int) -> int:
    """How wide to draw each of so many figures, that no row is left with one alone."""
    return QUARTER if count % 4 == 0 else TILE


def folded(summary: str, note: str, *content: str) -> Html:
    """Content that is opened on demand, without a script."""
    head = tag("summary", name(summary), small(note) if note else Html(""))
    return tag("details", head, *content)


def beside(*content: str) -> Html:
    """Two things side by side, where there is room."""
    return tag("div", *content, class_="beside")


def facts(entries: Sequence[tuple[str, str, str]]) -> Html:
    """Single numbers: what it is, the number, what it means."""
    return tag(
        "dl",
        *(tag("div", tag("dt", what), tag("dd", value, small(means))) for what, value, means in entries),
        class_="facts",
    )


def _legend(entries: Sequence[tuple[str, str]]) -> Html:
    """What the marks stand for: a drawing, as SVG, and its name each."""
    items = [tag("li", Html(f'<svg viewBox="0 0 28 14" aria-hidden="true">{drawing}</svg>'), name(label))
             for drawing, label in entries]  # fmt: skip
    return tag("ul", *items, class_="legend")


def point_legend(models: Sequence[str]) -> Html:
    """Colour and shape of each model, as in the charts with points."""
    return _legend([(_mark(SHAPES[i % len(SHAPES)], _series(i)), model) for i, model in enumerate(models)])


def line_legend(names: Sequence[str]) -> Html:
    """Colour and dash of each curve."""
    dashes = (" ".join(map(str, DASHES[i % len(DASHES)])) for i in range(len(names)))
    return _legend([
        (f'<path d="M0 7h28" stroke-width="2.5" stroke-dasharray="{dash}" stroke="var(--{_series(i)})"/>', curve)
        for i, (dash, curve) in enumerate(zip(dashes, names, strict=True))
    ])  # fmt: skip


def _series(index: int) -> str:
    return SERIES[index % len(SERIES)].role


def _mark(shape: str, role: str) -> str:
    return f'<g fill="var(--{role})">{_MARKS[shape]}</g>'


def band_legend(bands: Sequence[int], roles: Sequence[str], *, outcomes: bool) -> Html:
    """The bands of a fan by their nominal share, and the line. outcomes: with the prices that came, misses marked."""
    entries = [
        (f'<path d="M0 1h28v12H0z" fill="var(--{role})"/>', f"{band}% interval")
        for role, band in zip(roles, bands, strict=False)
    ]
    line = '<path d="M0 7h28" stroke-width="1.6" stroke="var(--ink)"/><circle cx="14" cy="7" r="3" fill="var(--ink)"/>'
    entries.append((line, "actual price" if outcomes else "close; dot: issue"))
    if outcomes and bands:
        entries.append((_mark("diamond", "miss"), f"outside the {bands[0]}% interval"))
    return _legend(entries)
