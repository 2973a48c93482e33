"""Formulas are shared, cannot look ahead, and give across coins what NumPy gives."""

import math

import numpy as np
import polars as pl
import pytest

from cryptocast.features.engine import evaluate, plan
from cryptocast.features.formula import (
    CLOSE,
    HIGH,
    Formula,
    across,
    coalesce,
    correlation,
    kurtosis,
    larger,
    log_return,
    mean,
    ordered,
    skewness,
    spread,
    where,
)
from tests.features.frames import series


def test_equal_formulas_are_one_and_are_computed_once() -> None:
    assert log_return(7) == log_return(7)
    assert hash(log_return(7)) == hash(log_return(7))
    assert log_return(7) != log_return(8)
    nodes = ordered([log_return(1) / spread(log_return(1), 30), mean(log_return(1), 30)])
    assert len(nodes) == len({node.key for node in nodes}) == 7  # close, shift, ratio, log, spread, quotient, mean


def test_windows_over_the_same_values_share_their_halves() -> None:
    alone = len(plan([mean(CLOSE, 60)]).steps)
    both = len(plan([mean(CLOSE, 60), mean(CLOSE, 30)]).steps)
    assert both - alone < len(plan([mean(CLOSE, 30)]).steps)


def test_a_formula_cannot_look_ahead() -> None:
    with pytest.raises(ValueError, match="looks into the future"):
        CLOSE.shift(-1)
    with pytest.raises(ValueError, match="cannot ask for"):
        CLOSE.rolling_mean(5, 6)
    with pytest.raises(ValueError, match="power of 5"):
        CLOSE**5


def test_a_window_over_a_figure_across_coins_is_refused() -> None:
    with pytest.raises(ValueError, match="across coins"):
        plan([across("mean", CLOSE).rolling_mean(3)])
    with pytest.raises(ValueError, match="across coins"):
        plan([across("mean", across("rank", CLOSE))])


def test_operators_do_what_they_say() -> None:
    x = np.array([-2.0, 0.5, math.nan, 3.0])
    formulas = {
        "sum": 1.0 + CLOSE * 2.0 - CLOSE / 4.0,
        "from": (1.0 - CLOSE) * (8.0 / CLOSE),
        "power": CLOSE**2 + CLOSE**3 + CLOSE**4,
        "size": -CLOSE.abs() + CLOSE.sign(),
        "bounded": CLOSE.within(-1.0, 1.0),
        "chosen": where((CLOSE > 0.0) & (CLOSE <= 0.5), 7.0, CLOSE),
        "other": where((CLOSE < 0.0), CLOSE) + where(CLOSE >= -2.0, 0.0),
        "filled": coalesce(CLOSE, CLOSE.shift(1)),
        "larger": larger(CLOSE, 1.0),
        "known": CLOSE.known(),
        "moved": CLOSE.diff(),
        "missing": HIGH,
    }
    ours = {name: column.to_numpy() for name, column in evaluate(series(x), **formulas).to_dict().items()}
    expected = {
        "sum": 1 + x * 2 - x / 4,
        "from": (1 - x) * (8 / x),
        "power": x**2 + x**3 + x**4,
        "size": -np.abs(x) + np.sign(x),
        "bounded": x.clip(-1, 1),
        "chosen": [-2, 7, math.nan, 3],
        "other": [-2, math.nan, math.nan, math.nan],
        "filled": [-2, 0.5, 0.5, 3],
        "larger": [1, 1, 1, 3],
        "known": [1, 1, 0, 1],
        "moved": [math.nan, 2.5, math.nan, math.nan],
        "missing": [math.nan] * 4,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-12, err_msg=name)


def test_moments_and_correlations_equal_numpys() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(0.001, 0.03, (2, 90))
    frame = pl.DataFrame({"close": x, "high": y})
    row = evaluate(frame, s=skewness(CLOSE, 60), k=kurtosis(CLOSE, 60), c=correlation(CLOSE, HIGH, 60)).row(-1)
    centred = x[-60:] - x[-60:].mean()
    expected = (
        (centred**3).mean() / x[-60:].std() ** 3,
        (centred**4).mean() / x[-60:].std() ** 4,
        np.corrcoef(x[-60:], y[-60:])[0, 1],
    )
    assert row == pytest.approx(expected, rel=1e-9)
    flat = evaluate(pl.DataFrame({"close": np.zeros(70)}), s=skewness(CLOSE, 60), k=kurtosis(CLOSE, 60)).row(-1)
    assert flat == (0.0, 3.0)


@pytest.mark.parametrize("off_grid", [False, True])
def test_figures_across_coins_see_the_coins_that_have_a_value_then(off_grid: bool) -> None:
    rng = np.random.default_rng(2)
    table = np.round(rng.normal(0, 1, (5, 40)), 1)  # rounded, so that there are ties
    table[rng.random(table.shape) < 0.2] = np.nan
    stamps = np.arange(40) * 86_400_000_000 + (np.arange(40) * 7 if off_grid else 0)
    frame = pl.DataFrame(
        {"coin": np.repeat(list("abcde"), 40), "close_time": np.tile(stamps, 5), "close": table.ravel()}
    )
    names = ("count", "mean", "std", "rank")
    formulas: dict[str, Formula] = {name: across(name, CLOSE) for name in names}
    ours = evaluate(frame, **formulas).to_dict()
    ranks = pl.DataFrame(table.T).with_columns(pl.all().fill_nan(None)).transpose().select(pl.all().rank("average"))
    expected = {
        "count": np.broadcast_to((~np.isnan(table)).sum(axis=0), table.shape),
        "mean": np.broadcast_to(np.nanmean(table, axis=0), table.shape),
        "std": np.broadcast_to(np.nanstd(table, axis=0), table.shape),
        "rank": ranks.to_numpy(),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(ours[name].to_numpy().reshape(5, 40), values, rtol=1e-9, atol=1e-12, err_msg=name)
