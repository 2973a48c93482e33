"""Weights decided at each close -> what a portfolio of one coin and cash earns with them, after costs.

The weight is the share of equity held in the coin: 1 all of it, 0 flat, -1 short. It drifts with the price, and is
restored once a bar, which is a trade that costs (nothing at 1 and 0, that do not drift). Decided at the close of bar t,
it is filled at that close (or at the next open where opens are given) and earns from then on: never from the bar whose
close decided it. `same_bar` execution credits that bar too; it exists to show what such a mistake is worth. Fees and
slippage are a share of the traded value, and are paid from equity. Borrowing, lending and perpetual funding are not
charged.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array

Execution: TypeAlias = Literal["next_bar", "same_bar"]
Weights: TypeAlias = FloatArray | BoolArray  # True is all of the equity, False nothing

CELLS: Final = 65_536  # bars times strategies worked on at once: few enough for a core's cache


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
    """Strategies bar by bar, each array (T,) or (N, T). Nothing is earned in the first bar, which has no return."""

    net: FloatArray  # simple return of equity, after costs
    turnover: FloatArray  # traded value over equity before the trade
    weight: FloatArray  # while the bar's return was earned: at its start, or after its open's fill

    @property
    def equity(self) -> FloatArray:
        """At the close, from 1 before the first bar; 0 once everything is lost. Computed anew each time."""
        equity: FloatArray = np.multiply.accumulate(1.0 + self.net, axis=-1)
        return equity


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Some strategies through some bars: net, turnover and weight as `EquityPath` has them, until the next stretch."""

    rows: slice
    bars: slice
    net: FloatArray
    turnover: FloatArray
    weight: Weights


def simulate(
    close: FloatArray,
    weights: Weights,
    *,
    costs: Costs,
    open_: FloatArray | None = None,
    execution: Execution = "next_bar",
    delay: int = 0,
) -> EquityPath:
    """Follow one strategy, or many, through the consecutive bars of one coin.

    close (T,); open_ (T,): fills are at the next open where it is given. weights (T,), or (N, T) for many: decided at
    each close, from -10 to 10. delay: bars by which each fill is late. Close fills are charged to the bar at whose
    close they happen. Once equity is gone it stays gone. Raises ValueError if shapes disagree, for NaN, prices that are
    not above 0, larger weights or a negative delay.
    """
    net, turnover, weight = (np.empty(weights.shape) for _ in range(3))
    one_or_many = [np.atleast_2d(array) for array in (net, turnover, weight)]
    many: Weights = weights[None] if weights.ndim == 1 else weights
    for part in stretches(close, many, costs=costs, open_=open_, execution=execution, delay=delay):
        for array, values in zip(one_or_many, (part.net, part.turnover, part.weight), strict=True):
            array[part.rows, part.bars] = values
    return EquityPath(net=net, turnover=turnover, weight=weight)


