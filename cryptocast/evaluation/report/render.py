"""A page of values -> one HTML text, or one picture. Nothing is read, written, taken from a clock or the network."""

import textwrap
from collections.abc import Iterable

from cryptocast.evaluation.answers import Question
from cryptocast.evaluation.report.markup import Html, tag
from cryptocast.evaluation.report.pictures import Chart, Picture
from cryptocast.evaluation.report.report_data import ReportPage
from cryptocast.evaluation.report.style import SCRIPT, SCRIPT_HASH, STYLE
from cryptocast.evaluation.report.words import ahead, conclusion, date, lead

# The page may show itself and run its own script and nothing else: no request, whatever a name in it says.
POLICY = (
    f"default-src 'none'; script-src 'sha256-{SCRIPT_HASH}'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def document(title: str, header: Iterable[str], sections: Iterable[str], *, footer: str = "") -> str:
    """A whole HTML document: no request, one style sheet, one script that it is whole without. Write it as UTF-8."""
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
    script = tag("script", Html(SCRIPT))
    body = tag("body", tag("header", *header, class_="top"), tag("main", *sections), end, script)
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def render(page: ReportPage) -> str:
    """The report as one self-contained HTML document: the same page gives the same text.

    Takes about 50 ms a chart; imports the drawing libraries.
    """
    # A backtest without a report must not pay for them.
    from cryptocast.evaluation.report import appendix, forecasts, parts, trades

    writers = (
        forecasts.answers,
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
    nav = tag("nav", tag("ul", *links), aria_label="Sections")
    pictures = [figure for figure in (forecasts.first_fan(page), trades.equity(page)) if figure]
    return document(
        page.title,
        [*_top(page), *([parts.beside(*pictures)] if pictures else [])],
        [nav, *(tag("section", tag("h2", s.heading), s.body, id=s.anchor) for s in sections)],
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
    title, answers = tag("h1", tag("bdi", page.title)), conclusion(page)
    if not answers:
        return kicker, title, tag("p", lead(page), class_="lead")
    rows = [tag("div", tag("dt", question), tag("dd", answer)) for question, answer in answers.items()]
    best = tag("p", tag("bdi", page.chosen), ", the model with the lowest loss of this run:", class_="lead")
    return kicker, title, best, tag("dl", *rows, class_="conclusion")


def picture(page: ReportPage) -> Picture:
    """The first coin's fans and the skill over the better naive walk, with the figures of all models.

    Raises ValueError if the page has neither.
    """
    from cryptocast.evaluation.report import charts
    from cryptocast.evaluation.report.forecasts import skills

    drawn: list[Chart] = []
    for fan in page.fans[:1]:
        shares = ", ".join(f"{band}%" for band in charts.central_bands(fan.levels))
        title = f"{fan.coin}: {shares} intervals of {fan.model} and actual prices"
        drawn.append(Chart(charts.fan(fan), title, f"Forecasts of {fan.coin} as bands, and what followed as a line."))
    by_reference = skills(page)
    naive = [one.against for row in page.pooled for score in row.scores if (one := score.answer(Question.WIDTH))]
    reference = next((name for name in [*naive, *by_reference] if name in by_reference), None)
    if reference is not None:
        height = 18 * len(page.horizons) * (len(page.models) + 1)
        plot = charts.skill(by_reference[reference], page.models, legend=True)
        title = f"Skill against {reference}, with 95% intervals"
        drawn.append(Chart(plot, title, f"{title}, a row for each horizon.", height))
    if not drawn:
        raise ValueError("the page has neither fans nor skills: there is nothing to draw")
    return Picture(page.title, textwrap.wrap(lead(page), 110), drawn)
