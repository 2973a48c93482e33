"""Records of earlier releases, which had verdicts, are read with the answers that their numbers give."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.evaluation.answers import Question, Unanswered
from cryptocast.evaluation.records import HoldOut, HonestyRecord, HorizonScore
from cryptocast.evaluation.stored import read_stored

SCORE: dict[str, Any] = {
    "horizon": 7,
    "n": 900,
    "dates": 300,
    "crps": {"lightgbm": 0.0198, "baseline": 0.02, "rw_gaussian": 0.0199},
    "skill": {"baseline": 0.01, "rw_gaussian": 0.005},
    "p_better": {"baseline": 0.02, "rw_gaussian": 0.08},
    "p_worse_than_baseline": 0.98,
    "coverage": [{"percent": 80, "share": 0.79, "se": 0.02, "n": 900}],
    "mape": 4.1,
    "mape_random_walk": 4.0,
    "verdict": "cannot tell (n = 300 dates, p = 0.09)",
    "fallback": None,
}


def old_hold_out(**changes: Any) -> bytes:
    return msgspec.json.encode(
        {
            "schema": "cryptocast.holdout/1",
            "start": "2024-01-01T00:00:00Z",
            "end": "2024-12-01T00:00:00Z",
            "coins": ["bitcoin"],
            "horizons": [{**SCORE, **changes}],
            "foreign": False,
        }
    )


def score_of(**changes: Any) -> HorizonScore:
    return read_stored(old_hold_out(**changes), HoldOut).horizons[0]


VERDICT = {"word": "cannot tell", "against": "rw_gaussian", "skill": 0.005, "p": 0.09, "dates": 300, "reason": None}


@pytest.mark.parametrize("verdict", [SCORE["verdict"], VERDICT, {**VERDICT, "word": "better", "detail": None}])
def test_in_the_place_of_a_verdict_stand_the_answers_that_its_numbers_give(verdict: object) -> None:
    score = score_of(verdict=verdict)
    assert (score.unanswered, score.cause) == (None, None)
    intervals, width, model = score.answers
    assert [one.question for one in score.answers] == [Question.INTERVALS, Question.WIDTH, Question.MODEL]
    assert (intervals.estimate, intervals.level, intervals.answer) == (0.79, 80, "not_enough_data")
    assert (width.against, width.estimate, width.n) == ("rw_gaussian", 0.005, 300)
    assert (model.against, model.answer) == ("baseline", "yes"), "p 0.02 is below 2.5 % on one side"
    assert width.answer == "not_enough_data"


@given(st.floats(0.0, 1.0), st.floats(1e-6, 0.2))
def test_the_answer_agrees_with_the_test_that_was_stored(p: float, skill: float) -> None:
    value = skill if p < 0.5 else -skill
    score = score_of(p_better={"baseline": p}, skill={"baseline": value}, p_worse_than_baseline=1.0 - p)
    model = score.answers[-1]
    if abs(p - 0.025) > 1e-9:
        assert (model.answer == "yes") == (p < 0.025)
    if 1.0 - p > 0.0251:
        assert not model.is_worse


@pytest.mark.parametrize(
    ("verdict", "fallback", "cause"),
    [
        ("baseline answers (too little history)", "420 bars hold too few returns", "420 bars hold too few returns"),
        ("cannot tell", "too few", "too few"),
        ({**VERDICT, "word": None, "reason": "baseline_answers", "detail": "too few"}, None, "too few"),
    ],
)
def test_where_the_baseline_answered_it_still_does(verdict: object, fallback: str | None, cause: str) -> None:
    score = score_of(verdict=verdict, fallback=fallback)
    assert score.by_baseline
    assert (score.answers, score.cause) == ((), cause)


@pytest.mark.parametrize("verdict", ["foreign, came with an archive", {"word": None, "reason": "foreign"}])
def test_what_came_with_an_archive_stays_foreign(verdict: object) -> None:
    assert (score_of(verdict=verdict).unanswered, score_of(verdict=verdict).answers) == (Unanswered.FOREIGN, ())


def test_what_was_read_is_written_in_the_present_form_and_reads_back_the_same() -> None:
    record = read_stored(old_hold_out(), HoldOut)
    assert record.schema == "cryptocast.holdout/3"
    assert read_stored(msgspec.json.encode(record), HoldOut) == record


def test_an_old_record_of_what_a_backtest_showed_is_read_without_its_verdict() -> None:
    old = {
        "model": "mix",
        "horizon": 7,
        "n": 900,
        "dates": 300,
        "strongest": "rw_gaussian",
        "skills": [
            {"reference": "baseline", "value": 0.01, "lower": -0.01, "upper": 0.03},
            {"reference": "rw_gaussian", "value": 0.005, "lower": -0.02, "upper": 0.03},
        ],
        "smallest_effect": 0.021,
        "width": 0.004,
        "direction": 0.001,
        "lies_in": "width and direction",
        "confidence_p": 0.4,
        "pit": {
            "shares": [1.0],
            "bias": 0.0,
            "spread": 0.0,
            "p_uniform": None,
            "p_level_memory": None,
            "p_spread_memory": None,
        },
        "levels": [],
        "coverage": [],
        "stated": [],
        "brier": None,
        "intervals": [],
        "points": {
            "mae": None,
            "rmse": None,
            "mape": None,
            "smape": None,
            "mase": None,
            "r2": None,
            "views": 0,
            "direction": None,
            "direction_lower": 0.0,
            "direction_upper": 1.0,
        },
    }
    record = read_stored(msgspec.json.encode(old), HonestyRecord)
    assert (record.model, record.n, record.skills[1].value) == ("mix", 900, 0.005)
    newer = {**old, "verdict": VERDICT, "lies_in": None}
    assert read_stored(msgspec.json.encode(newer), HonestyRecord) == record


@given(st.sampled_from(sorted(SCORE)), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()))
def test_what_is_in_no_form_that_ever_was_is_refused_or_read_never_another_error(name: str, value: object) -> None:
    try:
        record = read_stored(old_hold_out(**{name: value}), HoldOut)
    except msgspec.DecodeError:
        return
    assert isinstance(record.horizons[0].answers, tuple)
