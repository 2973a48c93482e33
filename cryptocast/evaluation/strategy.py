"""Weights decided at each close -> what a portfolio of one coin and cash earns with them, after costs.

The weight is the share of equity held in the coin: 1 all of it, 0 flat, -1 short. It drifts with the price, and is
restored once a bar, which is a trade that costs (nothing at 1 and 0, that do not drift). Decided at the close of bar t,
it is filled at that close (or at the next open where opens are given) and earns from then on: never from the bar whose
close decided it. `same_bar` execution credits that bar too; it exists to show what such a mistake is worth. Fees and
slippage are a share of the traded value, and are paid from equity. Borrowing, lending and perpetual funding are not
charged.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal, TypeAlias

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray
from cryptocast.scoring.returns import annual_return, calmar, max_drawdown, sharpe, sortino, total_return

__all__ = [
    "COSTS_BPS",
    "Costs",
    "Execution",
    "Figures",
    "GridFigures",
    "Market",
    "Path",
    "Row",
    "break_even_bps",
    "cost_table",
    "delay_table",
    "figures",
    "simulate",
    "simulate_grid",
]

Execution: TypeAlias = Literal["next_bar", "same_bar"]
Weights: TypeAlias = FloatArray | BoolArray

COSTS_BPS: Final = (0.0, 5.0, 10.0, 20.0, 50.0)
# Bars times parameter sets worked on at once: what fits into a core's cache with its intermediate results.
CELLS: Final = 16_384
MOST_BPS: Final = 5_000.0  # where the search for the break-even cost gives up


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
class Market:
    """Prices of consecutive bars of one coin: close (T,), and open (T,) if fills are to be at the next open."""

    close: FloatArray
    open: FloatArray | None = None

    def __post_init__(self) -> None:
        for name, prices in (("close", self.close), ("open", self.open)):
            if prices is None:
                continue
            if prices.ndim != 1 or prices.shape != self.close.shape or not (np.isfinite(prices) & (prices > 0)).all():
                raise ValueError(f"{name} is {prices.shape}, expected positive prices (T,) without NaN or gaps")

    def __len__(self) -> int:
        return len(self.close)


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """One strategy bar by bar. Nothing is earned in the first bar, whose return is not known."""

    net: FloatArray  # (T,) simple return of equity, after costs
    equity: FloatArray  # (T,) at the close, from 1 before the first bar; 0 once everything is lost
    turnover: FloatArray  # (T,) traded value over equity before the trade
    held: FloatArray  # (T,) weight while the bar's return was earned: at its start, or after its open's fill


@dataclass(frozen=True, slots=True)
class Figures:
    """What a path comes to. None where it is undefined, as in `scoring.returns`."""

    total_return: float | None
    annual_return: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown: float | None
    turnover: float  # traded value over equity, in a year
    exposure: float  # mean size of the weight


@dataclass(frozen=True, slots=True, eq=False)
class GridFigures:
    """The figures of N strategies, each (N,); NaN where `Figures` has None."""

    total_return: FloatArray
    annual_return: FloatArray
    sharpe: FloatArray
    sortino: FloatArray
    calmar: FloatArray
    max_drawdown: FloatArray
    turnover: FloatArray  # a year


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table of costs or delays."""

    cost_bps: float
    delay: int
    figures: Figures


def simulate(
    market: Market, weights: Weights, *, costs: Costs, execution: Execution = "next_bar", delay: int = 0
) -> Path:
    """Follow one strategy through time.

    weights (T,): decided at each close, from -10 to 10, no NaN (flat is 0); bool counts as 0 and 1. delay: bars by
    which each fill is late. Close fills are charged to the bar at whose close they happen. Once equity is gone it stays
    gone. Raises ValueError if shapes disagree, for NaN or larger weights, a negative delay.
    """
    _check(market, weights, delay)
    if weights.ndim != 1:
        raise ValueError(f"weights is {weights.shape}, expected (T,)")
    shift, bars = _shift(execution, delay), len(market)
    growth, traded, held = np.empty((1, bars)), np.empty((1, bars)), np.empty((1, bars))
    for begin in range(0, bars, CELLS):
        part = slice(begin, min(begin + CELLS, bars))
        meant = _held(weights[None, :], begin, part.stop, shift)
        held[:, part] = meant[:, 1:-1]
        growth[:, part], traded[:, part] = _growth(market, meant, begin, costs.rate, shift)
    equity: FloatArray = np.multiply.accumulate(growth, axis=1)
    if bars and equity[0, -1] <= 0.0:
        gone = _gone(equity)
        growth[gone], traded[gone], held[gone] = 1.0, 0.0, 0.0
    growth -= 1.0
    return Path(net=growth[0], equity=equity[0], turnover=traded[0], held=held[0])


