"""No two outputs of one store contradict each other, whatever the evidence is."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cryptocast.cli.screens.answers import AnswerRow, answers_at
from cryptocast.cli.screens.conclusion import Conclusion, conclusion_box
from cryptocast.config import GateConfig
from cryptocast.evaluation.answer_words import SHORT_QUESTIONS, answer_numbers, answer_sentence, over_horizons
from cryptocast.evaluation.answers import PlainAnswer, Question
from cryptocast.evaluation.records import BacktestRow, HoldOut, HorizonScore, PooledAnswers
from cryptocast.evaluation.report.report_data import ReportPage
from cryptocast.evaluation.report.words import lead
from cryptocast.evaluation.stored import with_answers
from cryptocast.number_format import horizons_ahead
from cryptocast.registry import Registry, Version, first_version
from cryptocast.registry.gate import best_of
from cryptocast.registry.reasons import ReasonCode
from cryptocast.workflows.forecast import evidence_by_horizon
from cryptocast.workflows.lifecycle.model_card import model_card
from tests.registry.registry_evidence import evidence
from tests.registry.registry_fits import coverage, hold_out, register, score

HORIZONS = (1, 7)
REFERENCES = ("rw_empirical", "rw_gaussian", "baseline")


@st.composite
def scores(draw: st.DrawFn, horizon: int) -> HorizonScore:
    """Any skill with any certainty, any coverage on any number of dates."""
    dates = draw(st.integers(1, 3000))
    better = {name: draw(st.none() | st.floats(1e-9, 1.0 - 1e-9)) for name in REFERENCES}
    skill = {
        name: (draw(st.floats(1e-4, 0.2)) if (p or 0.2) < 0.5 else -draw(st.floats(1e-4, 0.2)))
        for name, p in better.items()
    }
    own = better["baseline"]
    return score(
        horizon,
        dates=dates,
        crps={"lightgbm": 0.02, **dict.fromkeys(REFERENCES, 0.02)},
        skill=skill,
        p_better=better,
        p_worse_than_baseline=None if own is None else 1.0 - own,
        coverage=tuple(coverage(level, draw(st.floats(0.0, 1.0)), se=draw(st.floats(0.0, 0.1))) for level in (80, 95)),
    )


families = st.tuples(*(scores(horizon) for horizon in HORIZONS))


def pooled(own: tuple[HorizonScore, ...]) -> tuple[PooledAnswers, ...]:
    return tuple(PooledAnswers(horizon=s.horizon, coins=3, answers=s.answers) for s in with_answers(own, 1))


@contextmanager
def stored(held: HoldOut) -> Iterator[tuple[Registry, Version]]:
    """The hold-out as it reads back from a registry."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry.open(Path(folder))
        register(registry, scores=held)
        yield registry, registry.versions()[0]


def answers_in(held: HoldOut) -> Iterator[tuple[HorizonScore, PlainAnswer]]:
    for one in held.horizons:
        yield from ((one, answer) for answer in one.answers)


def box(use: str, answers: Any) -> str:
    conclusion = Conclusion(use=use, answers=answers, granularity="daily", served={"bitcoin": use}, step="next")
    console = Console(width=300, record=True)
    console.print(conclusion_box(conclusion))
    return console.export_text()


@settings(max_examples=25, deadline=None)
@given(families, families)
def test_whatever_the_evidence_every_output_says_the_same(
    own: tuple[HorizonScore, ...], together: tuple[HorizonScore, ...]
) -> None:
    held = HoldOut(
        start=hold_out().start,
        end=hold_out().end,
        coins=("bitcoin",),
        horizons=with_answers(own, 1),
        pooled=pooled(together),
    )
    with stored(held) as (registry, version):
        assert version.hold_out == held
        (listed,) = registry.listing()
        card = model_card(registry, GateConfig(), version, None).markdown
        forecast = evidence_by_horizon(version.hold_out, None)
        assert registry.verify() == ()
    assert [one.answers for one in listed.scores] == [
        {answer.question: answer.answer for answer in one.answers} for one in held.horizons
    ]
    assert [forecast[h].answers for h in HORIZONS] == [one.answers for one in held.horizons]
    assert tuple(forecast[h].pooled for h in HORIZONS) == held.pooled
    for one, answer in answers_in(held):
        bars = "1 bar" if one.horizon == 1 else f"{one.horizon} bars"
        assert f"- {bars} ahead: {answer_sentence(answer)}." in card
    check_screens(held)
    check_gate(version)


