"""Markets made in the test: seeded, with a known truth."""

import os
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, settings

from cryptocast.data.schema import CANDLE_SCHEMA

# How long an example takes is the machine's affair, and what its other programs leave of it.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Tests talk to nobody outside the machine. New coins are looked for on exchanges where a test says so.
os.environ["CRYPTOCAST_DATA__EXCHANGES"] = "[]"
_look_up = socket.getaddrinfo


def _look_up_here(host: Any, *arguments: Any, **options: Any) -> Any:
    if host in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::", socket.gethostname()):  # noqa: S104
        return _look_up(host, *arguments, **options)
    raise socket.gaierror(socket.EAI_NONAME, f"{host} is outside this machine")


socket.getaddrinfo = _look_up_here

START_US = 1_577_836_800_000_000  # 2020-01-01T00:00Z
DAY_US = 86_400_000_000

MakeCandles = Callable[..., pl.DataFrame]


def simulated_candles(
    coins: tuple[str, ...] = ("bitcoin", "ethereum"),
    bars: int = 500,
    *,
    seed: int = 1,
    price: float = 100.0,
    bar_us: int = DAY_US,
    changing_volatility: bool = True,
    range_known: bool = True,
    drop: tuple[int, ...] = (),
    flat: tuple[int, ...] = (),
) -> pl.DataFrame:
    """Candles of a driftless market; volatility either constant (3 %) or moving slowly between calm and wild.

    drop: bars that are missing; flat: bars in which the price does not move.
    """
    rng = np.random.default_rng(seed)
    frames = []
    for coin in coins:
        level = np.zeros(bars)
        if changing_volatility:
            shocks = rng.normal(0, 0.12, bars)
            for i in range(1, bars):
                level[i] = 0.97 * level[i - 1] + shocks[i]
        sigma = 0.03 * np.exp(level)
        steps = rng.standard_normal((bars, 24)) * (sigma / np.sqrt(24))[:, None]
        steps[list(flat)] = 0.0
        path = np.cumsum(steps, axis=1)
        begin = np.concatenate([[0.0], np.cumsum(path[:-1, -1])])
        log_open, log_close = begin, begin + path[:, -1]
        high = np.maximum(begin + path.max(axis=1), log_open)
        low = np.minimum(begin + path.min(axis=1), log_open)
        close = price * np.exp(log_close)
        values = {
            "coin": [coin] * bars,
            "close_time": START_US + bar_us * np.arange(1, bars + 1),
            "open": price * np.exp(log_open) if range_known else close,
            "high": price * np.exp(high) if range_known else close,
            "low": price * np.exp(low) if range_known else close,
            "close": close,
            "volume": 1e6 * np.exp(0.3 * rng.standard_normal(bars)),
            "market_cap": close * 1e7,
            "range_known": [range_known] * bars,
        }
        frame = pl.DataFrame(values).with_columns(pl.col("close_time").cast(pl.Datetime("us", "UTC")))
        keep = np.ones(bars, dtype=bool)
        keep[list(drop)] = False
        frames.append(frame.filter(pl.Series(keep)))
    return pl.concat(frames).cast(CANDLE_SCHEMA).select(CANDLE_SCHEMA.names())


@pytest.fixture(scope="session")
def make_candles() -> MakeCandles:
    """The function that simulates candles."""
    return simulated_candles
