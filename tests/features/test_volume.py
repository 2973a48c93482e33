"""Volume features against loops that say the same in NumPy."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from cryptocast.features import volume
from cryptocast.features.builder import evaluate

Floats = npt.NDArray[np.float64]
Bars = dict[str, Floats]
MakeBars = Callable[..., pl.DataFrame]


def _impact(bars: Bars) -> Floats:
    return np.abs(np.diff(np.log(bars["close"]))).clip(1e-4) / bars["volume"][1:]


ORACLES: dict[str, tuple[pl.Expr, int, Callable[[Bars], float]]] = {
    "ratio": (volume.volume_ratio(7), 7, lambda b: np.log(b["volume"][-1] / b["volume"].mean())),
    "trend": (volume.volume_trend(7, 30), 30, lambda b: np.log(b["volume"][-7:].mean() / b["volume"].mean())),
    "zscore": (
        volume.volume_zscore(30),
        30,
        lambda b: (np.log(b["volume"][-1]) - np.log(b["volume"]).mean()) / np.log(b["volume"]).std(),
    ),
    "volatility": (volume.volume_volatility(30), 31, lambda b: np.diff(np.log(b["volume"])).std()),
    "obv": (
        volume.obv_change(30),
        31,
        lambda b: (np.sign(np.diff(b["close"])) * b["volume"][1:]).sum() / b["volume"][1:].sum(),
    ),
    "correlation": (
        volume.price_volume_correlation(30),
        31,
        lambda b: np.corrcoef(np.diff(np.log(b["close"])), np.diff(np.log(b["volume"])))[0, 1],
    ),
    "vwap": (
        volume.vwap_distance(30),
        30,
        lambda b: np.log(b["close"][-1] / ((b["close"] * b["volume"]).sum() / b["volume"].sum())),
    ),
    "illiquidity": (volume.illiquidity(7, 30), 31, lambda b: np.log(_impact(b)[-7:].mean() / _impact(b).mean())),
    "turnover": (volume.turnover(7), 7, lambda b: np.log(b["volume"].mean() / b["market_cap"][-1])),
    "turnover ratio": (
        volume.turnover_ratio(30),
        30,
        lambda b: np.log(b["volume"][-1] / b["market_cap"][-1] / (b["volume"] / b["market_cap"]).mean()),
    ),
}


@pytest.mark.parametrize("name", ORACLES)
def test_a_volume_feature_equals_its_loop(name: str, make_bars: MakeBars) -> None:
    formula, seen, oracle = ORACLES[name]
    frame = make_bars(100, coins=["bitcoin"])
    bars = {column: frame[column].to_numpy() for column in ("close", "volume", "market_cap")}
    ours = evaluate(frame, x=formula)["x"]
    assert ours.null_count() == seen - 1
    rows = [{k: v[row - seen + 1 : row + 1] for k, v in bars.items()} for row in range(seen - 1, 100)]
    np.testing.assert_allclose(ours.to_numpy()[seen - 1 :], [oracle(row) for row in rows], rtol=1e-9, atol=1e-12)


def test_constant_volume_and_price_say_nothing(make_bars: MakeBars) -> None:
    still = make_bars(100, coins=["bitcoin"]).with_columns(
        pl.lit(7.0).alias(name) for name in ("open", "high", "low", "close", "volume")
    )
    row = evaluate(
        still,
        ratio=volume.volume_ratio(30),
        zscore=volume.volume_zscore(30),
        obv=volume.obv_change(30),
        correlation=volume.price_volume_correlation(30),
        illiquidity=volume.illiquidity(7, 30),
        vwap=volume.vwap_distance(30),
    ).row(-1)
    assert row == pytest.approx((0.0,) * 6, abs=1e-9)


def test_on_balance_volume_starts_anew_behind_a_gap() -> None:
    frame = pl.DataFrame({"close": [1.0, 2.0, None, 2.0, 1.0, 3.0], "volume": [5.0, 3.0, 1.0, 7.0, 2.0, 4.0]})
    assert evaluate(frame, x=volume.obv())["x"].to_list() == [5.0, 8.0, None, 7.0, 5.0, 9.0]
