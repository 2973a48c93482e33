"""A backtest as a page to be looked at: what it found, brought into the shape that the report draws."""

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from cryptocast.data.parquet import write_atomically
from cryptocast.errors import DataError
from cryptocast.evaluation import report as page
from cryptocast.evaluation.records import HonestyRecord, StrategyRecord, TradingRecord
from cryptocast.evaluation.trading import Trading
from cryptocast.evaluation.verdicts import verdict_sentence
from cryptocast.models.base import FitRun
from cryptocast.models.fitting import find_rounds
from cryptocast.models.references import REFERENCES
from cryptocast.workflows.documents import BacktestReport, BacktestRow
from cryptocast.workflows.outcome import Outcome, Prepared
from cryptocast.workflows.runs import RunManifest

__all__ = ["page_of", "write_pages"]

log = logging.getLogger(__name__)

TREES: Final = "lightgbm"
FAN_ORIGINS: Final = 26
CLOSES_BEFORE: Final = 60
THIRDS: Final = ("lowest third", "middle third", "highest third")
NOUNS: Final = {"daily": "day", "hourly": "hour"}


def write_pages(shown: page.Page, report: Path | None, plot: Path | None) -> None:
    """The page as HTML and its picture as PNG, where asked for. DataError when the disk refuses."""
    try:
        if report is not None:
            write_atomically(report, page.render(shown).encode(), own=False)
        if plot is not None:
            write_atomically(plot, page.picture(shown), own=False)
    except OSError as error:
        raise DataError(f"The report cannot be written: {error}. Name another file.") from error


def page_of(
    prepared: Prepared, outcome: Outcome, report: BacktestReport, traded: Trading | None, manifest: RunManifest
) -> page.Page:
    """The page of the named coins."""
    models = prepared.models.names
    chosen = _chosen(report)
    pooled = [row for row in report.rows if row.coin is None]
    by_model = {(record.model, record.horizon): record for record in report.honesty}
    coins = prepared.pool.named
    return page.Page(
        title=f"{report.mode.capitalize()} of {', '.join(coins)} in {report.vs.upper()}",
        coins=coins,
        models=models,
        chosen=chosen,
        horizons=prepared.horizons,
        bar=NOUNS[report.granularity],
        start=_us(report.start),
        end=_us(report.end),
        verdicts=tuple(_verdicts(pooled, by_model)),
        skills=tuple(_skills(report.honesty)),
        coin_scores=tuple(_coin_scores(report.rows)),
        scores=tuple(_scores(report)),
        confidence_sets=tuple(
            page.ConfidenceSet(found.horizon, found.members, found.left_out, found.alpha)
            for found in report.confidence_sets
        ),
        fans=tuple(_fans(prepared, outcome, chosen)),
        reliability=tuple(_reliability(record) for record in report.honesty),
        pits=tuple(
            page.Pit(r.model, r.horizon, np.array(r.pit.shares), None, r.n, r.pit.p_uniform) for r in report.honesty
        ),
        probabilities=tuple(_stated(record) for record in report.honesty if len(record.stated) > 1),
        coverage=tuple(_coverage(pooled, report.honesty, NOUNS[report.granularity])),
        trading=None if traded is None else _trading(traded),
        placebo=None if report.placebo is None else page.Placebo(report.placebo.runs, report.placebo.better),
        folds=tuple(_folds(prepared, outcome)),
        importance=tuple(_importance(prepared, outcome)),
        conventions=report.conventions,
        problems=tuple(page.Problem(error.coin, error.error) for error in report.left_out),
        command=f"cryptocast rerun {report.run}",
        manifest=tuple(_facts(manifest)),
    )


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _chosen(report: BacktestReport) -> str:
    """The model with the lowest loss over all horizons, for the charts that show one."""
    pooled = {row.model: row for row in report.rows if row.coin is None}
    losses = {
        name: sum(score.crps[name] / score.crps["baseline"] for score in row.scores if score.n)
        for name, row in pooled.items()
    }
    return min(losses, key=lambda name: losses[name])


def _verdicts(pooled: Sequence[BacktestRow], found: dict[tuple[str, int], HonestyRecord]) -> Iterator[page.Verdict]:
    for row in pooled:
        if row.model == "baseline":
            continue  # it is what the others are held against
        for score in row.scores:
            verdict, record = score.verdict, found.get((row.model, score.horizon))
            yield page.Verdict(
                model=row.model,
                horizon=score.horizon,
                word=verdict.word or "cannot tell",
                n=verdict.dates,
                reference=verdict.against or REFERENCES[0],
                skill=page.Estimate(verdict.skill, verdict.lower, verdict.upper),
                p=verdict.p,
                lies_in=record.lies_in if record and verdict.word == "better" else None,
                smallest=verdict.smallest_skill,
                note=verdict_sentence(verdict, score.horizon) if verdict.reason else None,
            )


