"""What scores show, in four plain answers: each an interval held against a margin, all as values.

A question is asked at each horizon of a model, on the forecasts of one coin or of a pool of coins. The horizons of one
question, model and coin are one family, whose intervals Holm's rule widens; what else stands in a table widens nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

ALPHA: Final = 0.05  # of both sides of an interval together
NORMAL: Final = NormalDist()
TINY: Final = 1e-12  # the standard error of what cannot vary
MOST_DATES: Final = 1_000_000  # to answer with more of them is to answer never


class Question(StrEnum):
    """What is asked of a model at a horizon. A skill is 1 - loss / loss of what it is held against."""

    INTERVALS = "intervals"  # are the intervals right: coverage within a margin of nominal
    WIDTH = "width"  # is the width better than naive: skill over the better of the naive random walks
    MODEL = "model"  # does the model beat our baseline: skill over it
    DIRECTION = "direction"  # is there a view on direction: share of right directions above one half


class Unanswered(StrEnum):
    """Why nothing is asked of a model at a horizon."""

    BASELINE_ANSWERS = "baseline_answers"  # in the model's place
    NOT_BACKTESTED = "not_backtested"  # there are no scores of this horizon
    INTERPOLATED = "interpolated"  # between fitted horizons, so that it has no scores of its own
    FOREIGN = "foreign"  # the scores came with an archive


AnswerWord: TypeAlias = Literal["yes", "no", "not_enough_data"]
Dates: TypeAlias = Annotated[int, Meta(ge=0)]
MARGINS: Final = {Question.INTERVALS: 0.05, Question.WIDTH: 0.005, Question.MODEL: 0.005, Question.DIRECTION: 0.01}
EFFECTS: Final = {**MARGINS, Question.WIDTH: 0.01, Question.MODEL: 0.01}  # that a sufficient n would show
# Of 80 %; an interval has to stay inside its margin on both sides.
POWER: Final = {question: NORMAL.inv_cdf(0.9 if question is Question.INTERVALS else 0.8) for question in Question}


# gc=False: thousands are made at once, and hold nothing that could hold them.
class PlainAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The answer to one question at one horizon, and the numbers that decide it.

    estimate: a skill, the share of outcomes inside the interval of `level` percent, or of right directions; lower and
    upper: the ends of its 95 % interval, corrected for the number of horizons; None: nothing could be tested. nominal:
    what the estimate is compared with. Intervals: yes if lower and upper lie within `margin` of nominal, no if both lie
    outside on one side. Others: yes if lower is above nominal, no if upper is below nominal + margin. n: different
    dates; n_needed: how many would do, with a probability of 80 % if the effect is that of EFFECTS; None: it is
    answered, or no number would do. against: the reference of a skill.
    """

    question: Question
    answer: AnswerWord
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    nominal: float = 0.0
    margin: float
    n: Dates
    n_needed: Dates | None = None
    against: str | None = None
    level: int | None = None

    @property
    def is_worse(self) -> bool:
        """Whether a skill is shown to be below 0: more than that it is not shown to be above."""
        return self.upper is not None and self.level is None and self.upper < self.nominal


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEstimate:
    """What an answer rests on. se: the standard error of the value, None where nothing was estimated. least: on fewer
    dates than these nothing is tested, and the error is a rough one. degrees: of freedom of Student's t. Else as in
    PlainAnswer."""

    value: float | None
    se: float | None
    n: int
    nominal: float = 0.0
    least: int = 0
    degrees: float = math.inf
    against: str | None = None
    level: int | None = None


HorizonEstimates: TypeAlias = Mapping[Question, AnswerEstimate]


def answers_of(horizons: Sequence[HorizonEstimates]) -> list[tuple[PlainAnswer, ...]]:
    """The answers at each horizon of one model on one coin or pool, in the order of the questions. A horizon without
    estimates is not asked and counts in no family."""
    answered: list[dict[Question, PlainAnswer]] = [{} for _ in horizons]
    for question in Question:
        places = [place for place, own in enumerate(horizons) if question in own]
        answers = _family(question, [horizons[place][question] for place in places])
        for place, answer in zip(places, answers, strict=True):
            answered[place][question] = answer
    return [tuple(own.values()) for own in answered]


