"""What strategies on the forecasts would have earned: every figure with an interval, beside what needs no forecast.

Every coin is traded by itself, from its own first origin on; the portfolio holds the coins that are there in equal
parts, restored at each close at the price of a trade. Nothing here chooses a strategy: the one that is traded is the
settings', and how much choosing the best of many would have fooled is part of the answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import product
from typing import Final, Literal

import msgspec
import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.config import StrategyConfig
from cryptocast.evaluation.records import (
    CostRecord,
    DelayRecord,
    PathsRecord,
    StrategyRecord,
    TradingRecord,
)
from cryptocast.evaluation.scores import Judged
from cryptocast.evaluation.strategy import COSTS_BPS, Costs, Execution, Market, Path, simulate
from cryptocast.evaluation.strategy_weights import (
    between_decisions,
    buy_and_hold,
    flat,
    long_short,
    random_entries,
    volatility_target,
)
from cryptocast.folds import blocks, combinatorial_folds, combinatorial_paths
from cryptocast.scoring.bootstrap import (
    bootstrap_sharpe,
    bootstrap_sharpe_difference,
    optimal_block_length,
    stationary_indices,
)
from cryptocast.scoring.overfitting import backtest_overfitting
from cryptocast.scoring.returns import (
    annual_return,
    calmar,
    max_drawdown,
    periods_per_year,
    sharpe,
    sortino,
    total_return,
)
from cryptocast.scoring.sharpe_tests import bar_statistics, deflated_sharpe, probabilistic_sharpe

__all__ = ["CoinBars", "Curve", "PastTrials", "Trading", "trade"]

HOLD: Final = "buy and hold"
FLAT: Final = "flat"
RANDOM: Final = "random entries as often as: "
RANDOM_DRAWS: Final = 200
TARGETS: Final = (0.2, 0.4, 0.6, 0.8)
PBO_BLOCKS: Final = 16
GROUPS, TESTED = 6, 2  # 15 splits, 5 paths
LEAST_BARS: Final = 60  # of a portfolio that can be said anything about
MOST_BREAK_EVEN: Final = 1_000.0


@dataclass(frozen=True, slots=True, eq=False)
class CoinBars:
    """The bars of one coin, gaps left out: close_time (T,) microseconds, open and close (T,).

    ranges_known: whether all opens are true ones, so that fills can be at them.
    """

    coin: str
    close_time: Int64Array
    open: FloatArray
    close: FloatArray
    ranges_known: bool


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The equity of one strategy: close_time, equity (T,), from 1 before the first bar."""

    name: str
    kind: Literal["strategy", "baseline"]
    close_time: Int64Array
    equity: FloatArray


