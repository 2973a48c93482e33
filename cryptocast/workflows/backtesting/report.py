"""What is said about a backtest: its scores over all named coins and coin by coin, and how they came about."""

from typing import Final

import numpy as np

from cryptocast.evaluation.honesty import honesty
from cryptocast.evaluation.records import TradingRecord
from cryptocast.evaluation.scores import TableRow, score_row
from cryptocast.kinds import MIX
from cryptocast.spread import rounding_notes
from cryptocast.workflows.backtesting.run import BacktestInput, BacktestOutcome
from cryptocast.workflows.coin_pool import data_used, moment
from cryptocast.workflows.reports import BacktestReport, BacktestRow, FoldRow, Placebo

CONVENTIONS: Final = (
    "An origin is the close of a bar; what it knows closed by then. Times are UTC.",
    "CRPS is that of 13 quantiles, on prices divided by the price at issue; skill is 1 - CRPS / CRPS of the reference.",
    "rw_empirical: quantiles of the coin's own returns of the last 365 days around the last price, with their drift; "
    "rw_gaussian: no drift, volatility of the last 365 days; baseline: no drift, volatility known at issue.",
    "Answers: a 95 % interval against a margin. Intervals right: coverage of the 80, 90 and 95 % intervals within 5 "
    "points of nominal. Width better than naive: skill over the better of rw_empirical and rw_gaussian above 0; no if "
    "below 0.5 %. Model beats our baseline: the same over baseline. View on direction: right in more than 50 %; no if "
    "in less than 51 %.",
    "Tests: Diebold-Mariano with the correction of Harvey, Leybourne and Newbold, losses averaged by date over coins; "
    "Holm over the horizons of one question, model and coin, or of all coins together. Not enough data: neither yes "
    "nor no, or fewer than 10 origins for each one whose label overlaps.",
    "Each refit knows only labels that had ended; calibration rests on forecasts of earlier blocks.",
    "Sharpe and Sortino: mean over deviation of net bar returns, annual by the bars of a year of 365 days; drawdown "
    "includes the first bar; zero variance gives no figure.",
)


def report_of(
    inputs: BacktestInput,
    scored: BacktestOutcome,
    run_id: str,
    notes: tuple[str, ...],
    *,
    trading: TradingRecord | None = None,
    placebo: Placebo | None = None,
    seconds: float,
) -> BacktestReport:
    """What is said about the outcome of the named coins."""
    pool, issued = inputs.pool, scored.judgement.rows.issued_at
    rows = scores_by_model(inputs, scored)
    rng = np.random.default_rng(inputs.context.config.train.seed)
    figures = honesty(scored.judgement, inputs.models.names, rng=rng)
    return BacktestReport(
        mode="walk-forward" if inputs.plan is not None else "hold-out",
        run=run_id,
        granularity=pool.granularity,
        vs=pool.vs,
        start=moment(int(issued.min())),
        end=moment(int(issued.max())),
        step_bars=scored.step,
        refit_every_bars=scored.refit_every,
        window_bars=inputs.plan.window if inputs.plan is not None else 0,
        history_bars=inputs.plan.history if inputs.plan is not None else 0,
        data=data_used(pool),
        left_out=pool.left_out,
        folds=tuple(
            FoldRow(fold=f.index, refit_at=moment(f.refit_at), train_rows=f.train_rows, origins=f.origins)
            for f in scored.folds
        ),
        rows=rows,
        honesty=figures.records,
        confidence_sets=figures.sets,
        trading=trading,
        placebo=placebo,
        conventions=CONVENTIONS,
        notes=(
            *pool.notices,
            *_silent(inputs, scored),
            *_cut(inputs),
            *inputs.notes,
            *notes,
            *rounding_notes(scored.others),
        ),
        seconds=round(seconds, 3),
    )


def _cut(inputs: BacktestInput) -> tuple[str, ...]:
    """What to say of forecasts that know only part of their coin's bars."""
    if inputs.plan is None or not inputs.plan.history:
        return ()
    return (
        f"each forecast knows the last {inputs.plan.history} bars of its coin; what models learned in training rests on"
        " all bars, and so do the random walks that they are scored against. The gate does not use these scores",
    )


def _silent(inputs: BacktestInput, scored: BacktestOutcome) -> tuple[str, ...]:
    """What to say of named coins on which nothing was forecast."""
    coins, least = set(scored.judgement.rows.coin_names.tolist()), inputs.context.config.train.min_train_bars
    return tuple(
        f"{coin} is not in these scores: in the tested time it has no bar with {least} before it and a price that moved"
        for coin in inputs.pool.named
        if coin not in coins
    )


def scores_by_model(inputs: BacktestInput, outcome: BacktestOutcome) -> tuple[BacktestRow, ...]:
    """Scores of each model, over all named coins and coin by coin."""
    named, models = inputs.pool.named, inputs.models.names
    coins: tuple[str | None, ...] = (None, *(named if len(named) > 1 else ()))
    names = [(model, coin) for coin in coins for model in models]
    parts = {coin: outcome.judgement if coin is None else outcome.judgement.of_coin(coin) for coin in coins}
    return tuple(
        BacktestRow(model=model, coin=coin, scores=score_row(TableRow(parts[coin], model))) for model, coin in names
    )


def best_model(report: BacktestReport) -> str:
    """The model with the lowest loss over all horizons, for what shows one; `mix`, which cannot be trained, is last."""
    pooled = {row.model: row for row in report.rows if row.coin is None}
    losses = {
        name: sum(score.crps[name] / score.crps["baseline"] for score in row.scores if score.n)
        for name, row in pooled.items()
    }
    return min(losses, key=lambda name: (name == MIX, losses[name]))
