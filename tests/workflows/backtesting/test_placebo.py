"""Shuffled prices: the same bars, in an order that knows nothing."""

import numpy as np
import polars as pl

from cryptocast.data.sources.sample import load_sample
from cryptocast.workflows.backtesting.placebo import shuffled

DAY_US = 86_400_000_000


def made(block: int = 5, seed: int = 1) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    frames = {coin: load_sample(coin).frame for coin in ("bitcoin", "ethereum")}
    return frames, shuffled(frames, bar_us=DAY_US, block_bars=block, rng=np.random.default_rng(seed))


def returns(frame: pl.DataFrame) -> np.ndarray:
    return np.diff(np.log(frame["close"].to_numpy()))


def test_every_bar_keeps_its_return_and_its_shape() -> None:
    before, after = made()
    for coin, frame in before.items():
        other = after[coin]
        np.testing.assert_allclose(np.sort(returns(frame)), np.sort(returns(other)), atol=1e-9)
        ranges = (frame["high"] / frame["low"]).to_numpy()
        np.testing.assert_allclose(np.sort(ranges[1:]), np.sort((other["high"] / other["low"]).to_numpy()[1:]))
        assert (other["high"] >= other["close"] * (1 - 1e-12)).all()
        assert (other["low"] <= other["close"] * (1 + 1e-12)).all()
        assert sorted(other["volume"].to_list()) == sorted(frame["volume"].to_list())


def test_times_stay_and_the_first_and_last_price_too() -> None:
    before, after = made()
    for coin, frame in before.items():
        assert after[coin]["close_time"].to_list() == frame["close_time"].to_list()
        assert after[coin]["close"][0] == frame["close"][0]
        np.testing.assert_allclose(after[coin]["close"][-1], frame["close"][-1])
        assert after[coin].schema == frame.schema
        assert after[coin]["close"].to_list() != frame["close"].to_list()


def test_what_moves_together_still_does() -> None:
    before, after = made()

    def together(frames: dict[str, pl.DataFrame]) -> float:
        joined = frames["bitcoin"].join(frames["ethereum"], on="close_time", suffix="_other").head(400)
        return float(np.corrcoef(returns(joined), np.diff(np.log(joined["close_other"].to_numpy())))[0, 1])

    assert together(after) > 0.5 * together(before) > 0.2


def test_the_memory_of_volatility_is_gone_beyond_a_block() -> None:
    before, after = made(block=1)
    size = {name: np.abs(returns(frames["bitcoin"])) for name, frames in (("before", before), ("after", after))}
    lagged = {name: float(np.corrcoef(x[1:], x[:-1])[0, 1]) for name, x in size.items()}
    assert lagged["before"] > 0.15
    assert abs(lagged["after"]) < 0.08


def test_the_same_generator_gives_the_same_prices() -> None:
    assert made(seed=4)[1]["bitcoin"].equals(made(seed=4)[1]["bitcoin"])
    assert not made(seed=4)[1]["bitcoin"].equals(made(seed=5)[1]["bitcoin"])
