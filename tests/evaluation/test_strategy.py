import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.arrays import FloatArray
from cryptocast.evaluation import strategy
from cryptocast.evaluation.strategy import Costs, EquityPath, Execution, simulate
from cryptocast.scoring.returns import sharpe

FREE = Costs(0.0)
NAMES = [field.name for field in fields(EquityPath)]


def prices(rng: np.random.Generator, bars: int, volatility: float = 0.03) -> FloatArray:
    close: FloatArray = 100.0 * np.exp(np.cumsum(volatility * rng.standard_normal(bars)))
    return close


def slow_path(
    close: FloatArray, weights: FloatArray, rate: float, *, open_: FloatArray | None = None, shift: int = 1
) -> EquityPath:
    """A purse with coins and cash, bar by bar; what a trade costs is found by trying, not by formula."""
    cash, coins, turnovers, helds = 1.0, 0.0, [], []
    equities: list[float] = []

    def trade(price: float, weight: float) -> float:
        nonlocal cash, coins
        before = cash + coins * price
        if before <= 0.0:
            return 0.0
        after = before
        for _ in range(200):  # the cost lowers the equity that the weight is a share of
            after = before - rate * abs(weight * after - coins * price)
        value = weight * after - coins * price
        coins, cash = coins + value / price, cash - value - rate * abs(value)
        return abs(value) / before

    for bar in range(len(close)):
        held, turnover = (float(weights[bar - shift]) if bar >= max(1, shift) else 0.0), 0.0
        if open_ is not None:
            turnover = trade(float(open_[bar]), held)
        if bar and cash + coins * float(close[bar]) <= 0.0:
            cash = coins = 0.0
        following = bar + 1 - shift
        if open_ is None and 0 <= following < len(close):
            turnover = trade(float(close[bar]), float(weights[following]))
        helds.append(held if not equities or equities[-1] > 0.0 else 0.0)
        equities.append(cash + coins * float(close[bar]))
        turnovers.append(turnover)
    equity = np.array(equities)
    before = np.concatenate(([1.0], equity[:-1]))
    return EquityPath(
        np.diff(equity, prepend=1.0) / np.where(before > 0.0, before, 1.0),
        np.array(turnovers),
        np.array(helds),
    )


def assert_same(path: EquityPath, expected: EquityPath) -> None:
    for name in ("equity", *NAMES):
        np.testing.assert_allclose(getattr(path, name), getattr(expected, name), rtol=1e-9, atol=1e-11)


some_weights = st.lists(st.floats(-1.5, 1.5), min_size=1, max_size=30).map(np.array)


@settings(max_examples=60)
@given(some_weights, st.integers(0, 1_000), st.sampled_from([0.0, 10.0, 80.0]), st.booleans(), st.integers(0, 3))
def test_it_equals_a_purse_with_coins_and_cash(
    weights: FloatArray, seed: int, bps: float, opens: bool, delay: int
) -> None:
    rng = np.random.default_rng(seed)
    close = prices(rng, len(weights))
    open_ = close * np.exp(0.01 * rng.standard_normal(len(weights))) if opens else None
    path = simulate(close, weights, costs=Costs(bps), open_=open_, delay=delay)
    assert_same(path, slow_path(close, weights, bps / 1e4, open_=open_, shift=1 + delay))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, 0.5]), st.integers(1, 12)), min_size=1, max_size=6),
    st.integers(0, 1_000),
    st.sampled_from([0.0, 10.0]),
    st.integers(0, 1),
)
def test_bars_that_trade_nothing_are_passed_over_to_the_same_end(
    spells: list[tuple[float, int]], seed: int, bps: float, shift: int
) -> None:
    weights = np.concatenate([np.full(bars, weight) for weight, bars in spells])
    close = prices(np.random.default_rng(seed), len(weights))
    path = simulate(close, weights, costs=Costs(bps), execution="next_bar" if shift else "same_bar")
    assert_same(path, slow_path(close, weights, bps / 1e4, shift=shift))