@dataclass(frozen=True, slots=True)
class PastTrials:
    """Strategies that were evaluated on these series before, by name, with their Sharpe ratio per bar."""

    sharpe: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Trading:
    """The record, and the curves behind it."""

    record: TradingRecord
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """One strategy on all coins: name, model and, by coin, the weights at that coin's bars."""

    name: str
    kind: Literal["strategy", "baseline"]
    model: str | None
    weights: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class _Portfolio:
    """All coins together, each (T,): the simple return after costs, the traded value and what is held, over equity."""

    net: FloatArray
    turnover: FloatArray
    exposure: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Floor:
    """Where it is traded: the bars of each coin inside the test, and the joint times (T,) of all of them."""

    bars: Mapping[str, CoinBars]
    times: Int64Array
    periods: float
    costs: Costs
    execution: Execution
    at_open: bool

    def paths(self, plan: _Plan, *, costs: Costs | None = None, delay: int = 0) -> dict[str, Path]:
        return {
            coin: simulate(
                Market(bars.close, bars.open if self.at_open else None),
                plan.weights[coin],
                costs=costs or self.costs,
                execution=self.execution,
                delay=delay,
            )
            for coin, bars in self.bars.items()
        }

    def portfolio(self, paths: Mapping[str, Path], costs: Costs) -> _Portfolio:
        """Coins in equal parts, restored at each close.

        A coin counts from the bar behind its first one, where it first earns, to its last one; while a bar of it is
        missing its part stands still, and what it made of that time comes with its next bar. Restoring trades a share
        of what is held; a coin that joins pays its entry on its own path. Counted apart from what the path itself
        trades at that close, which can only be too much.
        """
        shape = len(paths), len(self.times)
        net, held, traded, member = (np.zeros(shape) for _ in range(4))
        entry = np.zeros(len(self.times))
        places = {coin: np.searchsorted(self.times, self.bars[coin].close_time) for coin in paths}
        for row, (coin, path) in enumerate(paths.items()):
            at = places[coin]
            net[row, at], held[row, at], traded[row, at] = path.net, np.abs(path.held), path.turnover
            member[row, at[0] + 1 : at[-1] + 1] = 1.0
        number = member.sum(axis=0)
        part = np.divide(member, number, out=np.zeros(shape), where=number > 0)
        # The part in force behind each close; at the last one nothing is decided any more.
        after = np.concatenate([part[:, 1:], part[:, -1:]], axis=1)
        joins = np.array([at[0] for at in places.values()])
        np.add.at(entry, joins, net[np.arange(len(joins)), joins] * after[np.arange(len(joins)), joins])
        earned = (part * net).sum(axis=0)
        moved = np.abs(after * (1.0 + earned) - part * (1.0 + net))
        moved[:, -1] = 0.0
        moved[np.arange(len(joins)), joins] = 0.0
        following = np.concatenate([held[:, 1:], held[:, -1:]], axis=1)
        leaving = (part > 0) & (after == 0)
        restored = (moved * np.where(leaving, held, following)).sum(axis=0)
        turnover = (part * traded).sum(axis=0) + restored
        np.add.at(turnover, joins, (after * traded)[np.arange(len(joins)), joins])
        return _Portfolio(
            net=earned + entry - costs.rate * restored, turnover=turnover, exposure=(part * held).sum(axis=0)
        )

    def traded(self, plan: _Plan, *, costs: Costs | None = None, delay: int = 0) -> _Portfolio:
        """The portfolio of one strategy."""
        return self.portfolio(self.paths(plan, costs=costs, delay=delay), costs or self.costs)

    def net(self, plan: _Plan, *, costs: Costs | None = None, delay: int = 0) -> FloatArray:
        """(T,) the simple return of the portfolio."""
        return self.traded(plan, costs=costs, delay=delay).net


def trade(
    judged: Judged,
    models: Sequence[str],
    bars: Sequence[CoinBars],
    settings: StrategyConfig,
    *,
    execution: Execution = "next_bar",
    cpcv: bool = False,
    past: PastTrials | None = None,
    name_of: Callable[[StrategyRecord], str] = lambda row: row.name,
    rng: np.random.Generator,
) -> Trading | None:
    """Trade on the forecasts of each model from the first origin on; None where there are too few bars to say anything.

    Decided at the close of an origin, held until the next one. past: what was tried before, for the deflated Sharpe
    ratio; without it none is given; name_of gives the name that a strategy of today has among them. rng draws the
    bootstrap and the random entries.
    """
    floor = _floor(judged, bars, settings, execution)
    if floor is None:
        return None
    plans = _plans(judged, models, floor, settings)
    nets = {plan.name: floor.net(plan) for plan in plans}
    indices = _indices(nets[HOLD], settings.draws, rng)
    rows = [_row(floor, plan, nets, indices) for plan in plans]
    rows += [_random_row(floor, plan, rows, rng) for plan in plans if plan.kind == "strategy"]
    rows = _beaten(rows)
    trials = None if past is None else {**past.sharpe, **{name_of(r): r.sharpe_per_bar for r in rows if _is_trial(r)}}
    if trials is not None:
        rows = [_deflated(row, nets[row.name], trials) if _is_trial(row) else row for row in rows]
    own = [plan for plan in plans if plan.kind == "strategy"]
    grid = _grid(judged, models, floor, settings)
    record = TradingRecord(
        start=_moment(int(floor.times[0])),
        end=_moment(int(floor.times[-1])),
        bars=len(floor.times),
        periods=floor.periods,
        execution=execution,
        filled_at="next open" if floor.at_open else "same close",
        fee_bps=floor.costs.fee_bps,
        slippage_bps=floor.costs.slippage_bps,
        target_volatility=settings.target_volatility,
        rows=tuple(rows),
        costs=tuple(_costs(floor, plan) for plan in own),
        delays=tuple(_delays(floor, plan) for plan in own),
        paths=(_cpcv(floor, grid, judged),) if cpcv and len(grid) > 1 else (),
        trials=None if trials is None else len(trials),
        pbo=_pbo(grid),
        pbo_configurations=len(grid),
        notes=_notes(judged, models, floor),
    )
    curves = tuple(Curve(p.name, p.kind, floor.times, np.asarray(np.cumprod(1.0 + nets[p.name]))) for p in plans)
    return Trading(record, curves)


