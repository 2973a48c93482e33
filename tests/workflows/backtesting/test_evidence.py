"""The honest number of trials: what counts as another attempt, and what as the same one."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptocast.config import BacktestConfig, Config, DataConfig, StoreConfig, StrategyConfig, TrainConfig
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest
from cryptocast.workflows.context import Context, Selection

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FROM, TO = datetime(2018, 6, 1, tzinfo=UTC), datetime(2019, 6, 1, tzinfo=UTC)


def trials(
    folder: Path, *coins: str, start: datetime | None = FROM, seed: int = 7, fee: float = 10.0, **order: Any
) -> int:
    """How many trials a backtest counts; there is one strategy in it."""
    config = Config(
        store=StoreConfig(path=folder / "data"),
        data=DataConfig(coins=coins or ("bitcoin", "litecoin"), source="sample"),
        train=TrainConfig(blocks=2, threads=1, audit=False, seed=seed),
        backtest=BacktestConfig(models=("baseline",)),
        strategy=StrategyConfig(draws=100, fee_bps=fee),
    )
    context = Context(config=config, wall_clock=lambda: NOW, who="test")
    asked = BacktestOrder(Selection(), walk_forward=True, horizons=(1, 7), start=start, end=TO)
    report = backtest(context, replace(asked, **order))
    assert report.trading is not None
    assert report.trading.trials is not None
    return report.trading.trials


def test_every_turn_of_a_knob_is_another_trial_and_looking_again_is_none(tmp_path: Path) -> None:
    assert trials(tmp_path) == 1
    assert trials(tmp_path) == 1, "the same question"
    assert trials(tmp_path, fresh=True) == 1, "the same question, all of it made anew"
    assert trials(tmp_path, start=datetime(2018, 6, 8, tzinfo=UTC)) == 1, "much the same bars, as a week later"
    assert trials(tmp_path, step=14) == 2
    assert trials(tmp_path, window=500) == 3
    assert trials(tmp_path, fee=0.0) == 4
    assert trials(tmp_path, seed=8) == 5
    assert trials(tmp_path, start=datetime(2018, 12, 1, tzinfo=UTC)) == 6, "another span is chosen, too"
    assert trials(tmp_path, walk_forward=False, start=None, end=None) >= 2
    assert trials(tmp_path) >= 6, "and what came later counts for all"


def test_coins_that_were_traded_among_others_were_traded(tmp_path: Path) -> None:
    assert trials(tmp_path, "bitcoin", "litecoin") == 1
    assert trials(tmp_path, "bitcoin") == 2
    assert trials(tmp_path, "litecoin") == 2
    assert trials(tmp_path, "ethereum", start=datetime(2018, 12, 1, tzinfo=UTC)) == 1
    assert trials(tmp_path, "litecoin", "bitcoin") == 3


def test_what_nobody_can_trade_is_no_trial(tmp_path: Path) -> None:
    trials(tmp_path, execution="same_bar", untradable=True)
    assert trials(tmp_path) == 1
