"""Does a feature help? One that knows the answer does, one that says nothing does not, and it may be turned around."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cryptocast.config import BacktestConfig, DataConfig, FeaturesConfig
from cryptocast.errors import UsageError
from cryptocast.workflows.backtesting import ablation
from cryptocast.workflows.backtesting.ablation import ablate
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest, prepare
from cryptocast.workflows.backtesting.run import carry_out
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.engines import Engine
from tests.workflows.backtesting.small_runs import context

# One that peeks at the next bar, one that is always the same.
OWN = """
import polars as pl
from cryptocast.features import Feature

CLOSE = pl.col("close")
FEATURES = (
    Feature("peeks", "price", (CLOSE.shift(-1) / CLOSE).log().abs(), 0, 0, source="mine", unit="log"),
    Feature("silent", "price", CLOSE * 0 + 1, 0, 0, source="mine", unit="one"),
)
"""
BITCOIN = Selection(("bitcoin",))


@pytest.fixture
def peeking(tmp_path: Path) -> Context:
    """[train] audit is off here, else the walk would refuse the feature that peeks."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    return context(
        tmp_path,
        features=FeaturesConfig(file=str(tmp_path / "own.py")),
        data=DataConfig(coins=("bitcoin",), source="sample"),
        backtest=BacktestConfig(refit_every_bars=364),
    )


def test_a_feature_that_knows_the_next_bar_helps_there_and_by_how_much_is_said(peeking: Context) -> None:
    report = ablate(peeking, BITCOIN, "peeks")
    first = report.horizons[0]
    assert (report.feature, report.model, report.helps) == ("peeks", "lightgbm", "yes")
    assert (first.horizon, first.helps) == (1, "yes")
    assert first.gain is not None
    assert first.lower is not None
    assert 0.0 < first.lower < first.gain
    assert first.p_helps is not None
    assert first.p_helps < 0.05
    assert report.changed > 0.0
    # The gain is that of two walks: the one with the feature is the backtest's own.
    walked = backtest(peeking, BacktestOrder(BITCOIN, walk_forward=True, models=("lightgbm",)))
    score = next(row for row in walked.rows if row.model == "lightgbm").scores[0]
    assert (first.n, first.dates) == (score.n, score.dates)


def test_a_feature_that_says_nothing_changes_nothing(peeking: Context) -> None:
    report = ablate(peeking, BITCOIN, "silent")
    assert (report.helps, report.changed) == ("not_enough_data", 0.0)
    assert {(row.gain, row.helps) for row in report.horizons} == {(0.0, "not_enough_data")}


def test_what_harms_is_a_no(peeking: Context) -> None:
    inputs = prepare(peeking, BacktestOrder(BITCOIN, walk_forward=True, models=("lightgbm",)))
    whole = carry_out(inputs, None, Engine()).judgement
    wide = {name: replace(one, values=one.values * 3.0) for name, one in whole.forecasts.items()}
    losses = {
        name: loss * 1.5 + np.abs(loss) * np.sin(np.arange(len(loss)))[:, None] * 0.1
        for name, loss in whole.losses.items()
    }
    worse = replace(whole, forecasts=wide, losses=losses)
    harmed = ablation._horizons(ablation._Sides("lightgbm", worse, whole))
    assert harmed[0].helps == "no"
    assert ablation._answer(["yes", "no"]) == "no"
    assert ablation._answer(["yes", "not_enough_data"]) == "yes"


def test_a_feature_that_there_is_not_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean ret_1"):
        ablate(context(Path("nowhere")), BITCOIN, "ret_01")


def test_the_document_is_json(peeking: Context) -> None:
    document = msgspec.json.decode(msgspec.json.encode(ablate(peeking, BITCOIN, "silent")))
    assert document["schema"] == "cryptocast.ablation/2"
