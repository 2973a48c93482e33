import math
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.choices import Granularity
from cryptocast.config import MarketKind, SimulatedConfig
from cryptocast.data.candle_checks import check_candles
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, SeriesKey
from cryptocast.data.sources.simulated.draws import coin_number, simulated_coins
from cryptocast.data.sources.simulated.market import SimulatedMarket, load_simulated, market_of, simulate
from cryptocast.data.sources.simulated.processes import (
    GarchT,
    PlantedSignal,
    Process,
    RandomWalk,
    Regimes,
    VolatilityBreak,
)
from cryptocast.errors import DataError, UsageError
from cryptocast.market import Market

START = datetime(2015, 1, 1, tzinfo=UTC)
PROCESSES: tuple[Process, ...] = (RandomWalk(), GarchT(), Regimes(), PlantedSignal(), VolatilityBreak(20))
KINDS: tuple[MarketKind, ...] = ("random_walk", "garch", "regimes", "signal", "break")

any_process = st.sampled_from(PROCESSES)
granularities: st.SearchStrategy[Granularity] = st.sampled_from(["daily", "hourly"])


def bars_of(frame: pl.DataFrame, coin: str) -> pl.DataFrame:
    return frame.filter(pl.col("coin") == coin)


# Names.


def test_the_first_coins_are_well_known_and_the_rest_are_numbered() -> None:
    coins = simulated_coins(1000)
    assert coins[:2] == ("bitcoin", "ethereum")
    assert (coins[19], coins[20], coins[-1]) == ("zcash", "sim-0001", "sim-0980")
    assert len(set(coins)) == 1000
    assert [coin_number(coin) for coin in coins] == list(range(1, 1001))


@pytest.mark.parametrize("name", ["solanum", "sim-0000", "sim-1", "sim-00001", "sim-0001x", "SIM-0001", ""])
def test_other_names_are_no_simulated_coins(name: str) -> None:
    assert coin_number(name) is None
    with pytest.raises(ValueError, match="unknown"):
        simulate(SimulatedMarket(), ["bitcoin", name], 10, "daily", START)


# Candles.


@settings(max_examples=25, deadline=None)
@given(any_process, st.integers(0, 2**40), st.integers(1, 80), granularities)
def test_every_market_gives_valid_candles_without_gaps(
    process: Process, seed: int, bars: int, granularity: Granularity
) -> None:
    frame = simulate(SimulatedMarket(process, seed), ["ethereum", "bitcoin"], bars, granularity, START)
    assert frame.schema == CANDLE_SCHEMA
    assert frame["coin"].to_list() == ["bitcoin"] * bars + ["ethereum"] * bars
    for coin in ("bitcoin", "ethereum"):
        own = bars_of(frame, coin)
        check_candles(own, SeriesKey(Market("simulated", "usd", granularity), coin))
        bar = timedelta(microseconds=BAR_US[granularity])
        assert own["close_time"].to_list() == [START + bar * i for i in range(1, bars + 1)]
        assert (own["high"] >= own.select(pl.max_horizontal("open", "close")).to_series()).all()
        assert (own["low"] <= own.select(pl.min_horizontal("open", "close")).to_series()).all()
        assert own["open"][1:].to_list() == own["close"][:-1].to_list()
        assert (own["volume"] > 0).all()


@settings(max_examples=15, deadline=None)
@given(any_process, st.integers(0, 100), st.sets(st.sampled_from(simulated_coins(40)), min_size=1, max_size=20))
def test_a_coin_is_the_same_whatever_other_coins_are_asked_for(process: Process, seed: int, coins: set[str]) -> None:
    market = SimulatedMarket(process, seed)
    together = simulate(market, sorted(coins, reverse=True), 50, "daily", START)
    for coin in coins:
        assert bars_of(together, coin).equals(simulate(market, [coin], 50, "daily", START))


@settings(max_examples=15, deadline=None)
@given(any_process, st.integers(1, 60), st.integers(1, 60), granularities)
def test_a_longer_history_begins_with_the_shorter_one(
    process: Process, bars: int, more: int, granularity: Granularity
) -> None:
    market = SimulatedMarket(process, 3)
    short = simulate(market, ["bitcoin", "tron"], bars, granularity, START)
    long = simulate(market, ["bitcoin", "tron"], bars + more, granularity, START)
    for coin in ("bitcoin", "tron"):
        assert bars_of(long, coin).head(bars).equals(bars_of(short, coin))


def test_seed_coin_and_granularity_each_make_another_market() -> None:
    def returns(seed: int, coin: str, granularity: Granularity) -> tuple[float, ...]:
        market = SimulatedMarket(RandomWalk(), seed, correlation=0.0)
        frame = simulate(market, [coin], 500, granularity, START)
        return tuple(np.diff(np.log(frame["close"].to_numpy())))

    base = returns(1, "bitcoin", "daily")
    for other in (returns(2, "bitcoin", "daily"), returns(1, "ethereum", "daily"), returns(1, "bitcoin", "hourly")):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.2


def test_the_start_only_moves_the_stamps() -> None:
    market = SimulatedMarket()
    moved = simulate(market, ["bitcoin"], 50, "daily", START + timedelta(days=7))
    early = simulate(market, ["bitcoin"], 50, "daily", START)
    assert moved.drop("close_time").equals(early.drop("close_time"))
    assert moved["close_time"][0] == START + timedelta(days=8)


def test_a_thousand_coins_are_as_many_different_series() -> None:
    frame = simulate(SimulatedMarket(), simulated_coins(1000), 20, "daily", START)
    last = frame.group_by("coin").agg(pl.col("close").last(), pl.len())
    assert last["len"].to_list() == [20] * 1000
    assert last["close"].n_unique() == 1000


