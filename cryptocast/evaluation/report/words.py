"""Numbers with sensible digits, and verdicts in sentences. Nothing here knows HTML."""

import math
from datetime import timedelta
from typing import Final

from cryptocast.evaluation.records import SkillPart
from cryptocast.evaluation.report.report_data import ReportPage
from cryptocast.evaluation.verdicts import Verdict
from cryptocast.times import EPOCH

UNKNOWN: Final = "–"
MINUS: Final = "−"
PLACES: Final[dict[tuple[SkillPart, ...] | None, str]] = {
    None: "",
    ("width",): "The skill comes from the width of the intervals, not from the direction.",
    ("direction",): "The skill comes from the direction, not from the width of the intervals.",
    ("width", "direction"): "The skill comes from both the width of the intervals and the direction.",
    (): "Neither width nor direction is significant on its own.",
}
LEAD_PLACES: Final[dict[tuple[SkillPart, ...], str]] = {
    ("width",): " All skill comes from the width of the intervals: how far the price may move, not in which direction.",
    ("direction",): " All skill comes from the direction.",
}


def _fixed(value: float | None, digits: int, *, sign: bool = False, unit: str = "") -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    # What rounds to zero has no sign.
    if not any(c in "123456789" for c in text):
        text = text.lstrip("+-")
    return text.replace("-", MINUS) + unit


def number(value: float | None, digits: int = 3) -> str:
    """With so many significant digits, but never fewer than the whole part has."""
    if value == 0.0:
        return "0"
    if value is None or not math.isfinite(value):
        return UNKNOWN
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    # Six places are enough for anything but prices; a smaller number gets an exponent.
    if places > 6:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    return _fixed(value, places)


def price(value: float | None) -> str:
    """Four significant digits, and cents from 1,000 on."""
    if value is None or not math.isfinite(value) or value == 0.0:
        return number(value)
    return _fixed(value, min(18, max(0 if abs(value) >= 1e4 else 2, 3 - math.floor(math.log10(abs(value))))))


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent."""
    return _fixed(None if share is None else 100 * share, digits, unit="%")


def signed_percent(share: float | None, digits: int = 1) -> str:
    """A share in percent, with a sign."""
    return _fixed(None if share is None else 100 * share, digits, sign=True, unit="%")


def points(share: float, digits: int = 1) -> str:
    """A share in percentage points, without a unit."""
    return _fixed(100 * share, digits)


def ratio(value: float | None) -> str:
    """With two places: Sharpe ratios and probabilities."""
    return _fixed(value, 2)


def interval(lower: float | None, upper: float | None, *, share: bool) -> str:
    """`−0.4% to +2.0%`, or `0.4 to 1.9`; empty where an end is missing."""
    ends = [(signed_percent if share else ratio)(end) for end in (lower, upper)]
    return "" if UNKNOWN in ends else " to ".join(ends)


def date(at: int) -> str:
    """The day in UTC, and the time where it is not midnight. Times are rounded to the minute: closes end in :59.999."""
    moment = EPOCH + timedelta(minutes=round(at / 60e6))
    return moment.strftime("%Y-%m-%d" if moment.hour == moment.minute == 0 else "%Y-%m-%d %H:%M")


def ahead(horizon: int, bar: str) -> str:
    """`1 day`, `7 days`."""
    return f"{horizon} {bar}" if horizon == 1 else f"{horizon} {bar}s"


def detail(verdict: Verdict, lies_in: tuple[SkillPart, ...] | None) -> str:
    """What is behind the verdict's word: how much skill, against what, from where, and what could be detected at all.

    lies_in: the parts of the skill that are significant by themselves, None where there is no skill to place.
    """
    parts = (_how_much(verdict), PLACES[lies_in], _smallest(verdict), verdict.detail)
    return " ".join(part for part in parts if part)


def _how_much(verdict: Verdict) -> str:
    skill = verdict.skill
    if skill is None or not math.isfinite(skill):
        return "The losses could not be compared."
    side = "lower" if skill >= 0 else "higher"
    ends = interval(verdict.lower, verdict.upper, share=True)
    return f"CRPS {percent(abs(skill))} {side} than {verdict.against}" + (f" (skill {ends})." if ends else ".")


def _smallest(verdict: Verdict) -> str:
    smallest = percent(verdict.smallest_skill)
    if smallest == UNKNOWN:
        return "There are too few origins to estimate the smallest detectable skill."
    return f"The smallest skill detectable with this much data is {smallest}."


def lead(page: ReportPage) -> str:
    """The whole table of verdicts in one or two sentences."""
    verdicts = [(row.model, score.horizon, score.verdict.word) for row in page.challengers for score in row.scores]
    if not verdicts:
        return "There are no scores."
    better = {(model, horizon) for model, horizon, word in verdicts if word == "better"}
    worse = sum(word == "worse" for _, _, word in verdicts)
    places = {record.lies_in for record in page.honesty if (record.model, record.horizon) in better}
    place = LEAD_PLACES.get(places.pop() or (), "") if len(places) == 1 else ""
    return (
        f"{len(better)} of {len(verdicts)} forecast{'s' * (len(verdicts) > 1)} (a model at a horizon) "
        f"{_are(len(better))} better than every reference, {worse} {_are(worse)} worse than the baseline, and "
        f"{len(verdicts) - len(better) - worse} cannot be told apart from them.{place}"
    )


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
