"""Weights decided at each close -> what a portfolio of one coin and cash earns with them, after costs.

The weight is the share of equity held in the coin: 1 all of it, 0 flat, -1 short. It drifts with the price, and is
restored once a bar, which is a trade that costs (nothing at 1 and 0, that do not drift). Decided at the close of bar t,
it is filled at that close (or at the next open where opens are given) and earns from then on: never from the bar whose
close decided it. `same_bar` execution credits that bar too; it exists to show what such a mistake is worth. Fees and
slippage are a share of the traded value, and are paid from equity. Borrowing, lending and perpetual funding are not
charged.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from cryptocast.arrays import FloatArray

Execution: TypeAlias = Literal["next_bar", "same_bar"]


@dataclass(frozen=True, slots=True)
class Costs:
    """What trading costs, in hundredths of a percent of the traded value, on each side."""

    fee_bps: float = 10.0
    slippage_bps: float = 0.0

    def __post_init__(self) -> None:
        total = self.fee_bps + self.slippage_bps
        if not (self.fee_bps >= 0.0 and self.slippage_bps >= 0.0 and total < 10_000.0):
            raise ValueError(
                f"fee {self.fee_bps}, slippage {self.slippage_bps} bps: expected 0 or more, in all < 10000"
            )

    @property
    def rate(self) -> float:
        """Share of the traded value."""
        return (self.fee_bps + self.slippage_bps) / 10_000.0


@dataclass(frozen=True, slots=True, eq=False)
class EquityPath:
    """One strategy bar by bar. Nothing is earned in the first bar, which has no return."""

    net: FloatArray  # (T,) simple return of equity, after costs
    turnover: FloatArray  # (T,) traded value over equity before the trade
    weight: FloatArray  # (T,) while the bar's return was earned: at its start, or after its open's fill

    @property
    def equity(self) -> FloatArray:
        """(T,) at the close, from 1 before the first bar; 0 once everything is lost. Computed anew each time."""
        equity: FloatArray = np.multiply.accumulate(1.0 + self.net)
        return equity


def simulate(
    close: FloatArray,
    weights: FloatArray,
    *,
    costs: Costs,
    open_: FloatArray | None = None,
    execution: Execution = "next_bar",
    delay: int = 0,
) -> EquityPath:
    """Follow one strategy through the consecutive bars of one coin.

    close (T,); open_ (T,): fills are at the next open where it is given. weights (T,): decided at each close, from -10
    to 10. delay: bars by which each fill is late. Close fills are charged to the bar at whose close they happen. Once
    equity is gone it stays gone. Raises ValueError if shapes disagree, for NaN, prices that are not above 0, larger
    weights or a negative delay.
    """
    _check(close, weights, open_, delay)
    if execution not in ("next_bar", "same_bar"):
        raise ValueError(f"execution is {execution!r}, expected next_bar or same_bar")
    shift = delay + (1 if execution == "next_bar" else 0)
    positions = _positions(weights, shift)
    if open_ is None:
        growth, turnover = _close_fills(positions, _over_close_before(close, close), costs.rate, trades_last=shift > 0)
    else:
        growth, turnover = _open_fills(positions, close / open_, _over_close_before(open_, close), costs.rate)
    weight = positions[1:-1]
    if np.prod(growth) <= 0.0:
        ruined = np.roll(np.multiply.accumulate(growth) <= 0.0, 1)  # the bars behind the one that lost everything
        ruined[0] = False
        growth[ruined], turnover[ruined], weight[ruined] = 1.0, 0.0, 0.0
    growth -= 1.0
    return EquityPath(net=growth, turnover=turnover, weight=weight)


def _check(close: FloatArray, weights: FloatArray, open_: FloatArray | None, delay: int) -> None:
    for name, prices in (("close", close), ("open", open_)):
        if prices is None:
            continue
        if prices.ndim != 1 or prices.shape != close.shape or not _are_prices(prices):
            raise ValueError(f"{name} is {prices.shape}, expected positive prices (T,) without NaN or gaps")
    if weights.shape != close.shape or delay < 0:
        raise ValueError(f"weights {weights.shape}, {len(close)} bars, delay {delay}: expected (T,) and 0 or more")
    if weights.size and not (weights.min() >= -10.0 and weights.max() <= 10.0):
        raise ValueError("weights hold NaN or a share of equity outside -10 to 10")


def _are_prices(values: FloatArray) -> bool:
    return bool(values.min(initial=1.0) > 0.0 and values.max(initial=1.0) < np.inf)  # NaN is neither


def _positions(weights: FloatArray, shift: int) -> FloatArray:
    """(T + 2,): the weight meant for each bar, and for those before the first and behind the last.

    Bar t has the weight decided at bar t - shift; the first bar has no return, and so no weight. Where nothing was
    decided for the bar behind the last, it is 0.
    """
    bars = len(weights)
    positions = np.zeros(bars + 2)
    first, last = max(shift, 1), min(bars, bars - 1 + shift)
    if last >= first:
        positions[first + 1 : last + 2] = weights[first - shift : last - shift + 1]
    return positions


def _over_close_before(price: FloatArray, close: FloatArray) -> FloatArray:
    """(T,) each bar's price over the close before it; 1 in the first bar."""
    ratio = np.ones(len(close))
    np.divide(price[1:], close[:-1], out=ratio[1:])
    return ratio


