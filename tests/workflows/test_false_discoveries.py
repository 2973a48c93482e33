"""Markets in which nothing can be found: how often a backtest says that something was."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cryptocast.config import Config, DataConfig, SimulatedConfig, StoreConfig, TrainConfig
from cryptocast.evaluation.answers import Question
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest
from cryptocast.workflows.context import Context
from cryptocast.workflows.reports import BacktestReport

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SEEDS = 100
MOST = 11  # of 100 at 5 %: the 99th percentile of a binomial is 11
CLAIMS = (Question.MODEL, Question.DIRECTION)


def backtest_of(
    folder: Path, seed: int, *, walk_forward: bool, models: tuple[str, ...] = ("baseline", "lightgbm")
) -> BacktestReport:
    """800 bars of a random walk of constant volatility."""
    config = Config(
        store=StoreConfig(path=folder / str(seed)),
        data=DataConfig(coins=("bitcoin",), source="simulated"),
        simulated=SimulatedConfig(market="random_walk", seed=seed, bars=800),
        train=TrainConfig(threads=2, audit=False),
    )
    context = Context(config=config, wall_clock=lambda: NOW, who="test")
    return backtest(context, BacktestOrder(walk_forward=walk_forward, models=models))


def claims_skill(report: BacktestReport) -> bool:
    """Over the baseline: of a constant volatility nothing can be known that it does not know."""
    scores = [score for row in report.rows for score in row.scores]
    return any(one.answer == "yes" for score in scores for one in score.answers if one.question in CLAIMS)


@pytest.mark.slow
@pytest.mark.parametrize("walk_forward", [True, False], ids=["walk-forward", "hold-out"])
def test_on_a_hundred_random_walks_of_constant_volatility_skill_is_hardly_ever_claimed(
    tmp_path: Path, walk_forward: bool
) -> None:
    said = [seed for seed in range(SEEDS) if claims_skill(backtest_of(tmp_path, seed, walk_forward=walk_forward))]
    assert len(said) <= MOST, f"{len(said)} of {SEEDS}: {said}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_on_a_random_walk_neither_network_nor_ensemble_is_said_to_have_skill(tmp_path: Path, seed: int) -> None:
    report = backtest_of(tmp_path, seed, walk_forward=False, models=("baseline", "lstm", "ml_ensemble"))
    assert {row.model for row in report.rows} >= {"lstm", "ml_ensemble"}
    assert not claims_skill(report)


def test_on_a_random_walk_no_skill_is_claimed_and_how_much_data_would_do_is_said(tmp_path: Path) -> None:
    report = backtest_of(tmp_path, 1, walk_forward=False)
    assert not claims_skill(report)
    models = [score.answer(Question.MODEL) for row in report.rows for score in row.scores]
    assert all(one is None or one.n_needed is None or one.n_needed > one.n for one in models)