def _skills(records: Sequence[HonestyRecord]) -> Iterator[page.SkillRow]:
    for record in records:
        for one in record.skills:
            estimate = page.Estimate(one.value, one.lower, one.upper)
            yield page.SkillRow(record.model, record.horizon, one.reference, estimate, record.verdict.dates)


def _coin_scores(rows: Sequence[BacktestRow]) -> Iterator[page.CoinScore]:
    for row in rows:
        if row.coin is None or row.model == "baseline":
            continue
        for score in row.scores:
            verdict = score.verdict
            estimate = page.Estimate(verdict.skill, verdict.lower, verdict.upper)
            word = verdict.word or "cannot tell"
            yield page.CoinScore(row.coin, row.model, score.horizon, word, verdict.dates, estimate)


def _scores(report: BacktestReport) -> Iterator[page.Scores]:
    for record in report.honesty:
        loss = next(
            score.crps[record.model]
            for row in report.rows
            if row.model == record.model and row.coin is None
            for score in row.scores
            if score.horizon == record.horizon
        )
        points = record.points
        widths = {f"width of {one.percent} %": one.width for one in record.intervals}
        winkler = {f"interval score {one.percent} %": one.score for one in record.intervals}
        values: dict[str, float | None] = {
            "CRPS": loss,
            "MAPE": points.mape,
            "sMAPE": points.smape,
            "MAE": points.mae,
            "RMSE": points.rmse,
            "MASE": points.mase,
            "R2 of returns": points.r2,
            "right direction": points.direction,
            **winkler,
            **widths,
        }
        yield page.Scores(record.model, record.horizon, record.n, tuple(values.items()))
    (pooled, *_) = [row for row in report.rows if row.coin is None]
    for score in pooled.scores:
        for name in ("rw_empirical", "rw_gaussian"):
            if name in score.crps:
                yield page.Scores(name, score.horizon, score.n, (("CRPS", score.crps[name]),))


def _fans(prepared: Prepared, outcome: Outcome, chosen: str) -> Iterator[page.Fan]:
    """The last origins of each coin whose outcomes are known."""
    rows, made = outcome.judged.rows, outcome.judged.forecasts[chosen]
    panel, bar = rows.panel, rows.bar_us
    for coin in prepared.pool.named:
        own = np.flatnonzero(rows.coin_names == coin)[-FAN_ORIGINS:]
        if len(own) == 0:
            continue
        index = panel.coins.index(coin)
        begin, end = int(panel.start[index]), int(panel.start[index + 1])
        first = max(begin, int(rows.position[own[0]]) - CLOSES_BEFORE)
        closes = np.exp(panel.log_close[first:end])
        known = np.isfinite(closes)
        yield page.Fan(
            coin=coin,
            model=chosen,
            closed_at=panel.close_time[first:end][known],
            close=closes[known],
            issued_at=rows.issued_at[own],
            due_at=rows.issued_at[own, None] + rows.horizons[None, :] * bar,
            levels=made.levels,
            prices=made.prices()[own],
            outcome=rows.price[own, None] * np.exp(rows.returns[own]),
        )


def _reliability(record: HonestyRecord) -> page.Reliability:
    levels = {round(one.level, 6): one for one in record.levels}
    pairs = [(low, round(1.0 - low, 6)) for low in sorted(levels, reverse=True) if low < 0.5]
    nominal = np.array([high - low for low, high in pairs])
    observed = np.array([levels[high].share - levels[low].share for low, high in pairs])
    # The tails' errors are taken as independent: they rarely miss on both sides at once.
    se = np.array([float(np.hypot(levels[high].se, levels[low].se)) for low, high in pairs])
    return page.Reliability(record.model, record.horizon, nominal, observed, se, record.n)


def _stated(record: HonestyRecord) -> page.StatedProbability:
    bins = record.stated
    return page.StatedProbability(
        record.model,
        record.horizon,
        np.array([one.stated for one in bins]),
        np.array([one.observed for one in bins]),
        np.array([(one.upper - one.lower) / (2 * 1.96) for one in bins]),
        np.array([one.n for one in bins], dtype=np.int64),
    )


def _coverage(pooled: Sequence[BacktestRow], records: Sequence[HonestyRecord], noun: str) -> Iterator[page.CoverageRow]:
    for row in pooled:
        for score in row.scores:
            for held in score.coverage:
                yield page.CoverageRow(
                    "horizon", _ahead(score.horizon, noun), row.model, held.percent, held.share, held.se, held.n
                )
    for record in records:
        order = sorted(record.coverage, key=lambda one: THIRDS.index(one.label) if one.label in THIRDS else -1)
        for one in order:
            label = f"{one.label}, {_ahead(record.horizon, noun)}"
            yield page.CoverageRow(one.by, label, record.model, one.percent, one.share, one.se, one.n)


def _ahead(horizon: int, noun: str) -> str:
    return f"{horizon} {noun}{'' if horizon == 1 else 's'} ahead"


