"""Four questions with plain answers: each an interval against a margin, corrected within its family alone."""

import math
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.evaluation.answers import (
    EFFECTS,
    MARGINS,
    AnswerEstimate,
    PlainAnswer,
    Question,
    answers_of,
    interval_estimate,
)

SKILLS = (Question.WIDTH, Question.MODEL)

shares = st.floats(0.0, 1.0)
errors = st.floats(0.0, 0.2)
degrees = st.sampled_from([math.inf, 9.0, 40.0])


@st.composite
def estimates(draw: st.DrawFn, question: Question) -> AnswerEstimate:
    """Of any value, sometimes on too few dates."""
    n = draw(st.integers(0, 3000))
    least = draw(st.sampled_from([0, 10, 300]))
    if question is Question.INTERVALS:
        level = draw(st.sampled_from([80, 90, 95]))
        return AnswerEstimate(value=draw(shares), se=draw(errors), n=n, nominal=level / 100, level=level)
    nominal = 0.5 if question is Question.DIRECTION else 0.0
    value = draw(shares) if question is Question.DIRECTION else draw(st.floats(-0.5, 0.5))
    return AnswerEstimate(value=value, se=draw(errors), n=n, least=least, nominal=nominal, degrees=draw(degrees))


def family(question: Question) -> st.SearchStrategy[list[AnswerEstimate]]:
    return st.lists(estimates(question), min_size=1, max_size=6)


def asked(question: Question, *estimates: AnswerEstimate) -> list[PlainAnswer]:
    return [own[0] for own in answers_of([{question: one} for one in estimates])]


def skill(value: float, se: float, *, n: int = 300) -> AnswerEstimate:
    return AnswerEstimate(value=value, se=se, n=n, least=10, against="rw_gaussian")


def held(share: float, se: float, *, level: int = 80, n: int = 300) -> AnswerEstimate:
    return AnswerEstimate(value=share, se=se, n=n, nominal=level / 100, level=level)


@pytest.mark.parametrize("question", SKILLS)
@pytest.mark.parametrize(
    ("value", "se", "word"),
    [
        (0.02, 0.01, "yes"),
        (0.019, 0.01, "not_enough_data"),
        (-0.015, 0.01, "no"),
        (-0.014, 0.01, "not_enough_data"),
        (0.002, 0.0005, "yes"),
        (0.0, 0.002, "no"),
        (0.0, 0.0, "no"),
    ],
)
def test_a_skill_is_there_above_zero_and_not_there_below_half_a_percent(
    question: Question, value: float, se: float, word: str
) -> None:
    (answer,) = asked(question, skill(value, se))
    assert answer.answer == word
    assert answer.estimate == value


@pytest.mark.parametrize(
    ("share", "se", "word"),
    [
        (0.80, 0.025, "yes"),
        (0.83, 0.01, "yes"),
        (0.80, 0.026, "not_enough_data"),
        (0.88, 0.01, "no"),
        (0.7, 0.02, "no"),
    ],
)
def test_intervals_are_right_within_five_points_of_nominal(share: float, se: float, word: str) -> None:
    (answer,) = asked(Question.INTERVALS, held(share, se))
    assert answer.answer == word
    assert (answer.nominal, answer.margin, answer.level) == (0.8, 0.05, 80)


def test_a_direction_is_known_above_one_half_and_not_below_one_point_more() -> None:
    def at(share: float, se: float) -> str:
        return asked(Question.DIRECTION, AnswerEstimate(value=share, se=se, n=900, nominal=0.5))[0].answer

    assert [at(0.55, 0.02), at(0.55, 0.03), at(0.48, 0.01), at(0.5, 0.0)] == ["yes", "not_enough_data", "no", "no"]


def test_the_interval_that_is_nearest_to_being_wrong_decides() -> None:
    wrong, right = held(0.7, 0.01, level=90), held(0.8, 0.02)
    assert interval_estimate([right, wrong]) is wrong


@pytest.mark.parametrize("question", Question)
@given(data=st.data())
def test_the_interval_that_is_shown_decides(question: Question, data: st.DataObject) -> None:
    for answer in asked(question, *data.draw(family(question))):
        if answer.lower is None or answer.upper is None:
            assert answer.answer == "not_enough_data"
            continue
        low, high = answer.lower - answer.nominal, answer.upper - answer.nominal
        slack, margin = 1e-9, answer.margin
        if question is Question.INTERVALS:
            yes, no = max(-low, high) < margin, low > margin or high < -margin
            maybe = max(-low, high) < margin + slack, low > margin - slack or high < slack - margin
        else:
            yes, no = low > 0.0, high < margin
            maybe = low > -slack, high < margin + slack
        assert yes or no or answer.answer == "not_enough_data" or any(maybe)
        assert answer.answer != "yes" or maybe[0]
        assert answer.answer != "no" or maybe[1]
        if answer.answer == "not_enough_data":
            assert not (yes and not maybe[0])
            assert not (low > slack if question is not Question.INTERVALS else max(-low, high) < margin - slack)


