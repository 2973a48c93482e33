"""What a comparison of two versions shows: a verdict as values, and the sentence that people read.

What the scores of one model show is another question: see `evaluation.answers`.
"""

import math
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

VerdictWord: TypeAlias = Literal["better", "worse", "cannot tell"]
Probability: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]


class VerdictReason(StrEnum):
    """Why a verdict rests on no test."""

    NOT_COMPARED = "not_compared"  # there are no bars that both have forecast


# gc=False: thousands are made at once, and hold nothing that could hold them.
class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The outcome of one comparison.

    word: None where nothing was compared, and `reason` says why. skill: 1 - loss / loss of what it is compared with,
    the mean over the horizons. p: of the word. dates: distinct origins.
    """

    word: VerdictWord | None = None
    against: str | None = None
    skill: float | None = None
    p: Probability | None = None
    dates: Annotated[int, Meta(ge=0)] = 0
    reason: VerdictReason | None = None


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