def check_screens(held: HoldOut) -> None:
    """The terminal and the report, both from the scores."""
    answers = answers_at(held.horizons)
    text = box("bitcoin/lightgbm:1", answers)
    page = lead(
        ReportPage(
            title="",
            coins=("bitcoin",),
            chosen="lightgbm",
            horizons=HORIZONS,
            bar="day",
            start=0,
            end=1,
            rows=(BacktestRow(model="lightgbm", coin=None, scores=held.horizons),),
        )
    )
    row = AnswerRow("bitcoin", "lightgbm", answers)
    for question in (Question.INTERVALS, Question.WIDTH, Question.MODEL):
        asked = {one.horizon: answer for one, answer in answers_in(held) if answer.question is question}
        said = over_horizons(asked, lambda horizons: horizons_ahead(horizons, "daily"), sufficient=False)
        assert f"{SHORT_QUESTIONS[question]} {said}." in text
        marks = {"yes": "yes", "no": "no", "not_enough_data": "?"}
        assert row.marks(question).plain.split() == [marks[one.answer] for one in asked.values()]
        for answer in asked.values():
            word = answer.answer.replace("_", " ")
            assert word in page.lower()


def check_gate(version: Version) -> None:
    """What it refuses, the answers say too."""
    decision = first_version(version.hold_out)
    codes = {(reason.code, reason.facts["horizon"]) for reason in decision.reasons if "horizon" in reason.facts}
    for one in version.hold_out.horizons:
        intervals, model = one.answer(Question.INTERVALS), one.answer(Question.MODEL)
        assert intervals is not None
        assert model is not None
        assert ((ReasonCode.COVERAGE_OFF, one.horizon) in codes) == (intervals.answer == "no")
        is_refused = (ReasonCode.WORSE_THAN_BASELINE, one.horizon) in codes
        assert is_refused == model.is_worse
        assert not is_refused or model.answer == "no"
    wrong = any(one.answers[0].answer == "no" for one in version.hold_out.horizons)
    assert (best_of([version]) is None) == wrong
    assert decision.accepted == (not wrong and not any(code is ReasonCode.WORSE_THAN_BASELINE for code, _ in codes))


@settings(max_examples=50)
@given(families, families)
def test_where_there_is_a_walk_its_answers_stand_in_the_place_of_the_hold_outs(
    own: tuple[HorizonScore, ...], walked: tuple[HorizonScore, ...]
) -> None:
    held, walk = hold_out(*own), evidence(scores=with_answers(walked, 1), pooled=pooled(own))
    known = evidence_by_horizon(held, walk)
    assert {h: one.answers for h, one in known.items()} == {one.horizon: one.answers for one in walk.scores}
    assert {one.rests_on for one in known.values()} == {"walk-forward"}
    assert tuple(one.pooled for one in known.values()) == walk.pooled
    whole = evidence(coin=None, scores=walk.scores)
    for one in walk.scores:
        shown = evidence_by_horizon(held, whole)[one.horizon]
        assert shown.answers == ()
        assert shown.pooled is not None
        assert shown.pooled.answers == one.answers


@pytest.mark.parametrize("question", SHORT_QUESTIONS)
def test_the_numbers_of_an_answer_name_what_it_is_compared_with(question: Question) -> None:
    answer = PlainAnswer(question=question, answer="yes", estimate=0.6, lower=0.55, upper=0.65, margin=0.01, n=9)
    assert "60.0 %" in answer_numbers(answer)
