"""A page of values -> one HTML text, or one picture. Nothing is read, written, asked of a clock or of the network."""

import textwrap

from cryptocast.evaluation.report.markup import Html, clean, tag
from cryptocast.evaluation.report.report_data import ReportPage
from cryptocast.evaluation.report.words import ahead, date, lead

__all__ = ["picture", "render"]

# The page may show itself and nothing else: no script, no request, whatever a name in it says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
PICTURE_WIDTH = 860


def render(page: ReportPage) -> str:
    """The report as one self-contained HTML document: the same page gives the same text.

    It has no script and asks for nothing. Write it as UTF-8. Takes about 50 ms a chart; imports the drawing libraries.
    """
    # A backtest without a report must not pay for them.
    from cryptocast.evaluation.report import appendix, forecasts, trades
    from cryptocast.evaluation.report.drawing import Drawer
    from cryptocast.evaluation.report.style import STYLE

    drawer = Drawer()
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
    sections = [section for section in (writer(page, drawer) for writer in writers) if section is not None]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", page.title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(STYLE)),
    )
    links = [tag("li", tag("a", section.heading, href=f"#{section.anchor}")) for section in sections]
    body = tag(
        "body",
        _top(page, tag("nav", tag("ul", *links), aria_label="Sections")),
        tag("main", *(tag("section", tag("h2", s.heading), s.body, id=s.anchor) for s in sections)),
        tag("footer", "Past forecasts, judged by what came after them. Not advice. This page holds all it shows."),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _top(page: ReportPage, nav: Html) -> Html:
    counted = [
        f"{len(page.coins)} coin{'s' * (len(page.coins) != 1)}",
        f"{len(page.models)} model{'s' * (len(page.models) != 1)}",
        "horizons " + ", ".join(ahead(horizon, page.bar) for horizon in page.horizons),
    ]
    span = tag("span", f"origins {date(page.start)} to {date(page.end)}", class_="nowrap")
    kicker = tag("p", " · ".join(counted), " · ", span, class_="kicker")
    return tag(
        "header", kicker, tag("h1", tag("bdi", page.title)), tag("p", lead(page), class_="lead"), nav, class_="top"
    )


def picture(page: ReportPage) -> bytes:
    """One PNG, in the light colours: the first coin's fans and the skill against the strongest reference.

    Raises ValueError if the page has neither.
    """
    from cryptocast.evaluation.report import charts
    from cryptocast.evaluation.report.drawing import Plot, png
    from cryptocast.evaluation.report.forecasts import skills

    shown: list[tuple[Plot, dict[str, object]]] = []
    if page.fans:
        fan = page.fans[0]
        title = clean(f"{fan.coin}: what {fan.model} said, and what happened")
        shown.append((charts.fan(fan), {"width": PICTURE_WIDTH, "height": 320, "title": title}))
    by_reference = skills(page)
    strongest = [score.verdict.against for row in page.judged for score in row.scores]
    reference = next((name for name in strongest if name in by_reference), next(iter(by_reference), None))
    if reference is not None:
        height = 18 * len(page.horizons) * (len(page.models) + 1)
        title = clean(f"Skill against {reference}, with 95% intervals")
        everything = [point for points in by_reference.values() for point in points]
        plot = charts.skill(by_reference[reference], page.models, range_of=everything, legend=True)
        shown.append((plot, {"width": PICTURE_WIDTH, "height": height, "title": title}))
    if not shown:
        raise ValueError("the page has neither fans nor skills: there is nothing to draw")
    return png(shown, title=clean(page.title), subtitle=textwrap.wrap(clean(lead(page)), 110))
