"""The questions and answers in words: one wording wherever they are shown."""

import pytest

from cryptocast.evaluation.answer_words import (
    QUESTIONS,
    SHORT_QUESTIONS,
    UNANSWERED,
    answer_sentence,
    over_horizons,
    sufficient_words,
    two_digits,
)
from cryptocast.evaluation.answers import PlainAnswer, Question, Unanswered
from cryptocast.number_format import horizons_ahead

YES = PlainAnswer(
    question=Question.WIDTH,
    answer="yes",
    estimate=0.045,
    lower=0.012,
    upper=0.078,
    margin=0.005,
    n=155,
    against="rw_gaussian",
)
HELD = PlainAnswer(
    question=Question.INTERVALS,
    answer="not_enough_data",
    estimate=0.91,
    lower=0.8,
    upper=1.02,
    nominal=0.9,
    margin=0.05,
    n=1,
    n_needed=1327,
    level=90,
)
NO_VIEW = PlainAnswer(
    question=Question.DIRECTION, answer="no", estimate=0.5, lower=0.5, upper=0.5, nominal=0.5, margin=0.01, n=278
)
VIEW = PlainAnswer(
    question=Question.DIRECTION, answer="yes", estimate=0.58, lower=0.52, upper=0.64, nominal=0.5, margin=0.01, n=278
)
TOO_FEW = PlainAnswer(question=Question.MODEL, answer="not_enough_data", margin=0.005, n=12, n_needed=300)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (YES, "yes: skill +4.5 % (+1.2 to +7.8) over rw_gaussian, 155 dates"),
        (
            HELD,
            "not enough data: the 90 % interval held 91.0 % (80.0 to 100.0), 1 date, about 1,400 dates would do",
        ),
        (NO_VIEW, "no: none is stated, 278 dates"),
        (VIEW, "yes: right in 58.0 % (52.0 to 64.0), 278 dates"),
        (TOO_FEW, "not enough data: 12 dates, about 300 dates would do"),
    ],
)
def test_each_answer_has_its_sentence(answer: PlainAnswer, sentence: str) -> None:
    assert answer_sentence(answer) == sentence


def test_every_question_and_every_reason_has_words_of_its_own() -> None:
    for words in (QUESTIONS, SHORT_QUESTIONS):
        assert list(words) == list(Question)
        assert len(set(words.values())) == len(Question)
    assert set(UNANSWERED) == set(Unanswered)


def test_horizons_with_one_answer_stand_together() -> None:
    def ahead(horizons: object) -> str:
        return horizons_ahead(list(horizons), "daily")  # type: ignore[call-overload]

    answers = {1: YES, 7: TOO_FEW, 30: TOO_FEW}
    assert over_horizons(answers, ahead) == "yes at 1 d; not enough data at 7, 30 d (about 300 dates would do)"
    assert over_horizons(answers, ahead, sufficient=False) == "yes at 1 d; not enough data at 7, 30 d"
    assert over_horizons({1: NO_VIEW, 7: NO_VIEW}, ahead) == "no"
    assert over_horizons({}, ahead) == ""


@pytest.mark.parametrize(("n", "text"), [(7, "7"), (99, "99"), (101, "110"), (1327, "1,400"), (24_856, "25,000")])
def test_an_estimate_of_dates_has_two_digits_and_is_rounded_up(n: int, text: str) -> None:
    assert two_digits(n) == text
    assert sufficient_words(n) == f"about {text} dates would do"
    assert sufficient_words(None) == ""