def _floor(judged: Judged, bars: Sequence[CoinBars], settings: StrategyConfig, execution: Execution) -> _Floor | None:
    issued, names = judged.rows.issued_at, judged.rows.coin_names
    last = int(issued.max()) + judged.step * judged.rows.bar_us
    inside: dict[str, CoinBars] = {}
    for one in bars:
        own = issued[names == one.coin]
        # From the coin's own first origin: before it no strategy could hold it, and so no baseline does.
        keep = (one.close_time >= own.min(initial=last)) & (one.close_time <= last)
        if len(own) and keep.any():
            inside[one.coin] = replace(one, close_time=one.close_time[keep], open=one.open[keep], close=one.close[keep])
    if not inside:
        return None
    times = np.unique(np.concatenate([one.close_time for one in inside.values()]))
    if len(times) < LEAST_BARS:
        return None
    at_open = all(one.ranges_known for one in inside.values())
    slippage = settings.slippage_bps if at_open else settings.close_only_slippage_bps
    costs = Costs(settings.fee_bps, slippage)
    return _Floor(inside, times, periods_per_year(times), costs, execution, at_open and execution == "next_bar")


def _plans(judged: Judged, models: Sequence[str], floor: _Floor, settings: StrategyConfig) -> list[_Plan]:
    held = {coin: buy_and_hold(len(bars.close)) for coin, bars in floor.bars.items()}
    none = {coin: flat(len(bars.close)) for coin, bars in floor.bars.items()}
    plans = [_Plan(HOLD, "baseline", None, held), _Plan(FLAT, "baseline", None, none)]
    column = _sizing_column(judged)
    for model in models:
        target = settings.target_volatility
        plans.append(
            _Plan(
                f"{100 * target:g} % volatility, {model}",
                "strategy",
                model,
                _targeted(judged, model, floor, column, target, settings.max_weight),
            )
        )
        if _has_view(judged, model, column):
            signs = {
                coin: _decided(judged, bars, coin, long_short(judged.forecasts[model].p_up[:, column]))
                for coin, bars in floor.bars.items()
            }
            plans.append(_Plan(f"stated direction, {model}", "strategy", model, signs))
    return plans


def _sizing_column(judged: Judged) -> int:
    """The horizon that is nearest to the time until the next decision."""
    return int(np.abs(judged.rows.horizons - judged.step).argmin())


def _targeted(
    judged: Judged, model: str, floor: _Floor, column: int, target: float, most: float
) -> dict[str, FloatArray]:
    horizon = int(judged.rows.horizons[column])
    volatility = judged.forecasts[model].volatility[:, column]
    weights = volatility_target(volatility, horizon=horizon, periods=floor.periods, target=target, most=most)
    return {coin: _decided(judged, bars, coin, weights) for coin, bars in floor.bars.items()}


def _decided(judged: Judged, bars: CoinBars, coin: str, weights: FloatArray) -> FloatArray:
    """(T,) what is held at each bar of a coin, from weights (n,) decided at the origins."""
    own = judged.rows.coin_names == coin
    at = np.searchsorted(bars.close_time, judged.rows.issued_at[own])
    decided = np.zeros(len(bars.close), dtype=np.bool_)
    values = np.zeros(len(bars.close))
    decided[at], values[at] = True, weights[own]
    return between_decisions(values, decided)


def _has_view(judged: Judged, model: str, column: int) -> bool:
    return bool((judged.forecasts[model].p_up[:, column] != 0.5).any())


def _indices(net: FloatArray, draws: int, rng: np.random.Generator) -> Int64Array:
    block = optimal_block_length(net)[0]
    return stationary_indices(len(net), max(1.0, block), draws, rng)