@pytest.mark.parametrize("opens", [False, True])
@pytest.mark.parametrize("delay", [0, 2, 40])
@pytest.mark.parametrize("execution", ["next_bar", "same_bar"])
@pytest.mark.parametrize("cells", [1, 7, 64, 100_000])
def test_many_strategies_in_parts_of_any_size_are_each_that_purse(
    monkeypatch: pytest.MonkeyPatch, cells: int, execution: Execution, delay: int, opens: bool
) -> None:
    monkeypatch.setattr(strategy, "CELLS", cells)
    rng = np.random.default_rng(17)
    close = prices(rng, 33, volatility=0.2)
    open_ = close * np.exp(0.01 * rng.standard_normal(33)) if opens else None
    spells = np.repeat(rng.integers(0, 2, (3, 11)), 3, axis=1).astype(np.float64)
    weights = np.concatenate([spells, rng.uniform(-1.5, 1.5, (3, 33)), np.full((1, 33), -4.0)])
    path = simulate(close, weights, costs=Costs(30.0), open_=open_, execution=execution, delay=delay)
    shift = delay + (execution == "next_bar")
    slow = [slow_path(close, one, 0.003, open_=open_, shift=shift) for one in weights]
    assert_same(path, EquityPath(*(np.stack([getattr(one, name) for one in slow]) for name in NAMES)))
    if delay == 0:
        assert path.equity[-1, -1] == 0.0, "the last one is ruined in one of the parts"


@given(st.integers(0, 1_000), st.integers(0, 2))
def test_true_and_false_are_all_and_nothing_to_the_last_bit(seed: int, delay: int) -> None:
    rng = np.random.default_rng(seed)
    close, held = prices(rng, 40), rng.random((3, 40)) < 0.5
    as_bools, as_numbers = (simulate(close, w, costs=FREE, delay=delay) for w in (held, held.astype(np.float64)))
    for name in NAMES:
        np.testing.assert_array_equal(getattr(as_bools, name), getattr(as_numbers, name))


def test_same_bar_execution_is_the_same_purse_one_bar_earlier() -> None:
    rng = np.random.default_rng(1)
    close, weights = prices(rng, 50), rng.random(50)
    path = simulate(close, weights, costs=Costs(20.0), execution="same_bar")
    assert_same(path, slow_path(close, weights, 0.002, shift=0))


def test_a_signal_equal_to_a_bars_own_return_earns_nothing_from_that_bar() -> None:
    rng = np.random.default_rng(2)
    close = prices(rng, 3_000)
    signal = np.sign(np.diff(np.log(close), prepend=np.log(close[0])))
    honest = simulate(close, signal, costs=FREE)
    clairvoyant = simulate(close, signal, costs=FREE, execution="same_bar")
    assert math.log(clairvoyant.equity[-1]) == pytest.approx(np.abs(np.diff(np.log(close))).sum(), rel=0.05)
    # What it earns next is chance: less than three standard errors of a fair coin's.
    assert abs(np.log1p(honest.net).sum()) < 3 * 0.03 * math.sqrt(3_000)


@given(some_weights, st.integers(1, 29), st.integers(0, 2), st.booleans())
def test_what_was_earned_does_not_change_when_the_future_arrives(
    weights: FloatArray, cut: int, delay: int, opens: bool
) -> None:
    rng = np.random.default_rng(3)
    close = prices(rng, len(weights))
    open_ = close * 1.001 if opens else None
    whole = simulate(close, weights, costs=Costs(10.0), open_=open_, delay=delay)
    known = None if open_ is None else open_[:cut]
    part = simulate(close[:cut], weights[:cut], costs=Costs(10.0), open_=known, delay=delay)
    shared = min(cut, len(close))
    np.testing.assert_array_equal(part.net, whole.net[:shared])


@given(some_weights, st.integers(0, 28))
def test_no_weight_earns_from_its_own_bar(weights: FloatArray, changed: int) -> None:
    close = prices(np.random.default_rng(4), len(weights))
    at = changed % len(weights)
    other = weights.copy()
    other[at] = 0.77
    a, b = (simulate(close, one, costs=FREE).net for one in (weights, other))
    np.testing.assert_array_equal(a[: at + 1], b[: at + 1])


def test_buying_once_and_holding_earns_what_the_price_does_less_one_fee() -> None:
    close = prices(np.random.default_rng(5), 100)
    path = simulate(close, np.ones(100), costs=Costs(10.0, 5.0))
    assert path.equity[-1] == pytest.approx(close[-1] / close[0] / 1.0015)
    assert path.turnover.sum() == pytest.approx(1 / 1.0015)
    assert path.net[0] == pytest.approx(1 / 1.0015 - 1)
    flat = simulate(close, np.zeros(100), costs=Costs(50.0))
    assert flat.equity.tolist() == [1.0] * 100


def test_buying_pays_one_over_one_plus_the_fee_and_selling_one_minus_it() -> None:
    # The convention of vectorbt and backtesting.py for positions of all or nothing.
    path = simulate(np.full(4, 7.0), np.array([1.0, 1.0, 0.0, 0.0]), costs=Costs(100.0))
    assert (1 + path.net).tolist() == pytest.approx([1 / 1.01, 1.0, 0.99, 1.0])


