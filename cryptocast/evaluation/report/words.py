"""Numbers with sensible digits, and verdicts in sentences. Nothing here knows HTML."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptocast.evaluation.report.page import Estimate, Page, Verdict
from cryptocast.evaluation.verdicts import p_value

__all__ = [
    "EPOCH",
    "UNKNOWN",
    "ahead",
    "counted",
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


def interval(estimate: Estimate, *, share: bool) -> str:
    """`−0.4% to +2.0%`, or `0.4 to 1.9`; empty where an end is not known."""
    if not known(estimate.lower) or not known(estimate.upper):
        return ""
    write = signed_percent if share else ratio
    return f"{write(estimate.lower)} to {write(estimate.upper)}"


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


def counted(verdict: Verdict) -> str:
    """`n = 410 dates, p = 0.003`: what stands behind the word."""
    p = p_value(verdict.p)
    return f"n = {verdict.n:,} dates{', ' + p if p else ''}"


def detail(verdict: Verdict) -> str:
    """What lies behind the word: how much, against what, where, and what could have been seen at all."""
    return " ".join(part for part in (_how_much(verdict), _where(verdict), _smallest(verdict), verdict.note) if part)


def _how_much(verdict: Verdict) -> str:
    value = verdict.skill.value
    if value is None or not math.isfinite(value):
        return "The loss could not be compared."
    side = "lower" if value >= 0 else "higher"
    sure = interval(verdict.skill, share=True)
    return f"CRPS {percent(abs(value))} {side} than {verdict.reference}" + (f" (skill {sure})." if sure else ".")


def _where(verdict: Verdict) -> str:
    if verdict.lies_in is None:
        return ""
    if not verdict.lies_in:
        return "Neither the width nor the direction stands out alone."
    if len(verdict.lies_in) > 1:
        return "The skill lies in the width and the direction."
    (part,) = verdict.lies_in
    return f"The skill lies in the {part}, not in the {'width' if part == 'direction' else 'direction'}."


def _smallest(verdict: Verdict) -> str:
    if not known(verdict.smallest):
        return "There are too few origins to say what could have been shown."
    return f"This much data could have shown a skill of {percent(verdict.smallest)} or more."


def lead(page: Page) -> str:
    """The whole table of verdicts in one or two sentences."""
    counts = {word: sum(verdict.word == word for verdict in page.verdicts) for word in WORDS}
    total = len(page.verdicts)
    if not total:
        return "Nothing could be judged."
    told = [
        f"{counts['better']} of {total} {_noun(total)} {_are(counts['better'])} better than every reference",
        f"{counts['worse']} {_are(counts['worse'])} worse than the baseline",
        f"for {counts['cannot tell']} the data cannot tell",
    ]
    return f"{told[0]}, {told[1]}, and {told[2]}.{_lead_where(page.verdicts)}"


def _noun(count: int) -> str:
    return "forecast (a model at a horizon)" if count == 1 else "forecasts (a model at a horizon)"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _lead_where(verdicts: Sequence[Verdict]) -> str:
    places = {verdict.lies_in for verdict in verdicts if verdict.word == "better"}
    if places == {("width",)}:
        return (
            " What skill there is lies in the width of the intervals: in how far the price may move, not in which way."
        )
    if places == {("direction",)}:
        return " What skill there is lies in the direction."
    return ""
