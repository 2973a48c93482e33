"""What a comparison of forecasts shows: a verdict as values, and the sentence that people read."""

import math
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

VerdictWord: TypeAlias = Literal["better", "worse", "cannot tell"]
Probability: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]


class VerdictReason(StrEnum):
    """Why a verdict rests on no test."""

    TOO_FEW_DATES = "too_few_dates"  # fewer than ten for each one whose label overlaps
    BASELINE_ANSWERS = "baseline_answers"  # at this horizon, in the model's place
    NOT_BACKTESTED = "not_backtested"  # there are no scores of this horizon
    INTERPOLATED = "interpolated"  # between fitted horizons, so that it has no scores of its own
    FOREIGN = "foreign"  # the scores came with an archive
    NOT_COMPARED = "not_compared"  # there are no bars that both have forecast


UNTESTED: Final = {
    VerdictReason.BASELINE_ANSWERS: "baseline answers",
    VerdictReason.NOT_BACKTESTED: "not backtested",
    VerdictReason.INTERPOLATED: "not backtested at {horizon}",
    VerdictReason.FOREIGN: "imported scores",
    VerdictReason.NOT_COMPARED: "not compared",
}


# gc=False: thousands are made at once, and hold nothing that could hold them.
class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The outcome of one comparison.

    word: None where nothing was compared, and `reason` says why. against: the strongest reference, by its loss; skill:
    1 - loss / loss of that reference, lower and upper the ends of its 95 % interval. p: of the word, after correction
    for the whole table. dates: distinct origins. smallest_skill: the true skill that this much data would have shown
    with a probability of 80 %. detail: the cause for a person, where the code does not say all. None: not known.
    """

    word: VerdictWord | None = None
    against: str | None = None
    skill: float | None = None
    lower: float | None = None
    upper: float | None = None
    p: Probability | None = None
    dates: Annotated[int, Meta(ge=0)] = 0
    smallest_skill: float | None = None
    reason: VerdictReason | None = None
    detail: Annotated[str, Meta(max_length=10_000)] | None = None


def p_number(p: float | None) -> str:
    """`0.003`, `0.38`, `<0.001`: never a false zero; empty where there was no test."""
    if p is None or not math.isfinite(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def p_value(p: float | None) -> str:
    """`p = 0.003`, `p < 0.001`; empty where there was no test."""
    if p is None or not math.isfinite(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p_number(p)}"


def verdict_words(verdict: Verdict, horizon: int) -> str:
    """The verdict without its numbers: `better`, `not backtested at 3`."""
    untested = UNTESTED.get(verdict.reason) if verdict.reason else None
    return untested.format(horizon=horizon) if untested else verdict.word or "cannot tell"


def verdict_sentence(verdict: Verdict, horizon: int) -> str:
    """`better (n = 410 dates, p = 0.003)`. horizon: in bars, that the verdict is on."""
    numbers = verdict_numbers(verdict, horizon)
    return verdict_words(verdict, horizon) + (f" ({numbers})" if numbers else "")


def verdict_numbers(verdict: Verdict, horizon: int) -> str:
    """`n = 410 dates, p = 0.003`; empty where nothing was compared."""
    if verdict.word is None:
        return ""
    dates = f"n = {verdict.dates:,} dates"
    if verdict.reason is VerdictReason.TOO_FEW_DATES:
        return f"{dates}, too few for {horizon} bars ahead"
    p = p_value(verdict.p)
    return f"{dates}, {p}" if p else dates


def comparison_sentence(name: str, verdict: Verdict, why_not: str | None = None) -> str:
    """`bitcoin/lstm:1 is better than bitcoin/lightgbm:1`. why_not: why they were not compared, where they were not."""
    if verdict.word is None:
        return f"{name} and {verdict.against} were not compared" + (f": {why_not}" if why_not else "")
    if verdict.word == "better":
        return f"{name} is better than {verdict.against}"
    if verdict.word == "worse":
        return f"{name} is worse than {verdict.against} at some horizon"
    return f"{name} is not shown to be better than {verdict.against}"


def ab_sentence(verdict: Verdict, *, over: bool) -> str:
    """The state of an A/B test of a challenger beside production, or its result."""
    if verdict.word is None:
        return "no bar has an outcome for both" + ("" if over else " yet")
    if verdict.word == "cannot tell":
        return f"undecided ({verdict.dates} bars, {p_value(verdict.p)})"
    p = f" ({p_value(verdict.p)})" if verdict.word == "better" else ""
    return f"the challenger is {verdict.word}{p}"
