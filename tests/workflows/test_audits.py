"""Feature files that try to slip through the audit: each is refused by name, and honest ones are let through."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cryptocast.config import Config, DataConfig, FeaturesConfig, LightGBMConfig, StoreConfig, TrainConfig
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.sample import load_sample
from cryptocast.errors import ModelError
from cryptocast.features.builder import select_features
from cryptocast.features.catalogue import FEATURES, Feature
from cryptocast.features.own import catalogue_set, with_own
from cryptocast.features.row_audit import audit_rows
from cryptocast.workflows.audits import audit_for_training, first_coins
from cryptocast.workflows.coin_pool import pool_rows
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.training.train import Order, train
from tests.conftest import simulated_candles
from tests.workflows.pools import pool_of_frames, spoiled

HEAD = """
import functools
import numpy as np
import polars as pl
from cryptocast.features import Feature

CLOSE = pl.col("close")
NEXT = (CLOSE.shift(-1) / CLOSE).log()
RETURN = (CLOSE / CLOSE.shift(1)).log()
STAMP = pl.col("close_time")
seen = {}
calls = []


def remembered(series):
    # keeps the best answer that it ever had to a bar: that of the call that knew the next one
    values = series.to_list()
    for now, after in zip(values, values[1:]):
        if now and after:
            seen[now] = after / now - 1.0
    return pl.Series([seen.get(value) for value in values], dtype=pl.Float64)


def memory_only(series):
    calls.append(len(series))
    values = series.to_numpy()
    ahead = np.append(values[1:], values[-1]) / values - 1.0
    behind = np.append(0.0, np.diff(values) / values[1:])
    return pl.Series(ahead if len(series) > 1_500 else behind)


def drawn(series):
    return pl.Series(np.random.default_rng().normal(size=len(series)))


def counted(series):
    calls.append(1)
    return pl.Series(np.full(len(series), float(len(calls))))