def _row(floor: _Floor, plan: _Plan, nets: Mapping[str, FloatArray], indices: Int64Array) -> StrategyRecord:
    net, periods = nets[plan.name], floor.periods
    whole = floor.traded(plan)
    own = bootstrap_sharpe(net, indices, periods)
    lead = bootstrap_sharpe_difference(net, nets[HOLD], indices, periods) if plan.name != HOLD else None
    statistics = bar_statistics(net)
    return StrategyRecord(
        name=plan.name,
        kind=plan.kind,
        model=plan.model,
        total_return=total_return(net),
        annual_return=annual_return(net, periods),
        sharpe=own.estimate,
        sharpe_lower=own.lower,
        sharpe_upper=own.upper,
        sharpe_per_bar=None if statistics is None else statistics.sharpe,
        difference=lead.estimate if lead else None,
        difference_lower=lead.lower if lead else None,
        difference_upper=lead.upper if lead else None,
        sortino=sortino(net, periods),
        calmar=calmar(net, periods),
        max_drawdown=max_drawdown(net),
        turnover=float(whole.turnover.mean()) * periods,
        exposure=float(whole.exposure.mean()),
        psr=None if statistics is None else probabilistic_sharpe(statistics),
    )


def _random_row(floor: _Floor, plan: _Plan, rows: Sequence[StrategyRecord], rng: np.random.Generator) -> StrategyRecord:
    """The middle of many portfolios that hold as much as the strategy does, at moments chosen by chance."""
    drawn = {coin: random_entries(weights, RANDOM_DRAWS, rng) for coin, weights in plan.weights.items()}
    nets = [
        floor.net(replace(plan, weights={coin: weights[draw] for coin, weights in drawn.items()}))
        for draw in range(RANDOM_DRAWS)
    ]
    ratios = np.array([ratio for net in nets if (ratio := sharpe(net, floor.periods)) is not None])
    annual = [one for net in nets if (one := annual_return(net, floor.periods)) is not None]
    model = next(row for row in rows if row.name == plan.name)
    middle = np.quantile(ratios, [0.025, 0.5, 0.975]).tolist() if len(ratios) else [None] * 3
    beaten = float((ratios < model.sharpe).mean()) if model.sharpe is not None and len(ratios) else None
    return StrategyRecord(
        name=f"{RANDOM}{plan.name}",
        kind="baseline",
        model=plan.model,
        total_return=None,
        annual_return=float(np.median(annual)) if annual else None,
        sharpe=middle[1],
        sharpe_lower=middle[0],
        sharpe_upper=middle[2],
        sharpe_per_bar=None,
        difference=None,
        difference_lower=None,
        difference_upper=None,
        sortino=None,
        calmar=None,
        max_drawdown=float(np.median([max_drawdown(net) or 0.0 for net in nets])),
        turnover=model.turnover,
        exposure=model.exposure,
        beaten=beaten,
    )


def _beaten(rows: Sequence[StrategyRecord]) -> list[StrategyRecord]:
    """Each strategy with the share of its random entries that it beat, which stands in their row."""
    share = {row.name: row.beaten for row in rows}
    return [
        msgspec.structs.replace(row, beaten=share.get(f"{RANDOM}{row.name}"))
        if row.kind == "strategy"
        else msgspec.structs.replace(row, beaten=None)
        for row in rows
    ]


def _is_trial(row: StrategyRecord) -> bool:
    return row.kind == "strategy"


def _deflated(row: StrategyRecord, net: FloatArray, trials: Mapping[str, float | None]) -> StrategyRecord:
    statistics = bar_statistics(net)
    known = [ratio for ratio in trials.values() if ratio is not None]
    if statistics is None or len(known) < 2:
        return row
    found = deflated_sharpe(statistics, trials=float(len(trials)), variance=float(np.var(known, ddof=1)))
    return msgspec.structs.replace(row, dsr=found)


def _costs(floor: _Floor, plan: _Plan) -> CostRecord:
    found = tuple((bps, sharpe(floor.net(plan, costs=Costs(bps)), floor.periods)) for bps in COSTS_BPS)
    return CostRecord(name=plan.name, sharpe_by_bps=found, break_even_bps=_break_even(floor, plan))


