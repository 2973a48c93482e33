"""The walks: one path for every step, the same for the same seed, with the size of real ones."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.rehearsal import Coin, catalogue
from cryptocast.rehearsal.price_walks import DAY_MS, FIRST_MS, FIVE_MS, HOUR_MS, LAST_MS, PriceWalks

JAN_1 = 1_767_225_600_000  # 2026-01-01T00:00Z
COINS = catalogue(120, JAN_1 // 1000)
BITCOIN = COINS["bitcoin"]
moments = st.integers(FIRST_MS // FIVE_MS + 288, LAST_MS // FIVE_MS - 1).map(lambda i: i * FIVE_MS)


def at(*moments_ms: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array(moments_ms, dtype=np.int64)


def test_the_price_at_the_anchor_is_that_of_the_table() -> None:
    assert PriceWalks(3).price(BITCOIN, at(JAN_1))[0] == pytest.approx(61234.5)


@settings(max_examples=60, deadline=None)
@given(st.lists(moments, min_size=1, max_size=30), st.sampled_from(["bitcoin", "tether", "coin-003"]))
def test_a_moment_has_one_price_however_it_is_asked_for(asked: list[int], coin: str) -> None:
    together = PriceWalks(7).price(COINS[coin], at(*asked))
    alone = [PriceWalks(7).price(COINS[coin], at(moment))[0] for moment in asked[:3]]
    assert together[:3] == pytest.approx(alone, rel=1e-14)
    assert (together > 0).all()


def test_days_are_samples_of_the_hours_and_hours_of_the_five_minutes() -> None:
    market = PriceWalks(1)
    fives = JAN_1 + np.arange(0, 3 * DAY_MS, FIVE_MS)
    prices = market.price(BITCOIN, fives)
    assert prices[::12] == pytest.approx(market.price(BITCOIN, fives[::12]), rel=1e-14)
    assert prices[::288] == pytest.approx(market.price(BITCOIN, fives[::288]), rel=1e-14)


def test_five_minutes_hours_and_days_move_as_much_as_one_random_walk() -> None:
    steady = Coin(id="steady", symbol="s", name="Steady", price=1.0, daily_volatility=0.05)
    path = np.log(PriceWalks(5).price(steady, JAN_1 + np.arange(0, 400 * DAY_MS, FIVE_MS)))
    a_day = [np.diff(path[::step]).std() * math.sqrt(288 / step) for step in (1, 12, 288)]
    assert max(a_day) / min(a_day) < 1.25
    assert 0.03 < a_day[0] < 0.1


def test_between_two_samples_the_price_lies_between_them() -> None:
    market = PriceWalks(1)
    low, middle, high = market.price(BITCOIN, at(JAN_1, JAN_1 + 100_000, JAN_1 + FIVE_MS))
    assert min(low, high) <= middle <= max(low, high)


def test_another_seed_is_another_market_and_the_same_seed_the_same() -> None:
    days = JAN_1 - np.arange(100) * DAY_MS
    one, again, other = (PriceWalks(seed).price(BITCOIN, days) for seed in (1, 1, 2))
    assert (one == again).all()
    assert not np.allclose(one[1:], other[1:])


def test_coins_move_together_but_not_in_step() -> None:
    days = JAN_1 - np.arange(1500) * DAY_MS
    returns = [np.diff(np.log(PriceWalks(1).price(COINS[c], days))) for c in ("bitcoin", "ethereum", "coin-001")]
    together = np.corrcoef(returns)[np.triu_indices(3, 1)]
    assert (together > 0.15).all()
    assert (together < 0.9).all()


def test_a_stablecoin_stays_at_its_peg() -> None:
    prices = PriceWalks(1).price(COINS["tether"], JAN_1 - np.arange(1000) * DAY_MS)
    assert np.abs(prices - 1).max() < 0.02


def test_an_id_that_moved_keeps_its_path() -> None:
    days = JAN_1 - np.arange(40, 90) * DAY_MS
    market = PriceWalks(1)
    old, new = market.price(COINS["matic-network"], days), market.price(COINS["polygon-ecosystem-token"], days)
    assert (old == new).all()


def test_there_is_no_price_before_the_listing_nor_after_the_end() -> None:
    coin = dataclasses.replace(BITCOIN, listed_at=JAN_1 // 1000, stopped_at=(JAN_1 + DAY_MS) // 1000)
    known = ~np.isnan(PriceWalks(1).price(coin, at(JAN_1 - 1, JAN_1, JAN_1 + DAY_MS, JAN_1 + DAY_MS + 1)))
    assert known.tolist() == [False, True, True, False]
    assert np.isnan(PriceWalks(1).price(COINS["unpriced-coin"], at(JAN_1))).all()


def test_prices_in_another_currency_are_worth_the_same() -> None:
    market, days = PriceWalks(1), JAN_1 - np.arange(50) * DAY_MS
    dollars, euros, bitcoins = (market.price(COINS["ethereum"], days, vs) for vs in ("usd", "eur", "btc"))
    assert euros * 1.174 == pytest.approx(dollars)
    assert bitcoins * market.price(BITCOIN, days) == pytest.approx(dollars)


def test_volume_is_a_rolling_sum_so_that_neighbours_share_most_of_it() -> None:
    hours = JAN_1 + np.arange(24 * 30) * HOUR_MS
    volume = PriceWalks(1).volume(BITCOIN, hours)
    assert (volume > 0).all()
    assert np.abs(np.diff(np.log(volume))).max() < 0.5 * np.log(volume[::24]).std() + 0.5
    assert np.corrcoef(volume[1:], volume[:-1])[0, 1] > 0.8
    assert 1e9 < volume.mean() < 1e12


def test_volume_between_two_hours_lies_between_theirs() -> None:
    low, middle, high = PriceWalks(1).volume(BITCOIN, at(JAN_1, JAN_1 + HOUR_MS // 2, JAN_1 + HOUR_MS))
    assert middle == pytest.approx((low + high) / 2)


def test_a_moment_outside_of_the_walks_is_refused() -> None:
    with pytest.raises(ValueError, match="the walks go from"):
        PriceWalks(1).price(BITCOIN, at(FIRST_MS - 1))
