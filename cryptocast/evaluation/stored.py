"""Records as they were stored, by this release or by one before it: the one place that knows the old forms."""

import math
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from cryptocast.evaluation.answers import (
    NORMAL,
    AnswerEstimate,
    HorizonEstimates,
    Question,
    Unanswered,
    answers_of,
    interval_estimate,
)
from cryptocast.evaluation.records import HorizonScore, IntervalCoverage
from cryptocast.scoring.dates import overlapping_origins
from cryptocast.scoring.diebold_mariano import ORIGINS_PER_OVERLAP

T = TypeVar("T")
WORDS: Final = ("better", "worse", "cannot tell")
SCHEMAS: Final = {
    f"cryptocast.{name}/{number}": f"cryptocast.{name}/3"
    for name in ("holdout", "evidence", "backtest")
    for number in (1, 2)
}
# What a record of a backtest's honesty had, of a verdict that there is no more.
HONESTY: Final = ("verdict", "width", "direction", "lies_in", "strongest", "smallest_effect", "dates")
NAIVE: Final = ("rw_empirical", "rw_gaussian")
LEAST_P: Final = 1e-16


def read_stored(data: bytes, kind: type[T]) -> T:
    """The record in its JSON. Earlier releases stored a verdict for each horizon, first as a sentence, in the place of
    answers: these are derived from the scores beside it.

    Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError if it is neither in the present form nor in an old
    one.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        try:
            present = msgspec.json.encode(_present(msgspec.json.decode(data), step=1))
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError):  # in no form that ever was
            raise error from None
        return msgspec.json.decode(present, type=kind)


def _present(value: Any, step: int) -> Any:
    """The value in the present form, and all that is in it. step: bars between the origins of its scores."""
    if isinstance(value, list):
        rows = [_present(one, step) for one in value]
        return _answered(rows, step) if rows and all(map(_is_old_score, rows)) else rows
    if not isinstance(value, dict):
        return value
    fields = {key: _present(one, value.get("step_bars", step)) for key, one in value.items()}
    if "schema" in fields:
        fields["schema"] = SCHEMAS.get(str(fields["schema"]), fields["schema"])
    if "confidence_p" in fields:
        fields = {key: one for key, one in fields.items() if key not in HONESTY}
    return fields


def _is_old_score(value: Any) -> bool:
    return isinstance(value, dict) and "verdict" in value and "p_better" in value


def _answered(rows: list[dict[str, Any]], step: int) -> list[HorizonScore]:
    return list(with_answers([_score(row) for row in rows], step))


def _score(row: dict[str, Any]) -> HorizonScore:
    verdict, fallback = row.pop("verdict"), row.pop("fallback", None)
    reason, cause = _unanswered(verdict, fallback)
    return msgspec.convert({**row, "unanswered": reason, "cause": cause}, HorizonScore)


def _unanswered(verdict: Any, fallback: Any) -> tuple[str | None, str | None]:
    """Why there was no verdict, of the model; and the cause as a text."""
    if not isinstance(verdict, str):
        reason = verdict.get("reason")
        return (reason, verdict.get("detail")) if reason in ("baseline_answers", "foreign") else (None, None)
    if isinstance(fallback, str) or verdict.startswith("baseline answers"):
        return Unanswered.BASELINE_ANSWERS, fallback
    return None if verdict.startswith(WORDS) else Unanswered.FOREIGN, None


def with_answers(scores: Sequence[HorizonScore], step: int) -> tuple[HorizonScore, ...]:
    """The scores of one model with the answers that their numbers give: the questions on skill and intervals.

    Standard errors are those that the p-values have under a normal distribution. Of the direction such scores say
    nothing. step: bars between origins.
    """
    estimates = [{} if score.unanswered is not None else _estimates(score, step) for score in scores]
    return tuple(
        msgspec.structs.replace(score, answers=answers)
        for score, answers in zip(scores, answers_of(estimates), strict=True)
    )


def _estimates(score: HorizonScore, step: int) -> HorizonEstimates:
    overlap = overlapping_origins(score.horizon, step)
    estimates: dict[Question, AnswerEstimate] = {}
    intervals = [_interval(one, score.dates, overlap) for one in score.coverage if one.n and score.dates]
    if intervals:
        estimates[Question.INTERVALS] = interval_estimate(intervals)
    # The better one is that over which the skill is smaller.
    naive = min((name for name in NAIVE if name in score.skill), key=lambda name: score.skill[name], default=None)
    for question, reference in ((Question.WIDTH, naive), (Question.MODEL, "baseline")):
        if reference in score.skill:
            estimates[question] = _skill(score, reference, overlap)
    return estimates


def _interval(interval: IntervalCoverage, dates: int, overlap: int) -> AnswerEstimate:
    nominal = interval.percent / 100
    # Of intervals of the nominal share on a random walk, of coins that move as one: see `scoring.coverage`.
    least = math.sqrt(nominal * (1.0 - nominal) * min(float(dates), (overlap + 1) / 2.0) / dates)
    se = max(interval.se, least)
    return AnswerEstimate(value=interval.share, se=se, n=dates, nominal=nominal, level=interval.percent)


def _skill(score: HorizonScore, reference: str, overlap: int) -> AnswerEstimate:
    value, p = score.skill[reference], score.p_better.get(reference)
    worse = score.p_worse_than_baseline if reference == "baseline" else None
    se = None if p is None else _error(value, p, worse)
    least = ORIGINS_PER_OVERLAP * overlap
    return AnswerEstimate(value=value, se=se, n=score.dates, least=least, against=reference)


def _error(value: float, p_better: float, p_worse: float | None) -> float | None:
    """The standard error with which a normal test of the value has this p; None: it has none."""
    if value == 0.0 and p_better == 1.0:  # the same forecasts
        return 0.0
    z = -NORMAL.inv_cdf(min(max(p_better, LEAST_P), 1.0 - LEAST_P))
    if p_better > 0.5 and p_worse is not None:
        z = NORMAL.inv_cdf(min(max(p_worse, LEAST_P), 1.0 - LEAST_P))
    return value / z if value * z > 0.0 else None