def _close_fills(
    positions: FloatArray, relative: FloatArray, rate: float, *, trades_last: bool
) -> tuple[FloatArray, FloatArray]:
    """Factors of equity and traded shares, (T,) each: earn with a bar's weight, then trade at its close into the next.

    A bar that is held whole or not at all, as is the next one, trades nothing, and needs no formula.
    """
    weight, following = positions[1:-1], positions[2:]
    busy = np.flatnonzero((weight != following) | (weight * weight != weight))
    if 2 * len(busy) > len(weight):
        return _rebalanced(weight, following, relative, rate, trades_last=trades_last)
    growth, turnover = relative - 1.0, np.zeros(len(weight))
    growth *= weight
    growth += 1.0
    ends_idle = not len(busy) or busy[-1] < len(weight) - 1
    growth[busy], turnover[busy] = _rebalanced(
        weight[busy], following[busy], relative[busy], rate, trades_last=trades_last or ends_idle
    )
    return growth, turnover


def _rebalanced(
    weight: FloatArray, following: FloatArray, relative: FloatArray, rate: float, *, trades_last: bool
) -> tuple[FloatArray, FloatArray]:
    """Factors of equity and traded shares of any bars.

    With equity q and value v in the coin before the trade, s the sign of the trade and w the new weight, equity e after
    it solves e = q - rate |w e - v|: e = (q + s rate v) / (1 + s rate w).
    """
    value = weight * relative
    before = value - weight + 1.0
    traded = following * before - value
    side = np.copysign(rate, traded)
    growth = side * value
    growth += before
    side *= following
    side += 1.0
    growth /= side  # written in place: memory is what takes time
    if rate > 0.0:
        traded = (before - growth) / rate  # what was paid is the rate times what was traded
    if not trades_last:
        growth[-1:], traded[-1:] = before[-1:], 0.0
    return _while_solvent(before, growth, np.abs(traded))


def _open_fills(positions: FloatArray, day: FloatArray, gap: FloatArray, rate: float) -> tuple[FloatArray, FloatArray]:
    """As `_close_fills`: carry the drifted weight of the bar before over the gap, trade at the open, earn until the
    close. day (T,): close over open; gap (T,): open over the close before."""
    weight_before, weight = positions[:-2], positions[1:-1]
    drifted = weight_before * np.concatenate([np.ones(min(1, len(day))), day[:-1]])
    whole = drifted - weight_before + 1.0
    drifted = np.divide(drifted, whole, out=np.zeros_like(drifted), where=whole > 0.0)
    value = drifted * gap
    before = value - drifted + 1.0
    side = np.copysign(rate, weight * before - value)
    after = (before + side * value) / (1.0 + side * weight)
    growth = after * (1.0 + weight * (day - 1.0))
    return _while_solvent(np.where(after > 0.0, before, 0.0), growth, np.abs(weight * after - value))


def _while_solvent(before: FloatArray, growth: FloatArray, traded: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The factors, 0 where nothing is left; the traded value as a share of the equity before the trade, (T,) each."""
    if min(before.min(initial=1.0), growth.min(initial=1.0)) > 0.0:
        return growth, traded / before
    share = np.divide(traded, before, out=np.zeros_like(traded), where=before > 0.0)
    return np.where(before > 0.0, np.maximum(growth, 0.0), 0.0), share
