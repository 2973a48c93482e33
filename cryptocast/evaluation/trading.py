"""What strategies on the forecasts would have earned: every figure with an interval, beside what needs no forecast.

Every coin is traded by itself, from its own first origin on; the portfolio holds the coins that are there in equal
parts, restored at each close at the price of a trade. Nothing here chooses a strategy: the one that is traded is the
settings', and how much choosing the best of many would have fooled is part of the answer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Literal

import numpy as np
from msgspec.structs import replace as changed

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.config import StrategyConfig
from cryptocast.evaluation.records import CostRecord, DelayRecord, PathsRecord, StrategyRecord, TradingRecord
from cryptocast.evaluation.scores import ScoreSheet
from cryptocast.evaluation.strategy import CELLS, Costs, EquityPath, Execution, simulate
from cryptocast.evaluation.strategy_weights import between_decisions, long_short, random_entries, volatility_target
from cryptocast.folds import blocks, combinatorial_folds, combinatorial_paths
from cryptocast.scoring.bootstrap import (
    bootstrap_sharpe,
    bootstrap_sharpe_difference,
    optimal_block_length,
    stationary_indices,
)
from cryptocast.scoring.overfitting import backtest_overfitting
from cryptocast.scoring.returns import (
    ReturnSums,
    annual_return,
    calmar,
    max_drawdown,
    periods_per_year,
    sharpe,
    sortino,
    total_return,
)
from cryptocast.scoring.sharpe_tests import bar_statistics, deflated_sharpe, probabilistic_sharpe
from cryptocast.times import as_datetime

HOLD: Final = "buy and hold"
FLAT: Final = "flat"
RANDOM: Final = "random entries as often as: "
RANDOM_DRAWS: Final = 200
COSTS_BPS: Final = (0.0, 5.0, 10.0, 20.0, 50.0)
DELAYS: Final = (0, 1, 2)  # bars
TARGETS: Final = (0.2, 0.4, 0.6, 0.8)
PBO_BLOCKS: Final = 16
GROUPS, TESTED = 6, 2  # 15 splits, 5 paths
LEAST_BARS: Final = 60  # of a portfolio that can be said anything about
MOST_BREAK_EVEN: Final = 1_000.0


@dataclass(frozen=True, slots=True, eq=False)
class TradedBars:
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


@dataclass(frozen=True, slots=True, eq=False)
class Trading:
    """The record, and the curves behind it."""

    record: TradingRecord
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Strategy:
    """What is held: by coin, the weights at that coin's bars. model: whose forecasts decide; None for a baseline."""

    name: str
    model: str | None
    weights: Mapping[str, FloatArray]

    @property
    def kind(self) -> Literal["strategy", "baseline"]:
        return "baseline" if self.model is None else "strategy"


@dataclass(frozen=True, slots=True, eq=False)
class _Portfolio:
    """All coins together, (T,) or (N, T): the simple return after costs, the traded value and what is held, over
    equity."""

    net: FloatArray
    turnover: FloatArray
    exposure: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _EqualParts:
    """How much of the portfolio each coin has: as it earns a bar, and behind the bar's close; (C, T) each.

    places: of each coin's bars among the joint times. A coin counts from the bar behind its first one, where it first
    earns, to its last one.
    """

    places: tuple[Int64Array, ...]
    earning: FloatArray
    after: FloatArray

    @classmethod
    def of(cls, bars: Mapping[str, TradedBars], times: Int64Array) -> "_EqualParts":
        """Of these coins."""
        places = tuple(np.searchsorted(times, one.close_time) for one in bars.values())
        member = np.zeros((len(places), len(times)))
        for row, at in zip(member, places, strict=True):
            row[at[0] + 1 : at[-1] + 1] = 1.0
        number = member.sum(axis=0)
        part = np.divide(member, number, out=np.zeros(member.shape), where=number > 0)
        # At the last close nothing is decided any more.
        return cls(places, part, np.concatenate([part[:, 1:], part[:, -1:]], axis=1))

    def laid_out(self, values: Sequence[FloatArray]) -> FloatArray:
        """(C, N, T) values (N, bars) of each coin at the joint times, 0 where it has no bar."""
        joint = np.zeros((len(values), len(values[0]), self.earning.shape[1]))
        for row, at, own in zip(joint, self.places, values, strict=True):
            row[:, at] = own
        return joint


