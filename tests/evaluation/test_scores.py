"""Scores against the references: corrected for their number, averaged by date."""

import msgspec
import pytest
from msgspec.structs import replace

from cryptocast.evaluation.answers import Question, Unanswered
from cryptocast.evaluation.records import HorizonScore
from cryptocast.evaluation.scores import TableRow, judge, score_row
from cryptocast.evaluation.walk_forward import WalkForward
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Forecast


def test_a_model_or_a_coin_beside_it_changes_no_answer(matrix: Matrix, walked: WalkForward) -> None:
    rows = matrix.rows(walked.row)
    judged = judge(rows, walked.forecasts, step=7)
    fewer = judge(rows, {name: walked.forecasts[name] for name in ("baseline", "lightgbm")}, step=7)
    more = judge(rows, {**walked.forecasts, "twin": walked.forecasts["lightgbm"]}, step=7)
    own = [score.answers for score in score_row(TableRow(judged, "lightgbm"))]
    for other in (fewer, more):
        assert [score.answers for score in score_row(TableRow(other, "lightgbm"))] == own
    of_coin = score_row(TableRow(judged.of_coin("bitcoin"), "lightgbm"))
    alone = judge(rows.rows(rows.coin_names == "bitcoin"), _of_bitcoin(walked, rows), step=7)
    for here, there in zip(score_row(TableRow(alone, "lightgbm")), of_coin, strict=True):
        assert [answer.answer for answer in here.answers] == [answer.answer for answer in there.answers]
        assert [answer.lower for answer in here.answers] == pytest.approx([answer.lower for answer in there.answers])


def _of_bitcoin(walked: WalkForward, rows: Matrix) -> dict[str, Forecast]:
    return {name: one.rows(rows.coin_names == "bitcoin") for name, one in walked.forecasts.items()}


def test_each_question_is_answered_from_the_scores_beside_it(matrix: Matrix, walked: WalkForward) -> None:
    judged = judge(matrix.rows(walked.row), walked.forecasts, step=7)
    for score in score_row(TableRow(judged, "lightgbm")):
        assert [one.question for one in score.answers] == list(Question)
        width, model = score.answer(Question.WIDTH), score.answer(Question.MODEL)
        assert width is not None
        assert model is not None
        naive = min(score.skill["rw_empirical"], score.skill["rw_gaussian"])
        assert (width.estimate, model.estimate) == pytest.approx((naive, score.skill["baseline"]))
        assert (width.n, model.against) == (score.dates, "baseline")
        intervals = score.answer(Question.INTERVALS)
        assert intervals is not None
        assert intervals.estimate in {one.share for one in score.coverage if one.percent == intervals.level}
    baseline = score_row(TableRow(judged, "baseline"))
    assert {score.answer(Question.MODEL) for score in baseline} == {None}
    assert {one.answer for score in baseline for one in score.answers if one.question is Question.DIRECTION} == {"no"}


def test_where_the_baseline_answers_nothing_is_asked(matrix: Matrix, walked: WalkForward) -> None:
    judged = judge(matrix.rows(walked.row), walked.forecasts, step=7)
    horizon = int(judged.rows.horizons[-1])
    last = score_row(TableRow(judged, "lightgbm", {horizon: "too little history"}))[-1]
    assert (last.answers, last.unanswered, last.cause) == ((), Unanswered.BASELINE_ANSWERS, "too little history")
    assert last.by_baseline


def test_scores_cover_each_horizon_and_hold_their_references(matrix: Matrix, walked: WalkForward) -> None:
    judged = judge(matrix.rows(walked.row), walked.forecasts, step=7)
    for score in score_row(TableRow(judged, "lightgbm")):
        assert set(score.skill) == {"rw_empirical", "rw_gaussian", "baseline"}
        assert score.mape == pytest.approx(score.mape_random_walk, rel=1e-9)
        assert {c.percent for c in score.coverage} == {80, 90, 95}
        assert score.tails is not None
        shares = [c.share for c in (*score.coverage, *score.tails)]
        assert [c.percent for c in score.tails] == [98, 99]
        assert shares == sorted(shares)
        expected = 1 - score.crps["lightgbm"] / score.crps["baseline"]
        assert score.skill["baseline"] == pytest.approx(expected)
    one = judged.of_coin("bitcoin")
    assert set(one.rows.coin_names) == {"bitcoin"}
    whole = {score.horizon: score.crps["baseline"] for score in score_row(TableRow(judged, "baseline"))}
    halves = [
        {score.horizon: score.crps["baseline"] for score in score_row(TableRow(judged.of_coin(coin), "baseline"))}
        for coin in ("bitcoin", "ethereum")
    ]
    for horizon, value in whole.items():
        assert value == pytest.approx((halves[0][horizon] + halves[1][horizon]) / 2)


def test_the_baseline_is_never_better_than_itself(matrix: Matrix, walked: WalkForward) -> None:
    judged = judge(matrix.rows(walked.row), walked.forecasts, step=7)
    for score in score_row(TableRow(judged, "baseline")):
        assert "baseline" not in score.skill
        assert score.p_worse_than_baseline is None


def test_a_record_of_before_there_were_tails_reads_back(matrix: Matrix, walked: WalkForward) -> None:
    judged = judge(matrix.rows(walked.row), walked.forecasts, step=7)
    score = score_row(TableRow(judged, "baseline"))[0]
    older = msgspec.to_builtins(score)
    del older["tails"]
    assert msgspec.convert(older, HorizonScore) == replace(score, tails=None)