def _trading(traded: Trading) -> page.Trading:
    record = traded.record
    return page.Trading(
        curves=tuple(page.Curve(c.name, c.kind, c.close_time, c.equity) for c in traded.curves),
        rows=tuple(_strategy(row) for row in record.rows),
        costs=tuple(page.CostRow(c.name, c.sharpe_by_bps, c.break_even_bps) for c in record.costs),
        delays=tuple(page.DelayRow(d.name, d.sharpe_by_delay[0], d.sharpe_by_delay[1]) for d in record.delays),
        paths=tuple(
            page.CrossValidatedPaths(p.name, np.array([np.nan if s is None else s for s in p.sharpe]))
            for p in record.paths
        ),
        trials=record.trials,
        pbo=record.pbo,
        pbo_configurations=record.pbo_configurations,
        notes=(*record.notes, _costs_in_words(record)),
    )


def _costs_in_words(record: TradingRecord) -> str:
    return (
        f"Each trade costs {record.fee_bps + record.slippage_bps:g} bps of its value ({record.fee_bps:g} fee,"
        f" {record.slippage_bps:g} slippage). A year has {record.periods:,.0f} bars."
    )


def _strategy(row: StrategyRecord) -> page.StrategyRow:
    return page.StrategyRow(
        name=row.name,
        kind=row.kind,
        annual_return=row.annual_return,
        sharpe=page.Estimate(row.sharpe, row.sharpe_lower, row.sharpe_upper),
        difference=page.Estimate(row.difference, row.difference_lower, row.difference_upper),
        sortino=row.sortino,
        calmar=row.calmar,
        max_drawdown=None if row.max_drawdown is None else -row.max_drawdown,
        turnover=row.turnover,
        psr=row.psr,
        dsr=row.dsr,
    )


def _folds(prepared: Prepared, outcome: Outcome) -> Iterator[page.FoldRow]:
    issued, first = outcome.judged.rows.issued_at, int(prepared.matrix.issued_at.min())
    window = prepared.plan.window * prepared.matrix.bar_us if prepared.plan is not None else 0
    for fold in outcome.folds:
        inside = outcome.fold == fold.index
        losses = tuple(
            (name, float(np.nanmean(loss[inside]))) if np.isfinite(loss[inside]).any() else (name, None)
            for name, loss in outcome.judged.losses.items()
        )
        yield page.FoldRow(
            number=fold.index + 1,
            train_start=max(first, fold.refit_at - window) if window else first,
            train_end=fold.refit_at,
            test_start=int(issued[inside].min()) if inside.any() else fold.refit_at,
            test_end=int(issued[inside].max()) if inside.any() else fold.refit_at,
            train_rows=fold.train_rows,
            test_rows=int(inside.sum()),
            losses=losses,
        )


def _importance(prepared: Prepared, outcome: Outcome) -> Iterator[page.Importance]:
    """What the trees of the last refit lean on: made once more, since a walk keeps forecasts and no models."""
    from cryptocast.models.boosting import LightGBMForecaster  # loads LightGBM

    learner, plan, matrix = prepared.models.learners.get(TREES), prepared.plan, prepared.matrix
    if learner is None:
        return
    embargo, window = (0, 0) if plan is None else (plan.embargo * matrix.bar_us, plan.window * matrix.bar_us)
    known_at = outcome.folds[-1].refit_at - embargo
    known = matrix.known_at(known_at)
    known = known.rows(known.issued_at > known_at - window) if window else known
    seed, run = prepared.context.config.train.seed, FitRun(threads=prepared.context.config.train.threads or 1)
    try:
        rounds = find_rounds(learner, known, seed=seed, run=run)
        model = learner.fit(known, stop=None, rounds=rounds, seed=seed, run=run)
    except DataError as error:
        log.warning("no feature importance: %s", error)
        return
    if isinstance(model, LightGBMForecaster) and any(booster is not None for booster in model.boosters):
        yield page.Importance(TREES, tuple(model.importance().items()), "share of the total gain, last refit")


def _facts(manifest: RunManifest) -> Iterator[tuple[str, str]]:
    for name, value in msgspec.to_builtins(manifest).items():
        if name == "coins":
            for coin in manifest.coins:
                span = f"{coin.rows} bars, {coin.first:%Y-%m-%d} to {coin.last:%Y-%m-%d}, {coin.content_hash}"
                yield f"candles of {coin.coin}", span
        elif name == "settings":
            for section, values in value.items():
                yield f"[{section}]", ", ".join(f"{key} = {one}" for key, one in values.items())
        else:
            yield name.replace("_", " "), _fact(value)


def _fact(value: object) -> str:
    """A value of the manifest as people read it."""
    if isinstance(value, dict):
        moments = {key: f"{_date(value[key])}" for key in ("start", "end") if isinstance(value.get(key), int)}
        return ", ".join(f"{key} {one}" for key, one in {**value, **moments}.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    return str(value)


def _date(microseconds: int) -> str:
    return f"{np.datetime64(microseconds, 'us').astype('datetime64[m]')} UTC"