@dataclass(frozen=True, slots=True, eq=False)
class _Floor:
    """Where it is traded: the bars of each coin inside the test, and the joint times (T,) of all of them."""

    bars: Mapping[str, TradedBars]
    times: Int64Array
    parts: _EqualParts
    periods: float
    costs: Costs
    execution: Execution
    at_open: bool

    def portfolios(
        self, strategies: Mapping[str, FloatArray], *, costs: Costs | None = None, delay: int = 0
    ) -> Iterator[tuple[slice, _Portfolio]]:
        """The portfolios of N strategies, given by weights (N, bars) by coin; as many at a time as the cache holds."""
        number = len(next(iter(strategies.values())))
        height = max(1, CELLS // (len(self.bars) * len(self.times)))
        for first in range(0, number, height):
            rows = slice(first, min(first + height, number))
            some = {coin: weights[rows] for coin, weights in strategies.items()}
            yield rows, self._portfolio(self._paths(some, costs or self.costs, delay), costs or self.costs)

    def nets(self, strategies: Mapping[str, FloatArray], *, costs: Costs | None = None, delay: int = 0) -> FloatArray:
        """(N, T) the simple returns of their portfolios."""
        nets = [portfolio.net for _, portfolio in self.portfolios(strategies, costs=costs, delay=delay)]
        return np.concatenate([np.empty((0, len(self.times))), *nets])

    def sharpes(
        self, strategies: Mapping[str, FloatArray], *, costs: Costs | None = None, delay: int = 0
    ) -> list[float | None]:
        """The annual Sharpe ratios of their portfolios."""
        return [sharpe(net, self.periods) for net in self.nets(strategies, costs=costs, delay=delay)]

    def stacked(self, strategies: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
        """(N, bars) by coin, of weights by coin (bars,) of each strategy."""
        return {
            coin: np.reshape([weights[coin] for weights in strategies], (len(strategies), len(bars.close)))
            for coin, bars in self.bars.items()
        }

    def _paths(self, strategies: Mapping[str, FloatArray], costs: Costs, delay: int) -> list[EquityPath]:
        return [
            simulate(
                bars.close,
                strategies[coin],
                costs=costs,
                open_=bars.open if self.at_open else None,
                execution=self.execution,
                delay=delay,
            )
            for coin, bars in self.bars.items()
        ]

    def _portfolio(self, paths: Sequence[EquityPath], costs: Costs) -> _Portfolio:
        """Coins in equal parts, restored at each close.

        While a bar of a coin is missing its part stands still, and what it made of that time comes with its next bar.
        Restoring trades a share of what is held; a coin that joins pays its entry on its own path. Counted apart from
        what the path itself trades at that close, which can only be too much.
        """
        net = self.parts.laid_out([path.net for path in paths])
        weight = self.parts.laid_out([np.abs(path.weight) for path in paths])
        traded = self.parts.laid_out([path.turnover for path in paths])
        part, after = self.parts.earning[:, None], self.parts.after[:, None]
        earned = (part * net).sum(axis=0)
        levelled = np.abs(after * (1.0 + earned) - part * (1.0 + net))
        levelled[:, :, -1] = 0.0
        entry, entered = np.zeros(earned.shape), np.zeros(earned.shape)
        for coin, at in enumerate(places[0] for places in self.parts.places):
            entry[:, at] += net[coin, :, at] * self.parts.after[coin, at]
            entered[:, at] += traded[coin, :, at] * self.parts.after[coin, at]
            levelled[coin, :, at] = 0.0
        following = np.concatenate([weight[:, :, 1:], weight[:, :, -1:]], axis=2)
        leaving = (part > 0) & (after == 0)
        restored = (levelled * np.where(leaving, weight, following)).sum(axis=0)
        return _Portfolio(
            net=earned + entry - costs.rate * restored,
            turnover=(part * traded).sum(axis=0) + restored + entered,
            exposure=(part * weight).sum(axis=0),
        )


def trade(
    sheet: ScoreSheet,
    models: Sequence[str],
    bars: Sequence[TradedBars],
    settings: StrategyConfig,
    *,
    execution: Execution = "next_bar",
    cpcv: bool = False,
    past: Mapping[str, float | None] | None = None,
    name_of: Callable[[StrategyRecord], str] = lambda row: row.name,
    rng: np.random.Generator,
) -> Trading | None:
    """Trade on the forecasts of each model from the first origin on; None where there are too few bars to say anything.

    Decided at the close of an origin, held until the next one. past: Sharpe ratio per bar of each strategy that was
    evaluated on these series before, for the deflated Sharpe ratio; without it none is given. name_of gives the name
    that a strategy of today has among them. rng draws the bootstrap and the random entries.
    """
    floor = _floor(sheet, bars, settings, execution)
    if floor is None:
        return None
    column = _sizing_column(sheet)
    strategies = _strategies(sheet, models, floor, settings, column)
    portfolios = _portfolios(floor, strategies)
    nets = {name: portfolio.net for name, portfolio in portfolios.items()}
    indices = _indices(nets[HOLD], settings.draws, rng)
    rows = [_row(floor.periods, strategy, portfolios, indices) for strategy in strategies]
    random_rows = []
    for place, strategy in enumerate(strategies):
        if strategy.model is not None:
            random_row, beaten = _random_entries(floor, strategy, rows[place], rng)
            rows[place] = changed(rows[place], beaten=beaten)
            random_rows.append(random_row)
    trials = None
    if past is not None:
        trials = {**past, **{name_of(row): row.sharpe_per_bar for row in rows if row.kind == "strategy"}}
        rows = [_deflated(row, nets[row.name], trials) for row in rows]
    own = [strategy for strategy in strategies if strategy.model is not None]
    grid = _grid(sheet, models, floor, settings)
    record = TradingRecord(
        start=as_datetime(floor.times[0]),
        end=as_datetime(floor.times[-1]),
        bars=len(floor.times),
        periods=floor.periods,
        execution=execution,
        filled_at="next open" if floor.at_open else "same close",
        fee_bps=floor.costs.fee_bps,
        slippage_bps=floor.costs.slippage_bps,
        target_volatility=settings.target_volatility,
        rows=(*rows, *random_rows),
        costs=_costs(floor, own),
        delays=_delays(floor, own),
        paths=(_cpcv(floor, grid, sheet),) if cpcv and grid.shape[1] > 1 else (),
        trials=None if trials is None else len(trials),
        pbo=_pbo(grid),
        pbo_configurations=grid.shape[1],
        notes=_notes(sheet, floor, signed=len(own) > len(models)),
    )
    curves = tuple(Curve(s.name, s.kind, floor.times, np.asarray(np.cumprod(1.0 + nets[s.name]))) for s in strategies)
    return Trading(record, curves)


def _floor(
    sheet: ScoreSheet, bars: Sequence[TradedBars], settings: StrategyConfig, execution: Execution
) -> _Floor | None:
    issued, names = sheet.rows.issued_at, sheet.rows.coin_names
    last = int(issued.max()) + sheet.step * sheet.rows.bar_us
    inside: dict[str, TradedBars] = {}
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
    return _Floor(
        inside,
        times,
        _EqualParts.of(inside, times),
        periods_per_year(times),
        costs,
        execution,
        at_open and execution == "next_bar",
    )


def _strategies(
    sheet: ScoreSheet, models: Sequence[str], floor: _Floor, settings: StrategyConfig, column: int
) -> list[_Strategy]:
    """Of the forecasts at the horizon of the column."""
    hold, none = (
        {coin: np.full(len(bars.close), weight) for coin, bars in floor.bars.items()} for weight in (1.0, 0.0)
    )
    strategies = [_Strategy(HOLD, None, hold), _Strategy(FLAT, None, none)]
    for model in models:
        target, p_up = settings.target_volatility, sheet.forecasts[model].p_up[:, column]
        targeted = _targeted(sheet, model, floor, column, target, settings.max_weight)
        strategies.append(_Strategy(f"{100 * target:g} % volatility, {model}", model, targeted))
        if (p_up != 0.5).any():
            signs = _by_coin(sheet, floor, long_short(p_up))
            strategies.append(_Strategy(f"stated direction, {model}", model, signs))
    return strategies


def _sizing_column(sheet: ScoreSheet) -> int:
    """The horizon that is nearest to the time until the next decision."""
    return int(np.abs(sheet.rows.horizons - sheet.step).argmin())


def _targeted(
    sheet: ScoreSheet, model: str, floor: _Floor, column: int, target: float, most: float
) -> dict[str, FloatArray]:
    horizon = int(sheet.rows.horizons[column])
    volatility = sheet.forecasts[model].volatility[:, column]
    weights = volatility_target(volatility, horizon=horizon, periods=floor.periods, target=target, most=most)
    return _by_coin(sheet, floor, weights)


def _by_coin(sheet: ScoreSheet, floor: _Floor, weights: FloatArray) -> dict[str, FloatArray]:
    """(T,) what is held at each bar of each coin, from weights (n,) decided at the origins."""
    weights_by_coin = {}
    for coin, bars in floor.bars.items():
        own = sheet.rows.coin_names == coin
        at = np.searchsorted(bars.close_time, sheet.rows.issued_at[own])
        decided = np.zeros(len(bars.close), dtype=np.bool_)
        values = np.zeros(len(bars.close))
        decided[at], values[at] = True, weights[own]
        weights_by_coin[coin] = between_decisions(values, decided)
    return weights_by_coin


def _indices(net: FloatArray, draws: int, rng: np.random.Generator) -> Int64Array:
    block = optimal_block_length(net)[0]
    return stationary_indices(len(net), max(1.0, block), draws, rng)


def _portfolios(floor: _Floor, strategies: Sequence[_Strategy]) -> dict[str, _Portfolio]:
    """By name, each (T,)."""
    weights = floor.stacked([strategy.weights for strategy in strategies])
    rows = (
        _Portfolio(*row)
        for _, some in floor.portfolios(weights)
        for row in zip(some.net, some.turnover, some.exposure, strict=True)
    )
    return {strategy.name: row for strategy, row in zip(strategies, rows, strict=True)}


def _row(
    periods: float, strategy: _Strategy, portfolios: Mapping[str, _Portfolio], indices: Int64Array
) -> StrategyRecord:
    whole = portfolios[strategy.name]
    net = whole.net
    own = bootstrap_sharpe(net, indices, periods)
    lead = bootstrap_sharpe_difference(net, portfolios[HOLD].net, indices, periods) if strategy.name != HOLD else None
    statistics = bar_statistics(net)
    return StrategyRecord(
        name=strategy.name,
        kind=strategy.kind,
        model=strategy.model,
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


def _random_entries(
    floor: _Floor, strategy: _Strategy, row: StrategyRecord, rng: np.random.Generator
) -> tuple[StrategyRecord, float | None]:
    """The middle of many portfolios that hold as much as the strategy does, at moments chosen by chance; and the share
    of them whose Sharpe ratio is lower than the strategy's."""
    # The strategy itself comes first: what is compared is computed in the same way, to the last bit.
    drawn = {
        coin: np.vstack([weights, random_entries(weights, RANDOM_DRAWS, rng)])
        for coin, weights in strategy.weights.items()
    }
    sums = ReturnSums(1 + RANDOM_DRAWS)
    for rows, portfolio in floor.portfolios(drawn):
        sums.add(portfolio.net, rows)
    own, ratios = sums.sharpe(floor.periods)[0], _defined(sums.sharpe(floor.periods)[1:])
    annual = _defined(sums.annual_return(floor.periods)[1:])
    middle = np.quantile(ratios, [0.025, 0.5, 0.975]).tolist() if len(ratios) else [None] * 3
    beaten = float((ratios < own).mean()) if row.sharpe is not None and len(ratios) else None
    record = StrategyRecord(
        name=f"{RANDOM}{strategy.name}",
        kind="baseline",
        model=strategy.model,
        annual_return=float(np.median(annual)) if len(annual) else None,
        sharpe=middle[1],
        sharpe_lower=middle[0],
        sharpe_upper=middle[2],
        max_drawdown=float(np.median(sums.max_drawdown[1:])),
        turnover=row.turnover,
        exposure=row.exposure,
    )
    return record, beaten


def _defined(figures: FloatArray) -> FloatArray:
    return figures[np.isfinite(figures)]


def _deflated(row: StrategyRecord, net: FloatArray, trials: Mapping[str, float | None]) -> StrategyRecord:
    statistics = bar_statistics(net) if row.kind == "strategy" else None
    ratios = [ratio for ratio in trials.values() if ratio is not None]
    if statistics is None or len(ratios) < 2:
        return row
    variance = float(np.var(ratios, ddof=1))
    return changed(row, dsr=deflated_sharpe(statistics, trials=float(len(trials)), variance=variance))


def _costs(floor: _Floor, strategies: Sequence[_Strategy]) -> tuple[CostRecord, ...]:
    weights = floor.stacked([strategy.weights for strategy in strategies])
    by_bps = [floor.sharpes(weights, costs=Costs(bps)) for bps in COSTS_BPS]
    return tuple(
        CostRecord(
            name=strategy.name,
            sharpe_by_bps=tuple(zip(COSTS_BPS, ratios, strict=True)),
            break_even_bps=_break_even(floor, strategy),
        )
        for strategy, *ratios in zip(strategies, *by_bps, strict=True)
    )


def _break_even(floor: _Floor, strategy: _Strategy) -> float | None:
    weights = floor.stacked([strategy.weights])

    def gain(bps: float) -> float:
        return total_return(floor.nets(weights, costs=Costs(bps))[0]) or 0.0

    low, high = 0.0, MOST_BREAK_EVEN
    if gain(low) <= 0.0:
        return 0.0
    if gain(high) > 0.0:
        return None
    while high - low > 0.1:
        middle = (low + high) / 2.0
        low, high = (middle, high) if gain(middle) > 0.0 else (low, middle)
    return round(high, 1)


def _delays(floor: _Floor, strategies: Sequence[_Strategy]) -> tuple[DelayRecord, ...]:
    weights = floor.stacked([strategy.weights for strategy in strategies])
    by_delay = [floor.sharpes(weights, delay=delay) for delay in DELAYS]
    return tuple(
        DelayRecord(name=strategy.name, sharpe_by_delay=tuple(ratios))
        for strategy, *ratios in zip(strategies, *by_delay, strict=True)
    )


def _grid(sheet: ScoreSheet, models: Sequence[str], floor: _Floor, settings: StrategyConfig) -> FloatArray:
    """The returns (T, N) of the configurations among which somebody might choose: models, horizons, targets."""
    columns = range(len(sheet.rows.horizons))
    weights = [
        _targeted(sheet, model, floor, column, target, settings.max_weight)
        for model, column, target in product(models, columns, TARGETS)
    ]
    return np.ascontiguousarray(floor.nets(floor.stacked(weights)).T)


def _pbo(grid: FloatArray) -> float | None:
    if grid.shape[1] < 2 or len(grid) < 2 * PBO_BLOCKS:
        return None
    return backtest_overfitting(grid, blocks=PBO_BLOCKS).probability


def _cpcv(floor: _Floor, grid: FloatArray, sheet: ScoreSheet) -> PathsRecord:
    """Choose the best configuration on the training groups of each split, trade it on the tested ones."""
    # A decision is held for a step, so a bar's return hangs on forecasts that long before it.
    spans = np.column_stack([floor.times, floor.times + sheet.step * sheet.rows.bar_us])
    best = [grid[:, int(np.argmax(_ratios(grid, fold.train)))] for fold in combinatorial_folds(spans, GROUPS, TESTED)]
    edges = blocks(int(floor.times[0]), int(floor.times[-1]) + 1, GROUPS)
    group = np.searchsorted(edges, floor.times, side="right") - 1
    ratios = []
    for path in combinatorial_paths(GROUPS, TESTED):
        net = np.empty(len(floor.times))
        for number, fold in enumerate(path.tolist()):
            net[group == number] = best[fold][group == number]
        ratios.append(sharpe(net, floor.periods))
    return PathsRecord(name=f"the best of {grid.shape[1]} configurations", sharpe=tuple(ratios))


def _ratios(returns: FloatArray, keep: BoolArray) -> FloatArray:
    part = returns[keep]
    deviation = part.std(axis=0, ddof=1)
    ratios: FloatArray = np.divide(
        part.mean(axis=0), deviation, out=np.full(deviation.shape, -np.inf), where=deviation > 0
    )
    return ratios


def _notes(sheet: ScoreSheet, floor: _Floor, *, signed: bool) -> tuple[str, ...]:
    """signed: whether a strategy follows a stated direction."""
    fill = "the next open" if floor.at_open else "the same close, since not all opens are known"
    notes = [f"Decisions are taken at the close of each origin, every {sheet.step} bars, and filled at {fill}."]
    if floor.execution == "same_bar":
        notes.insert(0, "Same-bar execution: each decision earns the bar it was made on, which nobody can trade.")
    if len(floor.bars) > 1:
        notes.append(
            "The coins are held in equal parts, rebalanced at each close at the usual cost; a coin joins at its first "
            "forecast."
        )
    notes.append("Borrowing is free, and cash earns nothing.")
    if not signed:
        notes.append("No model states a direction (its probability of a rise is one half), so no direction is traded.")
    return tuple(notes)
