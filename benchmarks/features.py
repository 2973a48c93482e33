"""How fast and how exact features are, beside TA-Lib, pandas-ta-classic and `ta` in the same process.

    python benchmarks/features.py [--coins 500] [--bars 2000] [--rows 1000000] [--rounds 3]

The 23 classic columns on a panel of coins and on one long series, values compared with TA-Lib's; the whole catalogue on
the panel; the last row for one coin from the bars that serving keeps. Two threads (POLARS_MAX_THREADS overrides).
Contenders take turns; medians of rounds; memory is the peak above the data, each in a process of its own. Markdown.
"""

import os

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandas_ta_classic
import polars as pl
import psutil
import talib
from ta.momentum import ROCIndicator, RSIIndicator, StochasticOscillator
from ta.trend import MACD, EMAIndicator, SMAIndicator
from ta.volatility import AverageTrueRange, BollingerBands
from ta.volume import OnBalanceVolumeIndicator

from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA
from cryptocast.features import FEATURES, LOOKBACK, add_features
from cryptocast.features.builder import evaluate, last_features, with_features
from cryptocast.features.expressions import CLOSE
from cryptocast.features.technical import atr, bollinger, ema, macd, roc, rsi, sma, stochastic
from cryptocast.features.volume import obv

Floats: TypeAlias = npt.NDArray[np.float64]
Bars: TypeAlias = Mapping[str, Floats]
Columns: TypeAlias = Mapping[str, Any]

DAY = BAR_US["daily"]
WINDOWS = (7, 14, 30, 50, 200)
PRICES = ("open", "high", "low", "close", "volume")
SAMPLE = np.sqrt(20 / 19)  # population to sample deviation


