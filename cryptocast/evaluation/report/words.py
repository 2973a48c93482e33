"""Numbers with sensible digits, and answers in sentences. Nothing here knows HTML."""

import math
from datetime import timedelta
from typing import Final

from cryptocast.evaluation.answer_words import QUESTIONS, over_horizons
from cryptocast.evaluation.answers import Question
from cryptocast.evaluation.records import BacktestRow
from cryptocast.evaluation.report.report_data import ReportPage
from cryptocast.times import EPOCH

UNKNOWN: Final = "–"
MINUS: Final = "−"


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


def conclusion(page: ReportPage) -> dict[str, str]:
    """What the chosen model answers over all coins, by question: `Yes at 1 day; not enough data at 7 days`."""
    row = next((row for row in page.pooled if row.model == page.chosen), None)
    if row is None:
        return {}
    answers = {QUESTIONS[question]: _over_horizons(page, row, question) for question in QUESTIONS}
    return {question: answer for question, answer in answers.items() if answer}


def lead(page: ReportPage) -> str:
    """The conclusion as one text."""
    lines = [f"{question} {answer}." for question, answer in conclusion(page).items()]
    return f"{page.chosen}: {' '.join(lines)}" if lines else "There are no scores."


def _over_horizons(page: ReportPage, row: BacktestRow, question: Question) -> str:
    answers = {score.horizon: one for score in row.scores if (one := score.answer(question)) is not None}
    text = over_horizons(answers, lambda horizons: ", ".join(ahead(horizon, page.bar) for horizon in horizons))
    return text[:1].upper() + text[1:]