def figures(path: Path, periods: float) -> Figures:
    """The figures of a path of T >= 1 bars, `periods` of which make a year."""
    return Figures(
        total_return=total_return(path.net),
        annual_return=annual_return(path.net, periods),
        sharpe=sharpe(path.net, periods),
        sortino=sortino(path.net, periods),
        calmar=calmar(path.net, periods),
        max_drawdown=max_drawdown(path.net),
        turnover=float(path.turnover.mean()) * periods,
        exposure=float(np.abs(path.held).mean()),
    )


def simulate_grid(
    market: Market,
    weights: Weights,
    *,
    costs: Costs,
    periods: float,
    execution: Execution = "next_bar",
    delay: int = 0,
) -> GridFigures:
    """The figures of many strategies on the same bars, as `simulate` and `figures` would give them one by one.

    weights (N, T), one row for each parameter set; only a few rows are worked on at a time, so that nothing but the
    weights grows with N. Errors as `simulate`.
    """
    _check(market, weights, delay)
    if weights.ndim != 2:
        raise ValueError(f"weights is {weights.shape}, expected (N, T)")
    shift = _shift(execution, delay)
    rows = max(1, CELLS // max(1, len(market)))
    parts = [
        _figures_of_rows(market, weights[begin : begin + rows], costs.rate, periods, shift)
        for begin in range(0, max(1, len(weights)), rows)
    ]
    names = [field.name for field in fields(GridFigures)]
    return GridFigures(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def cost_table(
    market: Market,
    weights: Weights,
    *,
    periods: float,
    costs_bps: Sequence[float] = COSTS_BPS,
    execution: Execution = "next_bar",
) -> tuple[Row, ...]:
    """The figures of one strategy at each of several costs per side."""
    return tuple(
        Row(bps, 0, figures(simulate(market, weights, costs=Costs(bps), execution=execution), periods))
        for bps in costs_bps
    )


def delay_table(
    market: Market, weights: Weights, *, costs: Costs, periods: float, delays: Sequence[int] = (0, 1, 2)
) -> tuple[Row, ...]:
    """The figures of one strategy whose fills come later by so many bars."""
    bps = costs.fee_bps + costs.slippage_bps
    return tuple(
        Row(bps, delay, figures(simulate(market, weights, costs=costs, delay=delay), periods)) for delay in delays
    )


def break_even_bps(market: Market, weights: Weights, baseline: Weights | None = None) -> float | None:
    """The cost per side at which the strategy ends with what the baseline does, both paying it; the baseline is flat.

    0 where it is not ahead even without costs. None where no cost up to 5,000 bps takes its lead (it hardly trades).
    """

    def lead(bps: float) -> float:
        ends = [
            float(simulate(market, one, costs=Costs(bps)).equity[-1]) if one is not None and len(market) else 1.0
            for one in (weights, baseline)
        ]
        return ends[0] - ends[1]

    low, high = 0.0, MOST_BPS
    if lead(low) <= 0.0:
        return 0.0
    if lead(high) > 0.0:
        return None
    while high - low > 1e-6:
        middle = (low + high) / 2.0
        low, high = (middle, high) if lead(middle) > 0.0 else (low, middle)
    return high


def _shift(execution: Execution, delay: int) -> int:
    """By how many bars a decision precedes the bar that it first earns from."""
    if execution not in ("next_bar", "same_bar"):
        raise ValueError(f"execution is {execution!r}, expected next_bar or same_bar")
    return delay + (1 if execution == "next_bar" else 0)


def _check(market: Market, weights: Weights, delay: int) -> None:
    if weights.ndim < 1 or weights.shape[-1] != len(market) or delay < 0:
        raise ValueError(f"weights {weights.shape}, {len(market)} bars, delay {delay}: expected (..., T) and 0 or more")
    if weights.dtype != np.bool_ and weights.size:
        low, high = weights.min(), weights.max()
        if not (low >= -10.0 and high <= 10.0):
            raise ValueError(f"weights reach from {low} to {high}, expected shares of equity from -10 to 10 and no NaN")


def _held(weights: Weights, begin: int, end: int, shift: int) -> FloatArray:
    """(rows, end - begin + 2): the weight meant for each bar from begin - 1 to end; 0 before the first decision.

    Bar 0 earns nothing. Behind the last decision, weights stay as they were: nothing is left to decide.
    """
    held = np.zeros((len(weights), end - begin + 2))
    bars = weights.shape[1]
    # Bar t is held with the weight decided at bar t - shift; bar 0 has no return, and so no weight.
    first, last = max(begin - 1, shift, 1), min(end, bars - 1 + shift)
    if last >= first:
        held[:, first - begin + 1 : last - begin + 2] = weights[:, first - shift : last - shift + 1]
    return held


def _growth(market: Market, held: FloatArray, begin: int, rate: float, shift: int) -> tuple[FloatArray, FloatArray]:
    """Factors of equity of each bar from `begin` on, and the traded shares: both (rows, bars)."""
    bars = held.shape[1] - 2
    if market.open is None:
        relative = _relatives(market.close, market.close, begin, bars)
        # The weights of a same-bar signal end with the last bar: nothing is decided for the one behind it.
        last = len(market) - begin if shift == 0 and begin + bars == len(market) else None
        growth, traded = _close_fills(held[:, 1:-1], held[:, 2:], relative, rate, last)
    else:
        gap = _relatives(market.open, market.close, begin, bars)
        day = market.close / market.open
        day_before = np.concatenate(([1.0], day[:-1]))[begin : begin + bars]
        growth, traded = _open_fills(held[:, :-2], held[:, 1:-1], day_before, gap, day[begin : begin + bars], rate)
    return growth, traded


def _relatives(price: FloatArray, close: FloatArray, begin: int, bars: int) -> FloatArray:
    """Each bar's price over the close before it; 1 in the first bar."""
    if begin:
        return price[begin : begin + bars] / close[begin - 1 : begin + bars - 1]
    relative = np.ones(bars)
    np.divide(price[1:bars], close[: bars - 1], out=relative[1:])
    return relative


def _close_fills(
    held: FloatArray, following: FloatArray, relative: FloatArray, rate: float, last: int | None
) -> tuple[FloatArray, FloatArray]:
    """Earn with `held`, then trade at the close into `following`.

    With equity q and value v in the coin before the trade, s the sign of the trade and w the new weight, equity e after
    it solves e = q - rate |w e - v|: e = (q + s rate v) / (1 + s rate w). Written in place: memory is what takes time.
    """
    value = held * relative
    before = value - held
    before += 1.0
    traded = following * before
    traded -= value
    if last is not None:
        traded[:, last - 1 :] = 0.0
    if rate == 0.0:
        growth = before
        np.abs(traded, out=traded)
    else:
        side = np.copysign(rate, traded)
        growth = side * value
        growth += before
        side *= following
        side += 1.0
        growth /= side
        if last is not None:
            growth[:, last - 1 :] = before[:, last - 1 :]
        # What was paid is the rate times what was traded.
        np.subtract(before, growth, out=traded)
        traded /= rate
    if before.min(initial=1.0) <= 0.0 or growth.min(initial=1.0) <= 0.0:
        traded[before <= 0.0] = 0.0
        return np.maximum(growth, 0.0) * (before > 0.0), traded
    traded /= before
    return growth, traded


def _open_fills(
    held_before: FloatArray,
    held: FloatArray,
    day_before: FloatArray,
    gap: FloatArray,
    day: FloatArray,
    rate: float,
) -> tuple[FloatArray, FloatArray]:
    """Carry the drifted weight of the bar before over the gap, trade at the open into `held`, earn until the close."""
    drifted = held_before * day_before
    whole = drifted - held_before + 1.0
    drifted = np.divide(drifted, whole, out=np.zeros_like(drifted), where=whole > 0.0)
    value = drifted * gap
    before = value - drifted + 1.0
    side = np.copysign(rate, held * before - value)
    after = (before + side * value) / (1.0 + side * held)
    growth = after * (1.0 + held * (day - 1.0))
    traded = np.divide(np.abs(held * after - value), before, out=np.zeros_like(before), where=before > 0.0)
    alive = (before > 0.0) & (after > 0.0)
    return np.maximum(growth, 0.0) * alive, traded


def _gone(equity: FloatArray) -> BoolArray:
    """The bars behind the one that lost everything."""
    lost = equity <= 0.0
    behind: BoolArray = np.concatenate((np.zeros_like(lost[..., :1]), lost[..., :-1]), axis=-1)
    return behind


def _figures_of_rows(market: Market, weights: Weights, rate: float, periods: float, shift: int) -> GridFigures:
    """The sums of one pass over time in pieces, and the figures that they give."""
    rows, bars = weights.shape
    sums = _Sums(rows)
    for begin in range(0, bars, CELLS):
        held = _held(weights, begin, min(begin + CELLS, bars), shift)
        sums.add(*_growth(market, held, begin, rate, shift))
    return sums.figures(bars, periods)


class _Sums:
    """What must be remembered of the bars so far, for each of a few strategies."""

    def __init__(self, rows: int) -> None:
        self.equity, self.peak = np.ones(rows), np.ones(rows)
        self.deepest: FloatArray = np.zeros(rows)
        self.net, self.square, self.short, self.traded = np.zeros(rows), np.zeros(rows), np.zeros(rows), np.zeros(rows)

    def add(self, growth: FloatArray, traded: FloatArray) -> None:
        """Add consecutive bars (rows, bars): factors of equity and traded shares. Both arrays are used up."""
        equity: FloatArray = np.multiply.accumulate(growth, axis=1)
        equity *= self.equity[:, None]
        if equity[:, -1].min(initial=1.0) <= 0.0:
            gone = _gone(equity) | (self.equity[:, None] <= 0.0)
            growth[gone], traded[gone] = 1.0, 0.0
        self.traded += traded.sum(axis=1)
        self.equity = equity[:, -1].copy()
        peak = np.maximum.accumulate(equity, axis=1, out=traded)
        np.maximum(peak, self.peak[:, None], out=peak)
        self.peak = peak[:, -1].copy()
        equity /= peak
        self.deepest = np.minimum(self.deepest, equity.min(axis=1) - 1.0)
        growth -= 1.0
        self.net += growth.sum(axis=1)
        self.square += np.einsum("ij,ij->i", growth, growth)
        np.minimum(growth, 0.0, out=growth)
        self.short += np.einsum("ij,ij->i", growth, growth)

    def figures(self, bars: int, periods: float) -> GridFigures:
        """The figures after so many bars."""
        nothing = np.full(len(self.net), np.nan)
        mean, annual = self.net / max(1, bars), math.sqrt(periods)
        variance = (self.square - bars * mean**2) / max(1, bars - 1)
        # Below this it is the rounding of returns that do not vary.
        varies = (variance > 1e-14 * mean**2) & (bars > 1)
        deviation = np.sqrt(np.where(varies, variance, 1.0))
        short = np.sqrt(self.short / max(1, bars))
        yearly = self.equity ** (periods / max(1, bars)) - 1.0
        return GridFigures(
            total_return=self.equity - 1.0,
            annual_return=yearly,
            sharpe=np.where(varies, mean / deviation * annual, np.nan),
            sortino=np.divide(mean * annual, short, out=nothing.copy(), where=short > 0.0),
            calmar=np.divide(yearly, -self.deepest, out=nothing.copy(), where=self.deepest < 0.0),
            max_drawdown=self.deepest,
            turnover=self.traded / max(1, bars) * periods,
        )
