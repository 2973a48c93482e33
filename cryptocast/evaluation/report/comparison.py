"""Two versions side by side as one self-contained page: the verdict, the skill at each horizon, what differs."""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptocast.evaluation.report.markup import Html, tag
from cryptocast.evaluation.report.render import POLICY
from cryptocast.number_format import percent

__all__ = ["ComparedHorizon", "comparison_page"]


@dataclass(frozen=True, slots=True)
class ComparedHorizon:
    """The skill of the first over the second at one horizon, which `label` names, on so many dates."""

    label: str
    dates: int
    skill: float | None
    lower: float | None
    upper: float | None


def comparison_page(
    first: str,
    second: str,
    verdict: str,
    said: Sequence[str],
    horizons: Sequence[ComparedHorizon],
    differences: Sequence[tuple[str, str, str]],
) -> str:
    """The page as HTML text: no script, no request. differences: what, in the first, in the second."""
    # Imports the drawing libraries.
    from cryptocast.evaluation.report import parts
    from cryptocast.evaluation.report.charts import SkillPoint, skill
    from cryptocast.evaluation.report.drawing import Drawer
    from cryptocast.evaluation.report.style import STYLE

    sections = [tag("section", tag("h2", "What was found"), tag("ul", *(tag("li", reason) for reason in said)))]
    if horizons:
        points = [SkillPoint(row.label, first, row.skill, row.lower, row.upper) for row in horizons]
        chart = parts.figure(
            Drawer(),
            skill(points, [first]),
            title=f"Skill of {first} over {second}",
            note="95 % intervals; right of the line the first is better",
            description=f"Skill of {first} over {second} at {len(horizons)} horizons, with intervals.",
        )
        rows = [
            (row.label, str(row.dates), *(percent(share, signed=True) for share in (row.skill, row.lower, row.upper)))
            for row in horizons
        ]
        head = ("horizon", "dates", "skill, %", "from", "to")
        table = parts.table("Skill on the same forecasts", head, rows)
        sections.append(tag("section", tag("h2", "Skill by horizon"), parts.grid([chart]), table))
    differ = parts.table(
        "Settings, data and libraries that are not the same", ("what", first, second), differences, left=3, wrap=True
    )
    nothing = tag("p", "Nothing that decides a fit differs.")
    sections.append(tag("section", tag("h2", "What differs"), differ if differences else nothing))
    title = f"{first} and {second}"
    head_tag = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(STYLE)),
    )
    top = tag("header", tag("h1", tag("bdi", title)), tag("p", verdict, class_="lead"), class_="top")
    body = tag("body", top, tag("main", *sections))
    return f"<!doctype html>\n{tag('html', head_tag, body, lang='en')}\n"