def walk(bars: int, seed: int) -> dict[str, Floats]:
    """A random walk with ranges and volume."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.standard_normal(bars) * 0.9 / bars**0.5))
    start = np.r_[100.0, close[:-1]]
    high = np.maximum(start, close) * (1 + np.abs(rng.standard_normal(bars)) * 0.005)
    low = np.minimum(start, close) * (1 - np.abs(rng.standard_normal(bars)) * 0.005)
    return {"open": start, "high": high, "low": low, "close": close, "volume": rng.lognormal(10, 1, bars)}


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """The same bars in the form that each contender likes: arrays by coin, pandas, Polars in CANDLE_SCHEMA."""

    arrays: tuple[Bars, ...]
    pandas: pd.DataFrame
    polars: pl.DataFrame


def made(coins: int, bars: int) -> Data:
    arrays = tuple(walk(bars, 100 + number) for number in range(coins))
    whole = {name: np.concatenate([coin[name] for coin in arrays]) for name in PRICES}
    number = np.repeat(np.arange(coins), bars)
    stamps = np.tile(np.arange(bars, dtype=np.int64) * (DAY // 24), coins)
    names = pl.Series([f"coin-{n:04d}" for n in range(coins - 1)] + ["bitcoin"]).sort()
    frame = pl.DataFrame({"coin": names.gather(number), "close_time": stamps, **whole}).with_columns(
        market_cap=pl.col("close") * 1e7, range_known=pl.lit(value=True)
    )
    pandas = pd.DataFrame({**whole, "coin": number})
    return Data(arrays, pandas, frame.select(list(CANDLE_SCHEMA)).cast(CANDLE_SCHEMA))


def by_talib(data: Data) -> Columns:
    parts = [talib_columns(coin) for coin in data.arrays]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def talib_columns(bars: Bars) -> dict[str, Floats]:
    high, low, close, volume = (bars[name] for name in PRICES[1:])
    line, signal, histogram = talib.MACD(close)
    upper, middle, lower = talib.BBANDS(close, 20)
    k, d = talib.STOCH(high, low, close, 14, 3, slowd_period=3)
    columns = {"rsi": talib.RSI(close, 14), "macd": line, "signal": signal, "histogram": histogram}
    columns |= {
        "upper": upper,
        "middle": middle,
        "lower": lower,
        "atr": talib.ATR(high, low, close, 14),
        "k": k,
        "d": d,
    }
    columns |= {f"sma_{n}": talib.SMA(close, n) for n in WINDOWS} | {f"ema_{n}": talib.EMA(close, n) for n in WINDOWS}
    deviation = talib.STDDEV(talib.ROCP(close, 1), 20) * SAMPLE
    return columns | {"obv": talib.OBV(close, volume), "roc": talib.ROC(close, 10), "volatility": deviation}


def by_cryptocast(data: Data) -> Columns:
    table = evaluate(data.polars, **our_formulas())
    return {name: table[name] for name in table.columns}


def our_formulas() -> dict[str, pl.Expr]:
    moving, bands, oscillator = macd(), bollinger(), stochastic()
    formulas = {"rsi": rsi(14), "macd": moving.line, "signal": moving.signal, "histogram": moving.histogram}
    formulas |= {"upper": bands.upper, "middle": bands.middle, "lower": bands.lower, "atr": atr(14)}
    formulas |= {"k": oscillator.k, "d": oscillator.d}
    formulas |= {f"sma_{n}": sma(n) for n in WINDOWS} | {f"ema_{n}": ema(n) for n in WINDOWS}
    deviation = (CLOSE / CLOSE.shift(1) - 1.0).rolling_std(20)
    return formulas | {"obv": obv(), "roc": roc(10), "volatility": deviation}


def by_coin(columns: Callable[[pd.DataFrame], dict[str, Any]], data: Data) -> Columns:
    groups = data.pandas.groupby("coin", sort=False)
    table = pd.concat([pd.DataFrame(columns(bars)) for _, bars in groups])
    return {str(name): table[name] for name in table.columns}


def pandas_ta_columns(bars: pd.DataFrame) -> dict[str, Any]:
    p, (high, low, close, volume) = pandas_ta_classic, (bars[name] for name in PRICES[1:])
    moving, bands = p.macd(close, 12, 26, 9, talib=False), p.bbands(close, 20, 2, talib=False)
    oscillator = p.stoch(high, low, close, 14, 3, 3, talib=False)
    columns = {name: moving.iloc[:, i] for i, name in enumerate(("macd", "histogram", "signal"))}
    columns |= {name: bands.iloc[:, i] for i, name in enumerate(("lower", "middle", "upper"))}
    columns |= {"rsi": p.rsi(close, 14, talib=False), "atr": p.atr(high, low, close, 14, talib=False)}
    columns |= {"k": oscillator.iloc[:, 0], "d": oscillator.iloc[:, 1]}
    columns |= {f"sma_{n}": p.sma(close, n, talib=False) for n in WINDOWS}
    columns |= {f"ema_{n}": p.ema(close, n, talib=False) for n in WINDOWS}
    columns |= {"obv": p.obv(close, volume, talib=False), "roc": p.roc(close, 10, talib=False)}
    return columns | {"volatility": p.stdev(close.pct_change(), 20, ddof=1, talib=False)}


def ta_columns(bars: pd.DataFrame) -> dict[str, Any]:
    high, low, close, volume = (bars[name] for name in PRICES[1:])
    moving, bands, oscillator = MACD(close), BollingerBands(close), StochasticOscillator(high, low, close)
    columns = {"macd": moving.macd(), "signal": moving.macd_signal(), "histogram": moving.macd_diff()}
    columns |= {"upper": bands.bollinger_hband(), "middle": bands.bollinger_mavg(), "lower": bands.bollinger_lband()}
    columns |= {"rsi": RSIIndicator(close).rsi(), "atr": AverageTrueRange(high, low, close).average_true_range()}
    columns |= {"k": oscillator.stoch(), "d": oscillator.stoch_signal()}
    columns |= {f"sma_{n}": SMAIndicator(close, n).sma_indicator() for n in WINDOWS}
    columns |= {f"ema_{n}": EMAIndicator(close, n).ema_indicator() for n in WINDOWS}
    columns |= {
        "obv": OnBalanceVolumeIndicator(close, volume).on_balance_volume(),
        "roc": ROCIndicator(close, 10).roc(),
    }
    return columns | {"volatility": close.pct_change().rolling(20).std()}


CONTENDERS: dict[str, Callable[[Data], Columns]] = {
    "TA-Lib (loop over coins)": by_talib,
    "cryptocast": by_cryptocast,
    "pandas-ta-classic, native": partial(by_coin, pandas_ta_columns),
    "ta": partial(by_coin, ta_columns),
}
REFERENCE = "TA-Lib (loop over coins)"


def whole_catalogue(data: Data) -> pl.DataFrame:
    return add_features(data.polars.lazy(), bar_us=DAY // 24).collect()


@dataclass(frozen=True, slots=True)
class Took:
    """Median seconds: by the clock, and of processors, which neighbours on the machine disturb less."""

    clock: float
    processor: float


def medians(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Took]:
    """What each job takes; they take turns, and a first round does not count."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(rounds + 1):
        for name, job in jobs.items():
            began = time.perf_counter(), time.process_time()
            job()
            taken[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return {name: Took(*map(statistics.median, zip(*times[1:], strict=True))) for name, times in taken.items()}


def distance(ours: Columns, theirs: Columns) -> tuple[float, int]:
    """Largest difference over the size of the line, and how many columns begin in another row."""
    largest, shifted = 0.0, 0
    for name, line in theirs.items():
        mine, other = np.asarray(ours[name], dtype=np.float64), np.asarray(line)
        both = ~np.isnan(mine) & ~np.isnan(other)
        shifted += bool((np.isnan(mine) != np.isnan(other)).any())
        size = np.maximum(np.abs(other[both]), np.abs(other[both]).mean())
        largest = max(largest, float((np.abs(mine[both] - other[both]) / size).max()))
    return largest, shifted


def peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def memory_of(name: str, coins: int, bars: int) -> tuple[float, float]:
    """MiB: peak above the data, and peak of the whole process, of one call in a fresh process."""
    command = [sys.executable, __file__, "--memory-of", name, "--coins", str(coins), "--bars", str(bars)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    above, whole = json.loads(done.stdout.splitlines()[-1])
    return above, whole


def classic(data: Data, coins: int, bars: int, rounds: int) -> None:
    print(
        f"\n| 23 columns, {coins} x {bars:,} | median s | x TA-Lib | CPU s | MiB | off TA-Lib by | other first rows |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    seconds = medians({name: partial(run, data) for name, run in CONTENDERS.items()}, rounds)
    reference = by_talib(data)
    for name, run in CONTENDERS.items():
        off, shifted = distance(run(data), reference)
        took, ratio = seconds[name], seconds[name].clock / seconds[REFERENCE].clock
        above, _ = memory_of(name, coins, bars)
        print(
            f"| {name} | {took.clock:.3f} | {ratio:.2f} | {took.processor:.3f} | {above:.0f} | {off:.0e} | {shifted} |"
        )


def catalogue(data: Data, coins: int, bars: int, rounds: int) -> None:
    taken = medians({"all": partial(whole_catalogue, data)}, rounds)["all"]
    above, whole = memory_of("catalogue", coins, bars)
    print(f"\n| all {len(FEATURES)} features, {coins} x {bars:,} | |\n| --- | --- |")
    print(f"| median s (at most 8) | {taken.clock:.2f} |\n| CPU s | {taken.processor:.2f} |")
    print(f"| peak of the process, MiB (at most 2,560) | {whole:,.0f} |\n| above the data, MiB | {above:,.0f} |")


def serving_tail(rounds: int) -> None:
    """The last row of one coin, from the tail that serving keeps and from a longer history."""
    frame = made(1, LOOKBACK + 1_000).polars
    tail = frame.tail(LOOKBACK)
    job = partial(add_features, tail.lazy(), bar_us=DAY // 24)
    grid = with_features(tail, features=(), bar_us=DAY // 24)
    served = partial(last_features, grid, FEATURES, rows=1, bar_us=DAY // 24)
    found = medians({"tail": lambda: job().collect(), "served": served}, 20 * rounds)
    took, as_served = found["tail"], found["served"]
    names = [f.name for f in FEATURES]
    short, long = (
        np.array(add_features(part.lazy(), bar_us=DAY // 24).collect().select(names).row(-1), dtype=np.float64)
        for part in (tail, frame)
    )
    off = np.nanmax(np.abs(short - long) / np.maximum(np.abs(long), 1.0))
    assert (np.isnan(short) == np.isnan(long)).all()
    print(f"\n| one coin, {len(tail):,} bars, {len(names)} features | |\n| --- | --- |")
    print(f"| median ms (at most 15) | {took.clock * 1e3:.1f} |\n| CPU ms | {took.processor * 1e3:.1f} |")
    print(f"| each feature on what it remembers, ms | {as_served.clock * 1e3:.1f} |")
    print(f"| CPU ms | {as_served.processor * 1e3:.1f} |")
    apart = np.nanmax(np.abs(served()[0, 0] - long) / np.maximum(np.abs(long), 1.0))
    print(f"| that row off the whole history's by | {apart:.0e} |")
    print(f"| last row off the whole history's by | {off:.0e} |")


def measure_memory(name: str, data: Data) -> None:
    before = psutil.Process().memory_info().rss / 2**20
    if (forget := Path("/proc/self/clear_refs")).exists():
        forget.write_text("5")  # the peak of making the data; elsewhere than on Linux it counts
    result = whole_catalogue(data) if name == "catalogue" else CONTENDERS[name](data)
    whole = peak_mib()
    assert result is not None
    print(json.dumps([whole - before, whole]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=500)
    parser.add_argument("--bars", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the long series")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the peers' own
    panel = made(options.coins, options.bars)
    if options.memory_of:
        measure_memory(options.memory_of, panel)
        return
    classic(panel, options.coins, options.bars, options.rounds)
    catalogue(panel, options.coins, options.bars, options.rounds)
    del panel
    classic(made(1, options.rows), 1, options.rows, options.rounds)
    serving_tail(options.rounds)


if __name__ == "__main__":
    main()
