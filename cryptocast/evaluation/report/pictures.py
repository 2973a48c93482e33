"""Charts as a picture that stands by itself: in a notebook, as PNG, as SVG, or as a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptocast.evaluation.report.markup import Html, clean, tag

if TYPE_CHECKING:
    from cryptocast.evaluation.report.drawing import Plot

WIDTH: Final = 860  # of one chart, in points


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """One chart of a picture. description: what a screen reader says of it."""

    plot: "Plot"
    title: str
    description: str
    height: int = 320


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Charts below one another under a title, at least one. about: lines between title and charts.

    A notebook shows it. Drawing takes a tenth of a second a chart, and needs no network.
    """

    title: str
    about: Sequence[str]
    charts: Sequence[Chart]

    def png(self) -> bytes:
        """In the light colours, at two pixels a point."""
        from cryptocast.evaluation.report.drawing import png  # loads the drawing libraries

        return png(self._plots(), title=clean(self.title), subtitle=[clean(line) for line in self.about])

    def svg(self) -> str:
        """In the light colours."""
        from cryptocast.evaluation.report.drawing import light_svg

        description = " ".join(chart.description for chart in self.charts)
        about = [clean(line) for line in self.about]
        return light_svg(self._plots(), title=clean(self.title), subtitle=about, description=description)

    def html(self) -> str:
        """A page that needs no other file and no network, in light or dark colours as the reader has them.
        The same picture gives the same text."""
        from cryptocast.evaluation.report.parts import wide_figure
        from cryptocast.evaluation.report.render import document

        header = [tag("h1", tag("bdi", self.title)), *(tag("p", line, class_="lead") for line in self.about)]
        figures = [
            tag("section", wide_figure(chart.plot, title=chart.title, note="", description=chart.description))
            for chart in self.charts
        ]
        return document(self.title, header, figures)

    def _repr_html_(self) -> str:
        return tag("div", Html(self.svg()), style=f"max-width:{WIDTH + 100}px")

    def _plots(self) -> list[tuple["Plot", dict[str, object]]]:
        return [
            (chart.plot, {"width": WIDTH, "height": chart.height, "title": clean(chart.title)}) for chart in self.charts
        ]
