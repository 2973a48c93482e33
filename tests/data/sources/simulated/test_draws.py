import numpy as np
import pytest

from cryptocast.data.sources.simulated.draws import Draws, Stream, coin_number, simulated_coins


def test_every_simulated_coin_has_a_number_of_its_own_from_one() -> None:
    coins = simulated_coins(500)
    assert [coin_number(coin) for coin in coins] == list(range(1, 501))


@pytest.mark.parametrize("coin", ["", "nope", "sim-1", "sim-0000", "sim-00001", "SIM-0001", "sim-1234567"])
def test_no_other_name_has_one(coin: str) -> None:
    assert coin_number(coin) is None


def test_each_coin_and_use_has_a_stream_of_its_own() -> None:
    draws = Draws(7, "daily", (1, 2), 50, 0.0)
    first = draws.generator(1, Stream.SHOCK).random(5)
    assert (first == draws.generator(1, Stream.SHOCK).random(5)).all()
    others = (draws.generator(2, Stream.SHOCK), draws.generator(1, Stream.JUMP))
    assert all((first != other.random(5)).all() for other in others)
    hourly = Draws(7, "hourly", (1, 2), 50, 0.0)
    assert (first != hourly.generator(1, Stream.SHOCK).random(5)).all()


def test_a_coin_is_the_same_whoever_stands_beside_it_and_a_longer_history_begins_with_the_shorter() -> None:
    alone, pair = Draws(7, "daily", (2,), 40, 0.5).shocks(), Draws(7, "daily", (1, 2), 60, 0.5).shocks()
    np.testing.assert_array_equal(alone[:, 0], pair[:40, 1])


@pytest.mark.parametrize("correlation", [0.0, 0.4, 0.8])
def test_shocks_are_standard_normal_and_correlated_as_stated(correlation: float) -> None:
    shocks = Draws(3, "daily", (1, 2), 20_000, correlation).shocks()
    assert shocks.std(axis=0) == pytest.approx([1.0, 1.0], abs=0.03)
    assert np.asarray(np.corrcoef(shocks.T))[0, 1] == pytest.approx(correlation, abs=0.03)