def stretches(
    close: FloatArray,
    weights: Weights,
    *,
    costs: Costs,
    open_: FloatArray | None = None,
    execution: Execution = "next_bar",
    delay: int = 0,
) -> Iterator[Stretch]:
    """As `simulate` of many, weights (N, T), in parts that fit the cache: each strategy's come in the order of time.

    For figures of what need not be kept: all stretches are written to the same memory.
    """
    _check(close, weights, open_, delay)
    if execution not in ("next_bar", "same_bar"):
        raise ValueError(f"execution is {execution!r}, expected next_bar or same_bar")
    shift = delay + (1 if execution == "next_bar" else 0)
    number, total = weights.shape
    width, height = max(1, min(total, CELLS)), max(1, CELLS // max(1, total))
    cells = min(height, number) * (width + 1)
    positions: Weights = np.empty_like(weights, shape=cells)
    net, turnover, gone = np.empty(cells), np.empty(cells), np.zeros(number, dtype=np.bool_)
    for bars in _slices(total, width):
        fills: _CloseFills | _OpenFills = (
            _CloseFills.of(close, bars, costs.rate, trades_last=shift > 0)
            if open_ is None
            else _OpenFills.of(open_, close, bars, costs.rate)
        )
        for rows in _slices(number, height):
            shape = rows.stop - rows.start, bars.stop - bars.start + 1
            used = slice(math.prod(shape))
            meant = positions[used].reshape(shape)
            _place(meant, weights[rows], bars.start - fills.before, shift)
            part = fills.followed(rows, bars, meant, net[used].reshape(shape), turnover[used].reshape(shape))
            _end_where_lost(part, gone[rows])
            yield part


def _slices(number: int, most: int) -> Iterator[slice]:
    return (slice(first, min(first + most, number)) for first in range(0, number, most))


def _check(close: FloatArray, weights: Weights, open_: FloatArray | None, delay: int) -> None:
    for name, prices in (("close", close), ("open", open_)):
        if prices is None:
            continue
        if prices.ndim != 1 or prices.shape != close.shape or not _are_prices(prices):
            raise ValueError(f"{name} is {prices.shape}, expected positive prices (T,) without NaN or gaps")
    if weights.ndim != 2 or weights.shape[1:] != close.shape or delay < 0:
        raise ValueError(f"weights {weights.shape}, {len(close)} bars, delay {delay}: expected (N, T) and 0 or more")
    if weights.size and weights.dtype != np.bool_ and not (weights.min() >= -10.0 and weights.max() <= 10.0):
        raise ValueError("weights hold NaN or a share of equity outside -10 to 10")


def _are_prices(values: FloatArray) -> bool:
    return bool(values.min(initial=1.0) > 0.0 and values.max(initial=1.0) < np.inf)  # NaN is neither


def _place(positions: Weights, weights: Weights, first: int, shift: int) -> None:
    """Write to positions (rows, columns) the weights meant for bar `first` and those behind it.

    Bar t has the weight decided at bar t - shift; the first bar has no return, and so no weight. Where nothing was
    decided, as for the bar behind the last one, it is 0.
    """
    columns = positions.shape[1]
    begin = min(max(first, shift, 1) - first, columns)
    end = max(min(columns, weights.shape[1] + shift - first), begin)
    positions[:, :begin] = 0
    positions[:, begin:end] = weights[:, first + begin - shift : first + end - shift]
    positions[:, end:] = 0


@dataclass(frozen=True, slots=True, eq=False)
class _CloseFills:
    """Earn with a bar's weight, then trade at its close into the next. gain (bars + 1,): the price's simple return, and
    0 behind the last bar. untraded: columns at the end in which nothing is traded."""

    gain: FloatArray
    rate: float
    untraded: int
    before: int = 0  # columns of positions before the first bar

    @classmethod
    def of(cls, close: FloatArray, bars: slice, rate: float, *, trades_last: bool) -> "_CloseFills":
        gain = np.zeros(bars.stop - bars.start + 1)
        np.subtract(_over_close_before(close, close, bars), 1.0, out=gain[:-1])
        return cls(gain, rate, 1 if trades_last or bars.stop < len(close) else 2)

    def followed(self, rows: slice, bars: slice, positions: Weights, net: FloatArray, turnover: FloatArray) -> Stretch:
        """The stretch of these positions (rows, bars + 1), its net and turnover in this memory of the same shape.

        A bar that is held whole or not at all, as is the next one, trades nothing, and needs no formula.
        """
        np.multiply(positions, self.gain, out=net)
        turnover.fill(0.0)
        busy, weights = self._busy(positions), positions.reshape(-1)
        net.reshape(-1)[busy], turnover.reshape(-1)[busy] = _rebalanced(
            weights[busy].astype(np.float64), weights[busy + 1].astype(np.float64), net.reshape(-1)[busy], self.rate
        )
        return Stretch(rows, bars, net[:, :-1], turnover[:, :-1], positions[:, :-1])

    def _busy(self, positions: Weights) -> Int64Array:
        """The cells in which something is traded."""
        changes, flat = np.empty(positions.shape, dtype=np.bool_), positions.reshape(-1)
        np.not_equal(flat[:-1], flat[1:], out=changes.reshape(-1)[:-1])
        if positions.dtype != np.bool_:
            changes |= positions * positions != positions
        changes[:, -self.untraded :] = False
        return np.flatnonzero(changes)


def _over_close_before(price: FloatArray, close: FloatArray, bars: slice) -> FloatArray:
    """Each bar's price over the close before it; 1 in the very first bar."""
    if bars.start:
        return price[bars] / close[bars.start - 1 : bars.stop - 1]
    ratio = np.ones(bars.stop)
    np.divide(price[1 : bars.stop], close[: bars.stop - 1], out=ratio[1:])
    return ratio


def _rebalanced(
    weight: FloatArray, following: FloatArray, earned: FloatArray, rate: float
) -> tuple[FloatArray, FloatArray]:
    """Simple returns after costs, and traded shares, of bars that earned so much before they traded.

    With equity q and value v in the coin before the trade, s the sign of the trade and w the new weight, equity e after
    it solves e = q - rate |w e - v|: e = (q + s rate v) / (1 + s rate w).
    """
    value, before = weight + earned, 1.0 + earned
    side = following * before
    side -= value
    side = np.copysign(rate, side)
    after = side * value
    after += before
    side *= following
    side += 1.0
    after /= side
    following *= after
    following -= value
    return _while_solvent(before, after, np.abs(following, out=following))


@dataclass(frozen=True, slots=True, eq=False)
class _OpenFills:
    """Carry the drifted weight of the bar before over the gap, trade at the open, earn until the close.

    day (bars,): close over open; day_before: of the bar before; gap: open over the close before.
    """

    day: FloatArray
    day_before: FloatArray
    gap: FloatArray
    rate: float
    before: int = 1

    @classmethod
    def of(cls, open_: FloatArray, close: FloatArray, bars: slice, rate: float) -> "_OpenFills":
        day = close[max(0, bars.start - 1) : bars.stop] / open_[max(0, bars.start - 1) : bars.stop]
        day = day if bars.start else np.concatenate([[1.0], day])
        return cls(day[1:], day[:-1], _over_close_before(open_, close, bars), rate)

    def followed(self, rows: slice, bars: slice, positions: Weights, net: FloatArray, turnover: FloatArray) -> Stretch:
        """As of `_CloseFills`; positions begin one bar earlier."""
        weight_before, weight = positions[:, :-1], positions[:, 1:]
        drifted = weight_before * self.day_before
        whole = drifted - weight_before + 1.0
        drifted = np.divide(drifted, whole, out=np.zeros_like(drifted), where=whole > 0.0)
        value = drifted * self.gap
        before = value - drifted + 1.0
        side = np.copysign(self.rate, weight * before - value)
        after = (before + side * value) / (1.0 + side * weight)
        growth = after * (1.0 + weight * (self.day - 1.0))
        net[:, :-1], turnover[:, :-1] = _while_solvent(
            np.where(after > 0.0, before, 0.0), growth, np.abs(weight * after - value)
        )
        return Stretch(rows, bars, net[:, :-1], turnover[:, :-1], weight)


def _while_solvent(before: FloatArray, growth: FloatArray, traded: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Simple returns, -1 where nothing is left; the traded value as a share of the equity before the trade."""
    if min(before.min(initial=1.0), growth.min(initial=1.0)) > 0.0:
        return growth - 1.0, traded / before
    share = np.divide(traded, before, out=np.zeros_like(traded), where=before > 0.0)
    return np.where(before > 0.0, np.maximum(growth, 0.0), 0.0) - 1.0, share


def _end_where_lost(part: Stretch, gone: BoolArray) -> None:
    """Nothing happens behind the bar that lost everything. gone (rows,): who had lost it before, to be updated."""
    if not gone.any() and part.net.min(initial=0.0) > -1.0:
        return
    lost = np.logical_or.accumulate(np.column_stack([gone, part.net <= -1.0]), axis=1)
    for array in (part.net, part.turnover, part.weight):
        array[lost[:, :-1]] = 0
    gone |= lost[:, -1]