def interval_estimate(intervals: Iterable[AnswerEstimate]) -> AnswerEstimate:
    """Of the intervals of one forecast the one that decides whether they are right: that nearest to being wrong."""
    return min(intervals, key=lambda one: _distances(Question.INTERVALS, one)[0])


def _distances(question: Question, estimate: AnswerEstimate) -> tuple[float, float]:
    """How far a yes and a no are from what would contradict them, in standard errors; NaN where there are none."""
    if estimate.value is None or estimate.se is None or estimate.n < estimate.least:
        return math.nan, math.nan
    deviation, margin = estimate.value - estimate.nominal, MARGINS[question]
    yes, no = deviation, margin - deviation
    if question is Question.INTERVALS:
        yes, no = margin - abs(deviation), abs(deviation) - margin
    se = max(estimate.se, TINY)
    return yes / se, no / se


def _family(question: Question, estimates: Sequence[AnswerEstimate]) -> list[PlainAnswer]:
    distances = [_distances(question, one) for one in estimates]
    degrees = [one.degrees for one in estimates]
    yes, no = (_holm([pair[side] for pair in distances], degrees) for side in (0, 1))
    return [
        _answer(question, estimate, max(pair), *sides)
        for estimate, pair, sides in zip(estimates, distances, zip(yes, no, strict=True), strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _HolmTest:
    """Whether the distance from the margin is large enough, and how large it has to be, in standard errors."""

    passes: bool
    critical: float


def _holm(distances: Sequence[float], degrees: Sequence[float]) -> list[_HolmTest]:
    """Holm's step-down rule on one-sided tests at ALPHA / 2, each with the critical value that it is held against: from
    the first that fails on, one value for all."""
    tail = [math.nan if math.isnan(z) else _tail(z, nu) for z, nu in zip(distances, degrees, strict=True)]
    order = sorted((i for i, p in enumerate(tail) if not math.isnan(p)), key=lambda i: (tail[i], -distances[i]))
    tests = [_HolmTest(passes=False, critical=math.nan)] * len(distances)
    left, passes = len(order), True
    for i in order:
        critical = _critical(ALPHA / 2.0 / left, degrees[i])
        passes = passes and distances[i] > critical
        tests[i] = _HolmTest(passes, critical)
        left -= passes
    return tests


def _tail(z: float, degrees: float) -> float:
    if math.isinf(degrees):
        return NORMAL.cdf(-z)
    from scipy.special import stdtr  # costs more time than all the rest of evaluation

    return float(stdtr(degrees, -z))


def _critical(p: float, degrees: float) -> float:
    if math.isinf(degrees):
        return -NORMAL.inv_cdf(p)
    from scipy.special import stdtrit

    return -float(stdtrit(degrees, p))


def _answer(question: Question, estimate: AnswerEstimate, nearest: float, yes: _HolmTest, no: _HolmTest) -> PlainAnswer:
    word: AnswerWord = "yes" if yes.passes else "no" if no.passes else "not_enough_data"
    critical = yes.critical if yes.passes else no.critical if no.passes else max(yes.critical, no.critical)
    lower = upper = needed = None
    if not math.isnan(critical) and estimate.value is not None and estimate.se is not None:
        lower, upper = estimate.value - critical * estimate.se, estimate.value + critical * estimate.se
    if word == "not_enough_data":
        needed = _sufficient(question, estimate, critical, nearest)
    return PlainAnswer(
        question=question,
        answer=word,
        estimate=estimate.value,
        lower=lower,
        upper=upper,
        nominal=estimate.nominal,
        margin=MARGINS[question],
        n=estimate.n,
        n_needed=needed,
        against=estimate.against,
        level=estimate.level,
    )


def _sufficient(question: Question, estimate: AnswerEstimate, critical: float, nearest: float) -> int | None:
    """Dates that would show the effect; where there are that many already, those that would decide on the estimate as
    it is. None: none is known, or it is beyond MOST_DATES."""
    n, se, is_tested = estimate.n, estimate.se, not math.isnan(critical)
    dates = float(estimate.least)
    if se is not None:
        width = critical if is_tested else _critical(ALPHA / 2.0, math.inf)
        dates = max(dates, n * (max(se, TINY) * (width + POWER[question]) / EFFECTS[question]) ** 2)
    if dates <= n and is_tested:
        dates = n * (critical / max(nearest, TINY)) ** 2
    return max(n + 1, math.ceil(dates)) if 0.0 < dates < MOST_DATES else None
