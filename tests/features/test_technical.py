"""The indicators are TA-Lib's, row by row."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import talib

from cryptocast.data.schema import BAR_US
from cryptocast.features import technical, volume
from cryptocast.features.builder import add_features, evaluate
from cryptocast.features.catalogue import FEATURES

Floats = npt.NDArray[np.float64]
Bars = dict[str, Floats]

MACD = technical.macd()
BANDS = technical.bollinger()
STOCHASTIC = technical.stochastic()
DIRECTIONAL = technical.directional()

PAIRS: dict[str, tuple[pl.Expr, Callable[[Bars], Floats]]] = {
    "sma 20": (technical.sma(20), lambda b: talib.SMA(b["close"], 20)),
    "sma 200": (technical.sma(200), lambda b: talib.SMA(b["close"], 200)),
    "ema 12": (technical.ema(12), lambda b: talib.EMA(b["close"], 12)),
    "ema 200": (technical.ema(200), lambda b: talib.EMA(b["close"], 200)),
    "rsi 14": (technical.rsi(14), lambda b: talib.RSI(b["close"], 14)),
    "rsi 7": (technical.rsi(7), lambda b: talib.RSI(b["close"], 7)),
    "macd": (MACD.line, lambda b: talib.MACD(b["close"])[0]),
    "macd signal": (MACD.signal, lambda b: talib.MACD(b["close"])[1]),
    "macd histogram": (MACD.histogram, lambda b: talib.MACD(b["close"])[2]),
    "bands upper": (BANDS.upper, lambda b: talib.BBANDS(b["close"], 20)[0]),
    "bands middle": (BANDS.middle, lambda b: talib.BBANDS(b["close"], 20)[1]),
    "bands lower": (BANDS.lower, lambda b: talib.BBANDS(b["close"], 20)[2]),
    "atr 14": (technical.atr(14), lambda b: talib.ATR(b["high"], b["low"], b["close"], 14)),
    "stochastic k": (STOCHASTIC.k, lambda b: talib.STOCH(b["high"], b["low"], b["close"], 14, 3, slowd_period=3)[0]),
    "stochastic d": (STOCHASTIC.d, lambda b: talib.STOCH(b["high"], b["low"], b["close"], 14, 3, slowd_period=3)[1]),
    "plus di": (DIRECTIONAL.plus, lambda b: talib.PLUS_DI(b["high"], b["low"], b["close"], 14)),
    "minus di": (DIRECTIONAL.minus, lambda b: talib.MINUS_DI(b["high"], b["low"], b["close"], 14)),
    "adx": (DIRECTIONAL.adx, lambda b: talib.ADX(b["high"], b["low"], b["close"], 14)),
    "cci 20": (technical.cci(20), lambda b: talib.CCI(b["high"], b["low"], b["close"], 20)),
    "roc 10": (technical.roc(10), lambda b: talib.ROC(b["close"], 10)),
    "obv": (volume.obv(), lambda b: talib.OBV(b["close"], b["volume"])),
    "mfi 14": (volume.mfi(14), lambda b: talib.MFI(b["high"], b["low"], b["close"], b["volume"], 14)),
}


def _bars(frame: pl.DataFrame) -> Bars:
    return {name: frame[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}


@pytest.mark.parametrize("name", PAIRS)
def test_an_indicator_equals_talib_in_every_row_first_one_included(
    name: str, gapless_series: list[pl.DataFrame]
) -> None:
    formula, reference = PAIRS[name]
    for frame in gapless_series:
        ours = evaluate(frame, x=formula)["x"]
        theirs = reference(_bars(frame))
        assert ours.is_null().to_list() == np.isnan(theirs).tolist()
        known = ~np.isnan(theirs)
        # Relative to the size of the line: an oscillator that crosses 0 has no digits of its own there.
        size = np.abs(theirs[known]).mean()
        np.testing.assert_allclose(ours.to_numpy()[known], theirs[known], rtol=1e-9, atol=1e-9 * size)


def test_a_flat_series_has_no_view(make_bars: Callable[..., pl.DataFrame]) -> None:
    flat = make_bars(120, coins=["bitcoin"]).with_columns(
        pl.lit(0.1).alias(name) for name in ("open", "high", "low", "close")
    )
    row = evaluate(
        flat,
        rsi=technical.rsi(14),
        k=STOCHASTIC.k,
        adx=DIRECTIONAL.adx,
        cci=technical.cci(20),
        band=technical.band_position(20),
        mfi=volume.mfi(14),
        macd=technical.macd_ratio(),
        width=technical.band_width(20),
        atr=technical.atr_ratio(14),
    ).row(-1, named=True)
    middle = {"rsi": 50, "k": 50, "adx": 0, "cci": 0, "band": 0, "mfi": 50, "macd": 0}
    assert {name: row[name] for name in middle} == pytest.approx(middle, abs=1e-3)
    assert row["width"] == pytest.approx(np.log(4e-4))
    assert row["atr"] == pytest.approx(np.log(1e-4))


def test_recursions_restart_behind_a_gap_with_talibs_values_of_the_second_stretch(
    make_bars: Callable[..., pl.DataFrame],
) -> None:
    candles = make_bars(400, coins=["bitcoin"])
    holed = candles.filter(~pl.int_range(pl.len()).is_in([150, 151]))
    second = _bars(candles[152:])
    recursive = [f for f in FEATURES if f.name in ("rsi_14", "atr_14", "adx_14", "ema_50", "macd_hist")]
    table = add_features(holed.lazy(), recursive, bar_us=BAR_US["daily"]).collect()[152:]
    expected = {
        "rsi_14": talib.RSI(second["close"], 14) / 50 - 1,
        "atr_14": np.log(talib.ATR(second["high"], second["low"], second["close"], 14) / second["close"]),
        "adx_14": talib.ADX(second["high"], second["low"], second["close"], 14) / 100,
        "ema_50": np.log(second["close"] / talib.EMA(second["close"], 50)),
        "macd_hist": talib.MACD(second["close"])[2] / second["close"],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(table[name].to_numpy(), values, rtol=1e-9, atol=1e-12)
