"""The box in which a command ends."""

from collections.abc import Mapping
from pathlib import Path
from unittest.mock import Mock

import pytest
from rich.console import Console

from cryptocast.cli.screens.conclusion import (
    Conclusion,
    challenger_of,
    conclusion_box,
    mean_loss,
    model_name,
    served_now,
)
from cryptocast.config import Config, StoreConfig, TrainConfig
from cryptocast.workflows.context import Context
from cryptocast.workflows.reports import BacktestReport, DataUsed, ForecastDocument, PlainAnswer, Question, TrainReport
from tests.registry.registry_fits import BITCOIN, NOW, register, score

WORDS = {"y": "yes", "n": "no", "?": "not_enough_data"}


def answers(**marks: str) -> dict[int, list[PlainAnswer]]:
    """By question a mark for each of the horizons 1, 7, 14, 30."""
    return {
        horizon: [
            PlainAnswer(question=Question(name), answer=WORDS[own[place]], margin=0.0, n=9)  # type: ignore[arg-type]
            for name, own in marks.items()
        ]
        for place, horizon in enumerate((1, 7, 14, 30))
    }


def shown(own: Mapping[int, list[PlainAnswer]], *, coins: int = 1, served: int = 1, width: int = 80) -> list[str]:
    conclusion = Conclusion(
        use="bitcoin/lightgbm:1",
        answers=own,
        coins=coins,
        granularity="daily",
        served={f"coin-{number}": f"coin-{number}/lstm:1" for number in range(served)},
        step="cryptocast forecast bitcoin",
        remark="done in 9 s",
    )
    console = Console(width=width, record=True)
    console.print(conclusion_box(conclusion))
    return [line.strip("│ ") for line in console.export_text().splitlines()]


def test_it_says_what_to_use_how_far_to_trust_it_what_is_served_and_what_comes_next_in_six_lines() -> None:
    top, *lines, bottom = shown(answers(intervals="yyyy", width="y???", model="????", direction="nnnn"))
    assert lines == [
        "Use bitcoin/lightgbm:1 for how far the price may move, not which way.",
        "Intervals right? yes.",
        "Width better than naive? yes at 1 d; not enough data at 7, 14, 30 d.",
        "Beats our baseline? not enough data. View on direction? no.",
        "Served now: coin-0/lstm:1 for coin-0.",
        "Next: cryptocast forecast bitcoin",
    ]
    assert "Conclusion" in top
    assert "done in 9 s" in bottom


def test_a_view_on_direction_is_part_of_what_it_is_used_for() -> None:
    lines = shown(answers(direction="yn?n"))
    assert "and which way at 1 d." in lines[1]


def test_the_pool_is_named_and_many_coins_are_not_all_listed() -> None:
    lines = shown(answers(intervals="yyyy"), coins=12, served=5)
    assert "answers over 12 coins" in lines[0]
    assert "Served now: lstm:1 for coin-0, coin-1, coin-2 and 2 more." in lines


def test_without_a_backtest_it_says_so() -> None:
    assert "How far to trust it is not known: it was not backtested." in shown({})


@pytest.mark.parametrize("width", [40, 80, 140])
def test_it_fits_any_width(width: int) -> None:
    assert max(map(len, shown(answers(intervals="y?ny", width="y??n", model="????"), width=width))) <= width


def test_where_nothing_is_in_production_the_baseline_is_served(tmp_path: Path) -> None:
    config = Config(store=StoreConfig(path=tmp_path / "none"), train=TrainConfig(pretrained="none"))
    day = NOW.replace(year=2015)
    row = DataUsed(
        coin="bitcoin", source="sample", rows=9, first=day, last=day, content_hash="", stale=False, notice=None
    )
    report = TrainReport(granularity="daily", vs="usd", forecast=ForecastDocument(forecasts=()))
    served = served_now(Context(config=config), [row], report)
    assert [model_name(version) for version in served.values()] == ["baseline"]
    assert not (tmp_path / "none").exists()


def test_the_mean_loss_is_that_over_a_normal_random_walk() -> None:
    scores = [
        score(1, crps={"lightgbm": 0.9, "rw_gaussian": 1.0}),
        score(7, crps={"lightgbm": 2.2, "rw_gaussian": 2.0}),
    ]
    assert mean_loss("lightgbm", scores) == pytest.approx(1.0)
    assert mean_loss("lightgbm", [score(1, crps={})]) == float("inf")


def test_the_challenger_that_waits_is_that_of_the_best_model_and_not_production(tmp_path: Path) -> None:
    context = Context(Config(store=StoreConfig(path=tmp_path)))
    row = Mock(coin="bitcoin", source="sample")
    report = Mock(spec=BacktestReport, rows=[row], data=[row], vs="usd", granularity="daily")
    assert challenger_of(context, "lightgbm", report) is None
    register(context.registry(), "1")
    assert challenger_of(context, "lightgbm", report) is None, "it is in production"
    register(context.registry(), "2", rounds=500)
    waiting = challenger_of(context, "lightgbm", report)
    assert waiting is not None
    assert (waiting.key, waiting.number) == (BITCOIN, 2)
    assert challenger_of(context, "shipped", report) is None
    assert challenger_of(context, "lstm", report) is None