@pytest.mark.parametrize("question", Question)
@given(data=st.data())
def test_what_else_is_asked_changes_no_answer(question: Question, data: st.DataObject) -> None:
    own = data.draw(family(question))
    alone = answers_of([{question: one} for one in own])
    others = {other: data.draw(estimates(other)) for other in Question if other is not question}
    together = answers_of([{**others, question: one} for one in own])
    assert [[one for one in answers if one.question is question] for answers in together] == [list(a) for a in alone]


@given(family(Question.WIDTH), estimates(Question.WIDTH))
def test_more_horizons_never_turn_an_answer_round(own: list[AnswerEstimate], more: AnswerEstimate) -> None:
    before = asked(Question.WIDTH, *own)
    after = asked(Question.WIDTH, *own, more)
    for one, other in zip(before, after, strict=False):
        assert {one.answer, other.answer} != {"yes", "no"} or one.estimate is not None
        if one.lower is not None and other.lower is not None and one.answer == other.answer == "yes":
            assert other.lower <= one.lower + 1e-12


def test_of_four_horizons_one_that_is_barely_significant_is_none() -> None:
    barely, nothing = skill(0.02, 0.0095), skill(0.0, 0.05)
    assert asked(Question.WIDTH, barely)[0].answer == "yes"
    assert asked(Question.WIDTH, barely, nothing, nothing, nothing)[0].answer == "not_enough_data"


def test_after_the_first_that_is_shown_the_next_needs_less() -> None:
    clear, next_one, nothing = skill(0.1, 0.01), skill(0.024, 0.01), skill(0.0, 0.05)
    assert [one.answer for one in asked(Question.WIDTH, clear, next_one, nothing)][:2] == ["yes", "yes"]
    assert asked(Question.WIDTH, next_one, nothing, nothing)[0].answer == "yes"
    weaker = replace(next_one, value=0.023)
    assert asked(Question.WIDTH, weaker, nothing, nothing)[0].answer == "not_enough_data"
    assert asked(Question.WIDTH, clear, weaker, nothing)[1].answer == "yes"


@pytest.mark.parametrize("question", SKILLS)
def test_the_dates_that_would_do_show_the_effect_in_four_of_five_cases(question: Question) -> None:
    (answer,) = asked(question, skill(0.004, 0.02))
    assert answer.n_needed is not None
    assert answer.n_needed == pytest.approx(300 * (0.02 * (1.96 + 0.8416) / EFFECTS[question]) ** 2, rel=0.01)
    then = skill(EFFECTS[question], 0.02 * math.sqrt(300 / answer.n_needed), n=answer.n_needed)
    assert then.se is not None
    assert then.value is not None
    assert (then.value - 1.96 * then.se) / then.se == pytest.approx(0.8416, abs=0.01)


@given(st.sampled_from(list(Question)), st.data())
def test_more_dates_than_there_are_would_do_where_there_are_not_enough(question: Question, data: st.DataObject) -> None:
    for answer in asked(question, *data.draw(family(question))):
        if answer.answer == "not_enough_data":
            assert answer.n_needed is None or answer.n_needed > answer.n
        else:
            assert answer.n_needed is None
        assert answer.margin == MARGINS[question]
        assert msgspec.json.decode(msgspec.json.encode(answer), type=PlainAnswer) == answer


def test_too_few_dates_for_a_test_say_how_many_would_do() -> None:
    few = replace(skill(0.01, 0.001, n=40), least=70)
    (answer,) = asked(Question.MODEL, few)
    assert (answer.answer, answer.lower, answer.n_needed) == ("not_enough_data", None, 70)
    assert asked(Question.MODEL, replace(few, se=None))[0].n_needed == 70
    wide = asked(Question.MODEL, replace(few, se=0.02))[0]
    assert wide.n_needed is not None
    assert wide.n_needed > 1000


def test_a_skill_that_is_shown_to_be_below_zero_is_worse_and_a_coverage_never() -> None:
    assert asked(Question.MODEL, skill(-0.1, 0.01))[0].is_worse
    assert not asked(Question.MODEL, skill(0.0, 0.001))[0].is_worse
    assert not asked(Question.INTERVALS, held(0.3, 0.01))[0].is_worse


def test_a_horizon_that_is_not_asked_counts_in_no_family() -> None:
    own = {Question.WIDTH: skill(0.02, 0.0095)}
    assert answers_of([own, {}, {}, {}]) == [answers_of([own])[0], (), (), ()]
