"""Scores against the references: corrected for their number, averaged by date."""

import msgspec
import pytest
from msgspec.structs import replace

from cryptocast.evaluation.records import HorizonScore
from cryptocast.evaluation.scores import TableRow, judge, score_table
from cryptocast.evaluation.verdicts import Verdict
from cryptocast.evaluation.walk_forward import WalkForward
from cryptocast.features.matrix import Matrix


def test_the_more_is_tested_the_harder_it_is_to_be_better(matrix: Matrix, walked: WalkForward) -> None:
    judged = judge(matrix.rows(walked.row), walked.forecasts, step=7)
    alone = score_table([TableRow(judged, "baseline")])[0]
    table = score_table([TableRow(judged, "baseline")] * 50)
    assert len(table) == 50
    better = sum(score.verdict.word == "better" for score in alone)
    assert sum(score.verdict.word == "better" for score in table[0]) <= better
    nothing = Verdict()
    strip = [replace(score, verdict=nothing) for score in table[0]]
    assert strip == [replace(score, verdict=nothing) for score in alone]


def test_scores_cover_each_horizon_and_hold_their_references(matrix: Matrix, walked: WalkForward) -> None:
    judged = judge(matrix.rows(walked.row), walked.forecasts, step=7)
    for score in score_table([TableRow(judged, "lightgbm")])[0]:
        assert set(score.skill) == {"rw_empirical", "rw_gaussian", "baseline"}
        assert score.mape == pytest.approx(score.mape_random_walk, rel=1e-9)
        assert {c.percent for c in score.coverage} == {80, 90, 95}
        assert score.tails is not None
        shares = [c.share for c in (*score.coverage, *score.tails)]
        assert [c.percent for c in score.tails] == [98, 99]
        assert shares == sorted(shares)
        expected = 1 - score.crps["lightgbm"] / score.crps["baseline"]
        assert score.skill["baseline"] == pytest.approx(expected)
        assert score.verdict.word in ("better", "worse", "cannot tell")
        assert score.verdict.against == min(score.skill, key=lambda name: score.skill[name])
        assert score.verdict.skill == pytest.approx(min(score.skill.values()))
        assert score.verdict.dates == score.dates
    one = judged.of_coin("bitcoin")
    assert set(one.rows.coin_names) == {"bitcoin"}
    whole = {score.horizon: score.crps["baseline"] for score in score_table([TableRow(judged, "baseline")])[0]}
    halves = [
        {
            score.horizon: score.crps["baseline"]
            for score in score_table([TableRow(judged.of_coin(coin), "baseline")])[0]
        }
        for coin in ("bitcoin", "ethereum")
    ]
    for horizon, value in whole.items():
        assert value == pytest.approx((halves[0][horizon] + halves[1][horizon]) / 2)


def test_the_baseline_is_never_better_than_itself(matrix: Matrix, walked: WalkForward) -> None:
    judged = judge(matrix.rows(walked.row), walked.forecasts, step=7)
    for score in score_table([TableRow(judged, "baseline")])[0]:
        assert "baseline" not in score.skill
        assert score.p_worse_than_baseline is None


def test_a_record_of_before_there_were_tails_reads_back(matrix: Matrix, walked: WalkForward) -> None:
    judged = judge(matrix.rows(walked.row), walked.forecasts, step=7)
    score = score_table([TableRow(judged, "baseline")])[0][0]
    older = msgspec.to_builtins(score)
    del older["tails"]
    assert msgspec.convert(older, HorizonScore) == replace(score, tails=None)