FEATURES = (
"""

SLY = {
    "tomorrow, on Mondays": "pl.when(STAMP.dt.weekday() == 1).then(NEXT).otherwise(RETURN)",
    "tomorrow, behind great falls": "pl.when(RETURN < -0.12).then(NEXT.fill_null(0.0)).otherwise(RETURN)",
    "tomorrow, once a year": "pl.when(STAMP.dt.ordinal_day() == 77).then(NEXT).otherwise(RETURN)",
    "tomorrow, in 2016 alone": "pl.when(STAMP.dt.year() == 2016).then(NEXT).otherwise(RETURN)",
    "tomorrow, remembered from an earlier call": "CLOSE.map_batches(remembered, return_dtype=pl.Float64)",
    "tomorrow, in a long frame only": "CLOSE.map_batches(memory_only, return_dtype=pl.Float64)",
    "tomorrow, where the frame is of even length": "pl.when(pl.len() % 2 == 0).then(NEXT).otherwise(RETURN)",
    "the month's last close": "(CLOSE.last().over(STAMP.dt.truncate('1mo')) / CLOSE).log()",
    "drawn by chance": "CLOSE.map_batches(drawn, return_dtype=pl.Float64)",
    "how often it was called": "CLOSE.map_batches(counted, return_dtype=pl.Float64)",
    "the length of the frame": "pl.len() / 1000.0 + CLOSE * 0.0",
}

HONEST = {
    "a return": "RETURN",
    "a return, on Mondays": "pl.when(STAMP.dt.weekday() == 1).then(RETURN).otherwise(0.0)",
    "a mean with a kernel of NumPy": "CLOSE.map_batches(lambda s: s.rolling_mean(2), return_dtype=pl.Float64) / CLOSE",
    "a cached number": "CLOSE * functools.cache(lambda: 2.0)() / CLOSE.shift(1)",
}


def text_of(expr: str, *, scope: str = "segment") -> str:
    line = f'    Feature("sly", "price", {expr}, 1, 1, source="mine", unit="log", scope="{scope}"),'
    return f"{HEAD}{line}\n)\n"


def found(text: str) -> dict[str, int]:
    frame = pl.concat([load_sample(coin).frame for coin in ("bitcoin", "ethereum")])

    def fresh() -> Sequence[Feature]:
        return [feature for feature in with_own(text, "mine.py").features if feature.name == "sly"]

    return {check.name: check.found for check in audit_rows(frame, fresh, bar_us=BAR_US["daily"], seed=1)}


@pytest.mark.parametrize("name", SLY)
def test_a_leak_that_hides_is_found(name: str) -> None:
    counts = found(text_of(SLY[name]))
    assert any(counts.values()), counts
    assert (counts["repeated"] > 0) == (name in ("drawn by chance", "how often it was called"))


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_feature_is_let_through(name: str) -> None:
    assert found(text_of(HONEST[name])) == {"repeated": 0, "past first": 0, "rows": 0}


def test_a_rank_among_the_coins_is_let_through_and_one_with_tomorrow_is_not() -> None:
    assert sum(found(text_of("CLOSE.rank() / pl.len() - 0.5 * 0", scope="moment")).values()) == 0
    later = "STAMP.dt.offset_by('1d').rank() + CLOSE.rank().over(STAMP.dt.truncate('1mo'))"
    assert sum(found(text_of(later, scope="coin")).values()) > 0


def test_a_longer_memory_than_declared_is_no_leak() -> None:
    """It is refused too, by the check of the memory, and with the right words."""
    assert found(text_of("CLOSE / CLOSE.rolling_mean(300, min_samples=2)"))["rows"] == 0


@pytest.mark.parametrize(
    ("name", "words"), [("tomorrow, behind great falls", "looks into the future"), ("drawn by chance", "by chance")]
)
def test_training_refuses_it_with_the_feature_the_row_and_both_values(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(text_of(SLY[name]), encoding="utf-8")
    config = Config(
        store=StoreConfig(path=tmp_path / "data"),
        data=DataConfig(coins=("bitcoin",), source="sample"),
        features=FeaturesConfig(file=str(tmp_path / "mine.py")),
        train=TrainConfig(blocks=2, threads=1),
        lightgbm=LightGBMConfig(rounds=8, next_bar_rounds=8, min_data_in_leaf=40),
    )
    context = Context(config=config, wall_clock=lambda: datetime(2026, 1, 1, tzinfo=UTC), who="test")
    with pytest.raises(ModelError, match=rf"The feature sly of .*mine\.py, line .*for bitcoin at 20.*{words}|{words}"):
        train(context, Order(Selection(("bitcoin",)), model="lightgbm", horizons=(1,)))


def test_the_audit_looks_at_the_rows_around_a_bad_print() -> None:
    frame = simulated_candles(("bitcoin", "ethereum"), 700)
    spoiled_pool = pool_of_frames(spoiled(frame, "bitcoin", slice(600, 602), 100.0))
    few = replace(catalogue_set(), features=select_features(("ret_1", "vol_30", "btc_ret_30"), FEATURES))
    rows = pool_rows(spoiled_pool, few, (1, 7))
    (check,) = [check for check in audit_for_training(Config(), rows).checks if check.name == "known"]
    assert (check.found, check.runs) == (0, 4)  # at both bars, and at the two behind them
    # Rows that know better than anybody did then.
    wise = replace(rows, matrix=pool_rows(pool_of_frames(frame), few, (1, 7)).matrix)
    report = audit_for_training(Config(), wise)
    assert {"ret_1", "vol_30", "price"} <= set(report.leaks)
    calm = audit_for_training(Config(), pool_rows(pool_of_frames(frame), few, (1, 7)))
    assert "known" not in [check.name for check in calm.checks]


def test_fits_are_audited_on_whole_coins_and_on_one_at_least() -> None:
    pool = pool_of_frames(simulated_candles(("bitcoin", "ethereum", "litecoin"), bars=100))
    matrix = pool_rows(pool, catalogue_set(), (1,)).matrix
    own = len(matrix) // 3
    for most, coins in ((len(matrix), 3), (2 * own, 2), (2 * own - 1, 1), (1, 1)):
        some = first_coins(matrix, most)
        assert np.array_equal(some.issued_at, matrix.issued_at[: coins * own])