def _break_even(floor: _Floor, plan: _Plan) -> float | None:
    def gain(bps: float) -> float:
        return total_return(floor.net(plan, costs=Costs(bps))) or 0.0

    low, high = 0.0, MOST_BREAK_EVEN
    if gain(low) <= 0.0:
        return 0.0
    if gain(high) > 0.0:
        return None
    while high - low > 0.1:
        middle = (low + high) / 2.0
        low, high = (middle, high) if gain(middle) > 0.0 else (low, middle)
    return round(high, 1)


def _delays(floor: _Floor, plan: _Plan) -> DelayRecord:
    found = tuple(sharpe(floor.net(plan, delay=delay), floor.periods) for delay in (0, 1, 2))
    return DelayRecord(name=plan.name, sharpe_by_delay=found)


def _grid(judged: Judged, models: Sequence[str], floor: _Floor, settings: StrategyConfig) -> dict[str, FloatArray]:
    """The returns (T,) of the configurations among which somebody might choose: models, horizons, targets."""
    found = {}
    for model, column, target in product(models, range(len(judged.rows.horizons)), TARGETS):
        name = f"{model}, {int(judged.rows.horizons[column])} bars, {100 * target:g} %"
        weights = _targeted(judged, model, floor, column, target, settings.max_weight)
        found[name] = floor.net(_Plan(name, "strategy", model, weights))
    return found


def _pbo(grid: Mapping[str, FloatArray]) -> float | None:
    returns = np.column_stack(list(grid.values()))
    if returns.shape[1] < 2 or len(returns) < 2 * PBO_BLOCKS:
        return None
    return backtest_overfitting(returns, blocks=PBO_BLOCKS).probability


def _cpcv(floor: _Floor, grid: Mapping[str, FloatArray], judged: Judged) -> PathsRecord:
    """Choose the best configuration on the training groups of each split, trade it on the tested ones."""
    returns = np.column_stack(list(grid.values()))
    # A decision is held for a step, so a bar's return hangs on forecasts that long before it.
    spans = np.column_stack([floor.times, floor.times + judged.step * judged.rows.bar_us])
    chosen = []
    for fold in combinatorial_folds(spans, GROUPS, TESTED):
        ratios = _ratios(returns, fold.train)
        chosen.append(returns[:, int(np.argmax(ratios))])
    edges = blocks(int(floor.times[0]), int(floor.times[-1]) + 1, GROUPS)
    group = np.searchsorted(edges, floor.times, side="right") - 1
    found = []
    for path in combinatorial_paths(GROUPS, TESTED):
        net = np.empty(len(floor.times))
        for number, fold in enumerate(path.tolist()):
            net[group == number] = chosen[fold][group == number]
        found.append(sharpe(net, floor.periods))
    return PathsRecord(name=f"the best of {len(grid)} configurations", sharpe=tuple(found))


def _ratios(returns: FloatArray, keep: BoolArray) -> FloatArray:
    part = returns[keep]
    deviation = part.std(axis=0, ddof=1)
    ratios: FloatArray = np.divide(
        part.mean(axis=0), deviation, out=np.full(deviation.shape, -np.inf), where=deviation > 0
    )
    return ratios


def _notes(judged: Judged, models: Sequence[str], floor: _Floor) -> tuple[str, ...]:
    filled = "the next open" if floor.at_open else "the same close, since not all opens are known"
    notes = [
        f"Decided at the close of each origin, every {judged.step} bars, filled at {filled}, earning from then on.",
        "Nothing is paid for borrowing, nothing earned on cash.",
    ]
    if len(floor.bars) > 1:
        notes.insert(
            1,
            "The coins are held in equal parts, restored at each close for the price of a trade, each from "
            "its first forecast on.",
        )
    if floor.execution == "same_bar":
        notes.insert(0, "Same-bar execution: each decision earns the bar that it was made on. Nobody can trade this.")
    column = _sizing_column(judged)
    if not any(_has_view(judged, model, column) for model in models):
        notes.append("No model states a direction (its probability of a rise is one half), so no sign is traded.")
    return tuple(notes)


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, tz=UTC)
