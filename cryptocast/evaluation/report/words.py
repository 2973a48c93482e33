"""Numbers with sensible digits, and verdicts in sentences. Nothing here knows HTML."""

import math
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta

from cryptocast.evaluation.records import SkillPart
from cryptocast.evaluation.report.report_data import ReportPage
from cryptocast.evaluation.verdicts import Verdict

__all__ = [
    "EPOCH",
    "UNKNOWN",
    "ahead",
    "date",
    "detail",
    "interval",
    "known",
    "lead",
    "number",
    "percent",
    "points",
    "price",
    "ratio",
    "signed_percent",
]

UNKNOWN = "–"
MINUS = "−"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WORDS = ("better", "worse", "cannot tell")


def known(value: float | None) -> bool:
    """Whether there is a finite number."""
    return value is not None and math.isfinite(value)


def _fixed(value: float, digits: int, *, sign: bool = False) -> str:
    written = f"{value:{'+' if sign else ''},.{digits}f}"
    # What rounds to zero has no sign.
    if not any(c in "123456789" for c in written):
        written = written.lstrip("+-")
    return written.replace("-", MINUS)


def number(value: float | None, digits: int = 3) -> str:
    """With so many significant digits, but never fewer than the whole part has."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0.0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    # Six places are enough for anything but prices; a smaller number gets an exponent.
    if places > 6:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    return _fixed(value, places)


def price(value: float | None) -> str:
    """Four significant digits, and cents from 1,000 on."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0.0:
        return "0"
    return _fixed(value, min(18, max(0 if abs(value) >= 1e4 else 2, 3 - math.floor(math.log10(abs(value))))))


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent."""
    return UNKNOWN if share is None or not math.isfinite(share) else _fixed(100 * share, digits) + "%"


def signed_percent(share: float | None, digits: int = 1) -> str:
    """A share in percent, with a sign."""
    return UNKNOWN if share is None or not math.isfinite(share) else _fixed(100 * share, digits, sign=True) + "%"


def points(share: float | None, digits: int = 1) -> str:
    """A share in percentage points, without a unit."""
    return UNKNOWN if share is None or not math.isfinite(share) else _fixed(100 * share, digits)


def interval(lower: float | None, upper: float | None, *, share: bool) -> str:
    """`−0.4% to +2.0%`, or `0.4 to 1.9`; empty where an end is not known."""
    if not known(lower) or not known(upper):
        return ""
    write = signed_percent if share else ratio
    return f"{write(lower)} to {write(upper)}"


def ratio(value: float | None) -> str:
    """With two places: Sharpe ratios and probabilities."""
    return UNKNOWN if value is None or not math.isfinite(value) else _fixed(value, 2)


def date(at: int) -> str:
    """The day in UTC, and the time where it is not midnight. Times are rounded to the minute: closes end in :59.999."""
    moment = EPOCH + timedelta(minutes=round(at / 60e6))
    return moment.strftime("%Y-%m-%d" if moment.hour == moment.minute == 0 else "%Y-%m-%d %H:%M")


def ahead(horizon: int, bar: str) -> str:
    """`1 day`, `7 days`."""
    return f"{horizon} {bar}" if horizon == 1 else f"{horizon} {bar}s"


def detail(verdict: Verdict, lies_in: tuple[SkillPart, ...] | None) -> str:
    """What lies behind the word: how much, against what, where, and what could have been seen at all.

    lies_in: the parts of the skill that are significant by themselves, None where there is none to place.
    """
    parts = (_how_much(verdict), _where(lies_in), _smallest(verdict), verdict.detail)
    return " ".join(part for part in parts if part)


def _how_much(verdict: Verdict) -> str:
    value = verdict.skill
    if value is None or not math.isfinite(value):
        return "The loss could not be compared."
    side = "lower" if value >= 0 else "higher"
    sure = interval(verdict.lower, verdict.upper, share=True)
    return f"CRPS {percent(abs(value))} {side} than {verdict.against}" + (f" (skill {sure})." if sure else ".")


def _where(lies_in: tuple[SkillPart, ...] | None) -> str:
    match lies_in:
        case None:
            return ""
        case ("width",):
            return "The skill lies in the width, not in the direction."
        case ("direction",):
            return "The skill lies in the direction, not in the width."
        case ():
            return "Neither the width nor the direction stands out alone."
        case _:
            return "The skill lies in the width and the direction."


def _smallest(verdict: Verdict) -> str:
    if not known(verdict.smallest_skill):
        return "There are too few origins to say what could have been shown."
    return f"This much data could have shown a skill of {percent(verdict.smallest_skill)} or more."


def lead(page: ReportPage) -> str:
    """The whole table of verdicts in one or two sentences."""
    verdicts = [(row.model, score.horizon, score.verdict) for row in page.judged for score in row.scores]
    total = len(verdicts)
    if not total:
        return "Nothing could be judged."
    counts = {word: sum((v.word or "cannot tell") == word for _, _, v in verdicts) for word in WORDS}
    told = [
        f"{counts['better']} of {total} {_noun(total)} {_are(counts['better'])} better than every reference",
        f"{counts['worse']} {_are(counts['worse'])} worse than the baseline",
        f"for {counts['cannot tell']} the data cannot tell",
    ]
    better = {(model, horizon) for model, horizon, verdict in verdicts if verdict.word == "better"}
    return f"{told[0]}, {told[1]}, and {told[2]}.{_lead_where(page, better)}"


def _noun(count: int) -> str:
    return "forecast (a model at a horizon)" if count == 1 else "forecasts (a model at a horizon)"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _lead_where(page: ReportPage, better: AbstractSet[tuple[str, int]]) -> str:
    places = {record.lies_in for record in page.honesty if (record.model, record.horizon) in better}
    if places == {("width",)}:
        return (
            " What skill there is lies in the width of the intervals: in how far the price may move, not in which way."
        )
    if places == {("direction",)}:
        return " What skill there is lies in the direction."
    return ""