def test_a_weight_between_none_and_all_is_restored_at_a_cost() -> None:
    close = np.array([100.0, 200.0, 200.0])
    path = simulate(close, np.full(3, 0.5), costs=FREE)
    # After the rise 2/3 are in the coin: 1/6 of the equity is sold.
    assert path.turnover.tolist() == pytest.approx([0.5, 1 / 6, 0.0])
    assert path.equity[-1] == pytest.approx(1.5)


def test_fills_at_the_next_open_leave_the_gap_to_the_old_weight() -> None:
    close, open_ = np.array([100.0, 130.0, 130.0]), np.array([100.0, 110.0, 143.0])
    path = simulate(close, np.array([1.0, 0.0, 0.0]), costs=FREE, open_=open_)
    # Bought at 110, the gap up to 143 still belongs to it, sold there.
    assert path.equity.tolist() == pytest.approx([1.0, 130 / 110, 143 / 110])


def test_once_everything_is_lost_it_stays_lost_and_what_was_traded_before_still_counts() -> None:
    close = np.array([100.0, 100.0, 120.0, 290.0, 100.0, 50.0])
    weights = np.array([-0.5, -1.0, -1.0, -1.0, -1.0, -1.0])
    for open_ in (None, close):
        path = simulate(close, weights, costs=Costs(10.0), open_=open_)
        slow = slow_path(close, weights, 0.001, open_=open_)
        np.testing.assert_allclose(path.turnover, slow.turnover, rtol=1e-9)
        np.testing.assert_allclose(path.equity, slow.equity, rtol=1e-9, atol=1e-11)
        assert path.equity[-2:].tolist() == [0.0, 0.0]
        assert path.net[-1] == 0.0
        assert (path.net >= -1.0).all()


def test_every_bit_of_cost_lowers_the_end() -> None:
    rng = np.random.default_rng(8)
    close = prices(rng, 400)
    ahead = (np.concatenate((np.diff(close) > 0, [False])) & (rng.random(400) < 0.8)).astype(np.float64)
    ends = [simulate(close, ahead, costs=Costs(bps)).equity[-1] for bps in (0.0, 5.0, 10.0, 20.0, 50.0)]
    assert ends == sorted(ends, reverse=True)


def test_a_strategy_that_foresees_one_bar_loses_its_edge_when_fills_come_late() -> None:
    rng = np.random.default_rng(9)
    close = prices(rng, 1_500)
    ahead = np.concatenate((np.diff(close) > 0, [False])).astype(np.float64)
    sharpes = [
        sharpe(simulate(close, ahead, costs=Costs(10.0, 5.0), delay=delay).net, 365) or 0.0 for delay in (0, 1, 2)
    ]
    assert sharpes[0] > 10
    assert max(sharpes[1:]) < 3


def test_no_bars_are_no_error() -> None:
    executions: tuple[Execution, ...] = ("next_bar", "same_bar")
    for execution in executions:
        path = simulate(np.empty(0), np.empty(0), costs=FREE, execution=execution)
        assert path.net.size == path.weight.size == 0


def test_impossible_arguments_are_refused() -> None:
    ones = np.ones(3)
    for weights in (
        np.array([0.0, math.nan, 0.0]),
        np.array([0.0, 11.0, 0.0]),
        np.zeros(2),
        np.zeros((1, 2)),
        np.zeros((1, 1, 3)),
    ):
        with pytest.raises(ValueError, match="weights"):
            simulate(ones, weights, costs=FREE)
    with pytest.raises(ValueError, match="delay"):
        simulate(ones, np.zeros(3), costs=FREE, delay=-1)
    with pytest.raises(ValueError, match="execution"):
        simulate(ones, np.zeros(3), costs=FREE, execution="yesterday")  # type: ignore[arg-type]
    for close in (np.array([1.0, math.nan]), np.array([1.0, 0.0]), np.ones((2, 2))):
        with pytest.raises(ValueError, match="close"):
            simulate(close, np.zeros(2), costs=FREE)
    with pytest.raises(ValueError, match="open"):
        simulate(ones, ones, costs=FREE, open_=np.ones(2))
    for fee, slippage in ((-1.0, 0.0), (0.0, math.nan), (9_999.0, 1.0)):
        with pytest.raises(ValueError, match="bps"):
            Costs(fee, slippage)
