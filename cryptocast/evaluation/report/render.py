"""A page of values -> one HTML text, or one picture. Nothing is read, written, taken from a clock or the network."""

import textwrap
from collections.abc import Iterable

from cryptocast.evaluation.report.markup import Html, tag
from cryptocast.evaluation.report.pictures import Chart, Picture
from cryptocast.evaluation.report.report_data import ReportPage
from cryptocast.evaluation.report.style import STYLE
from cryptocast.evaluation.report.words import ahead, date, lead

# The page may show itself and nothing else: no script, no request, whatever a name in it says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def document(title: str, header: Iterable[str], sections: Iterable[str], *, footer: str = "") -> str:
    """A whole HTML document: no script, no request, one style sheet. Write it as UTF-8."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(STYLE)),
    )
    end = tag("footer", footer) if footer else Html("")
    body = tag("body", tag("header", *header, class_="top"), tag("main", *sections), end)
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def render(page: ReportPage) -> str:
    """The report as one self-contained HTML document: the same page gives the same text.

    Takes about 50 ms a chart; imports the drawing libraries.
    """
    # A backtest without a report must not pay for them.
    from cryptocast.evaluation.report import appendix, forecasts, trades

    writers = (
        forecasts.verdicts,
        forecasts.skill,
        forecasts.fans,
        forecasts.calibration,
        forecasts.coverage,
        forecasts.coins,
        trades.trading,
        appendix.folds,
        appendix.importance,
        appendix.conventions,
        appendix.repeat,
    )
    sections = [section for section in (writer(page) for writer in writers) if section is not None]
    links = [tag("li", tag("a", section.heading, href=f"#{section.anchor}")) for section in sections]
    return document(
        page.title,
        [*_top(page), tag("nav", tag("ul", *links), aria_label="Sections")],
        [tag("section", tag("h2", s.heading), s.body, id=s.anchor) for s in sections],
        footer="Past forecasts compared with what followed. Not investment advice. This page needs no other file.",
    )


def _top(page: ReportPage) -> tuple[Html, ...]:
    counts = [
        f"{len(page.coins)} coin{'s' * (len(page.coins) != 1)}",
        f"{len(page.models)} model{'s' * (len(page.models) != 1)}",
        "horizons " + ", ".join(ahead(horizon, page.bar) for horizon in page.horizons),
    ]
    span = tag("span", f"origins {date(page.start)} to {date(page.end)}", class_="nowrap")
    kicker = tag("p", " · ".join(counts), " · ", span, class_="kicker")
    return kicker, tag("h1", tag("bdi", page.title)), tag("p", lead(page), class_="lead")


def picture(page: ReportPage) -> Picture:
    """The first coin's fans and the skill against the strongest reference, with the figures of all models.

    Raises ValueError if the page has neither.
    """
    from cryptocast.evaluation.report import charts
    from cryptocast.evaluation.report.forecasts import skills

    drawn: list[Chart] = []
    for fan in page.fans[:1]:
        title = f"{fan.coin}: forecasts of {fan.model} and actual prices"
        drawn.append(Chart(charts.fan(fan), title, f"Forecasts of {fan.coin} as bands, and what followed as a line."))
    by_reference = skills(page)
    strongest = [score.verdict.against for row in page.challengers for score in row.scores]
    reference = next((name for name in [*strongest, *by_reference] if name in by_reference), None)
    if reference is not None:
        height = 18 * len(page.horizons) * (len(page.models) + 1)
        everything = [point for points in by_reference.values() for point in points]
        plot = charts.skill(by_reference[reference], page.models, range_of=everything, legend=True)
        title = f"Skill against {reference}, with 95% intervals"
        drawn.append(Chart(plot, title, f"{title}, a row for each horizon.", height))
    if not drawn:
        raise ValueError("the page has neither fans nor skills: there is nothing to draw")
    return Picture(page.title, textwrap.wrap(lead(page), 110), drawn)