@pytest.mark.parametrize(
    ("coins", "bars", "start", "problem"),
    [
        ([], 10, START, "no simulated coins"),
        (["bitcoin", "bitcoin"], 10, START, "the same twice"),
        (["bitcoin"], 0, START, "0 bars"),
        (["bitcoin"], 10, START + timedelta(hours=1), "off the daily grid"),
        (["bitcoin"], 10, START.replace(tzinfo=None), "no time zone"),
    ],
)
def test_what_cannot_be_simulated_is_refused(coins: list[str], bars: int, start: datetime, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        simulate(SimulatedMarket(), coins, bars, "daily", start)
    with pytest.raises(ValueError, match="at least 1 is needed"):
        simulated_coins(0)


# What a bar looks like inside.


def ranges(process: Process, bars: int = 40_000) -> pl.DataFrame:
    frame = simulate(SimulatedMarket(process, 11, volatility=0.02), ["bitcoin"], bars, "daily", START)
    high, low, close = ((pl.col(name) / pl.col("open")).log() for name in ("high", "low", "close"))
    return frame.select(
        parkinson=(high - low) ** 2 / (4 * math.log(2)),
        rogers=high * (high - close) + low * (low - close),
        squared=close**2,
    )


@pytest.mark.parametrize("process", [RandomWalk(), GarchT(0.0, 0.0, 8.0)])
def test_highs_and_lows_are_those_of_a_brownian_path(process: Process) -> None:
    # Parkinson (1980) and Rogers and Satchell (1991) estimate the variance of a bar from its range without bias.
    means = ranges(process).mean().row(0)
    assert means == pytest.approx((0.02**2,) * 3, rel=0.04)
    # ... and with a fifth of the noise of the squared return (Parkinson: 4.9 times less variance).
    if isinstance(process, RandomWalk):
        noise = ranges(process).var()
        assert noise["squared"][0] / noise["parkinson"][0] == pytest.approx(4.9, rel=0.1)


def test_a_jump_is_inside_the_range_of_its_bar() -> None:
    frame = simulate(SimulatedMarket(Regimes(jump_share=0.05, jump_size=4.0)), ["bitcoin"], 2000, "daily", START)
    moved = frame.select((pl.col("close") / pl.col("open")).log().abs()).to_series()
    span = frame.select((pl.col("high") / pl.col("low")).log()).to_series()
    assert (span >= moved * (1 - 1e-9)).all()


def test_volume_persists_grows_with_the_move_and_stays_below_the_market_cap() -> None:
    frame = simulate(SimulatedMarket(), ["bitcoin"], 5000, "daily", START)
    turnover = (frame["volume"] / frame["market_cap"]).log().to_numpy()
    moves = frame.select((pl.col("close") / pl.col("open")).log().abs()).to_series().to_numpy()
    assert np.exp(np.median(turnover)) == pytest.approx(0.02, rel=0.3)
    assert 0.3 < np.corrcoef(turnover[1:], turnover[:-1])[0, 1] < 0.95
    assert np.corrcoef(turnover, moves)[0, 1] > 0.2
    supply = (frame["market_cap"] / frame["close"]).to_numpy()
    np.testing.assert_allclose(supply, supply[0])
    hourly = simulate(SimulatedMarket(), ["bitcoin"], 5000, "hourly", START)
    assert np.exp(np.median((hourly["volume"] / hourly["market_cap"]).log().to_numpy())) < 0.02 / 15


# The source of the workflows.


@pytest.mark.parametrize("kind", KINDS)
def test_the_source_gives_candles_whose_clock_is_their_last_close(kind: MarketKind) -> None:
    config = SimulatedConfig(market=kind, bars=300)
    candles = load_simulated("ethereum", config, vs="eur", granularity="hourly")
    stated = candles.provenance
    assert stated.key == SeriesKey(Market("simulated", "eur", "hourly"), "ethereum")
    assert stated.rows == 300
    assert stated.first == START + timedelta(hours=1)
    assert stated.last == stated.fetched_at == START + timedelta(hours=300)
    (note,) = stated.notes
    assert note.startswith(f"simulated, no real prices: {kind}")
    assert "seed 7" in note
    assert load_simulated("ethereum", config, vs="eur", granularity="hourly").provenance == stated


def test_the_settings_make_the_market() -> None:
    config = SimulatedConfig(
        market="signal", seed=5, volatility=0.05, correlation=0.2, r_squared=0.3, bars=100, start=START.date()
    )
    assert market_of(config) == SimulatedMarket(PlantedSignal(0.3), 5, 0.05, 0.2)
    assert market_of(msgspec.structs.replace(config, market="break")).process == VolatilityBreak(50, 2.0)
    assert [market_of(msgspec.structs.replace(config, market=kind)).process.kind for kind in KINDS] == list(KINDS)
    loaded = load_simulated("bitcoin", config)
    assert loaded.frame.equals(simulate(market_of(config), ["bitcoin"], 100, "daily", START))
    assert "signal that explains 0.3 of a bar" in loaded.provenance.notes[0]


def test_a_coin_that_the_market_lacks_is_told_with_what_there_is() -> None:
    with pytest.raises(DataError, match=r"no tether\. It has bitcoin, ethereum, litecoin and others, then sim-0001"):
        load_simulated("tether", SimulatedConfig())
    with pytest.raises(UsageError, match="not a coin id"):
        load_simulated("../bitcoin", SimulatedConfig())
