"""A series that is dated but known later shows in what the price does after it; an honest one does not."""

import numpy as np
import polars as pl
import pytest

from cryptocast.arrays import FloatArray
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.sample import load_sample
from cryptocast.features.foresight import LEAST_CHANGES, audit_foresight

CANDLES = pl.concat([load_sample(coin).frame for coin in ("bitcoin", "ethereum", "litecoin")])
BITCOIN = load_sample("bitcoin").frame


def beside(values: FloatArray, candles: pl.DataFrame = CANDLES) -> pl.DataFrame:
    """Candles with a value for each of bitcoin's closes."""
    column = BITCOIN.select("close_time", outside=pl.Series(values, nan_to_null=True))
    return candles.join(column, on="close_time", how="left")


def shifted(values: FloatArray, bars: int) -> FloatArray:
    return np.concatenate([values[bars:], np.full(bars, np.nan)]) if bars else values


CLOSE = BITCOIN["close"].to_numpy()
RANGE = (BITCOIN["high"] / BITCOIN["low"]).log().to_numpy()
MEAN_RANGE = pl.Series(RANGE).rolling_mean(7).to_numpy()


@pytest.mark.parametrize("values", [CLOSE, RANGE, MEAN_RANGE, -CLOSE], ids=["close", "range", "mean", "falling"])
def test_a_value_of_the_day_that_is_known_a_day_too_early_is_reported(values: FloatArray) -> None:
    honest, early = (audit_foresight(beside(shifted(values, bars)), ["outside"]) for bars in (0, 1))
    assert (honest.ran, honest.found, early.found) == (True, 0, 1)
    (finding,) = early.findings
    assert finding.feature == "outside"
    assert finding.value_with is not None
    assert finding.value_without is not None
    assert abs(finding.value_with) > finding.value_without >= 0.2


def test_a_week_known_at_its_beginning_is_reported_by_the_moves_of_the_week() -> None:
    week = np.arange(len(CLOSE)) // 7
    last = np.minimum(week * 7 + 6, len(CLOSE) - 1)
    assert audit_foresight(beside(CLOSE[last]), ["outside"]).found == 1
    before = np.maximum(week * 7 - 1, 0)
    assert audit_foresight(beside(CLOSE[before]), ["outside"]).found == 0


@pytest.mark.parametrize("seed", range(20))
def test_noise_and_walks_are_let_through(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=len(CLOSE))
    frame = beside(noise).with_columns(walk=beside(np.cumsum(noise))["outside"])
    assert audit_foresight(frame, ["outside", "walk"]).found == 0


def test_too_few_changes_are_not_judged_and_that_is_said() -> None:
    values = CLOSE[np.arange(len(CLOSE)) // 60 * 60]
    check = audit_foresight(beside(values), ["outside"])
    assert (check.found, check.cells) == (0, 0)
    assert check.not_run == (f"outside: fewer than {LEAST_CHANGES} changes beside the prices of a coin",)
    assert len(CLOSE) * BAR_US["daily"] > 0
