"""Two versions side by side as one self-contained page: the verdict, the skill at each horizon, what differs."""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptocast.evaluation.report.markup import tag
from cryptocast.evaluation.report.render import document
from cryptocast.number_format import percent


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
    reasons: Sequence[str],
    horizons: Sequence[ComparedHorizon],
    differences: Sequence[tuple[str, str, str]],
) -> str:
    """The page as HTML text: no request. reasons: of the verdict; differences: what, in the first, in the second."""
    # Imports the drawing libraries.
    from cryptocast.evaluation.report import parts
    from cryptocast.evaluation.report.charts import SkillPoint, skill

    sections = []
    if reasons:
        sections.append(tag("section", tag("h2", "Result"), tag("ul", *(tag("li", reason) for reason in reasons))))
    if horizons:
        points = [SkillPoint(row.label, first, row.skill, row.lower, row.upper) for row in horizons]
        chart = parts.figure(
            skill(points, [first]),
            title=f"Skill of {first} over {second}",
            note="95% intervals; right of the line the first is better",
        )
        rows = [
            (row.label, str(row.dates), *(percent(share, signed=True) for share in (row.skill, row.lower, row.upper)))
            for row in horizons
        ]
        table = parts.table("Skill on the same forecasts", ("horizon", "dates", "skill", "from", "to"), rows)
        sections.append(tag("section", tag("h2", "Skill by horizon"), parts.grid([chart]), table))
    table = parts.table(
        "Settings, data and libraries that differ", ("what", first, second), differences, left=3, wrap=True
    )
    same = tag("p", "Nothing that affects the fit differs.")
    sections.append(tag("section", tag("h2", "Differences"), table if differences else same))
    title = f"{first} and {second}"
    return document(title, [tag("h1", tag("bdi", title)), tag("p", verdict, class_="lead")], sections)
