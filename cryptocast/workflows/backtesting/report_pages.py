"""A backtest as a page to be looked at: its records, and what the page draws beside them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl

from cryptocast.choices import TableLayout
from cryptocast.data.parquet import write_atomically
from cryptocast.data.tables import check_table_path, write_table
from cryptocast.errors import DataError, UsageError
from cryptocast.evaluation.report import FeatureShares, FoldLosses, picture, render
from cryptocast.evaluation.report.report_data import ForecastFan, ReportPage
from cryptocast.evaluation.trading import Trading
from cryptocast.files import write_refusal
from cryptocast.models.base import FitRun
from cryptocast.models.fitting import find_rounds
from cryptocast.times import as_microseconds
from cryptocast.workflows.backtesting.predictions import nixtla_table, predictions_table
from cryptocast.workflows.backtesting.report import best_model
from cryptocast.workflows.backtesting.run import BacktestInput, BacktestOutcome
from cryptocast.workflows.backtesting.run_folder import RunManifest
from cryptocast.workflows.context import steps
from cryptocast.workflows.picture_files import check_drawing, check_picture_path, write_picture
from cryptocast.workflows.reports import BacktestReport

log = logging.getLogger(__name__)

TREES: Final = "lightgbm"
FAN_ORIGINS: Final = 26
CLOSES_BEFORE: Final = 60
PAGE_SUFFIXES: Final = (".html", ".htm")
NOUNS: Final = {"daily": "day", "hourly": "hour"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """The files that a backtest is asked for: all forecasts as a table, the page, its picture."""

    predictions: Path | None = None
    report: Path | None = None
    plot: Path | None = None
    layout: TableLayout = "plain"  # of the predictions

    @property
    def paths(self) -> tuple[Path, ...]:
        """Those that are asked for."""
        return tuple(path for path in (self.predictions, self.report, self.plot) if path is not None)

    def check(self) -> None:
        """UsageError for a name that does not say its format, DataError where nothing could be written,
        NotInstalledError where nothing can be drawn."""
        if self.predictions is not None:
            check_table_path(self.predictions)
        if self.report is not None and self.report.suffix.lower() not in PAGE_SUFFIXES:
            raise UsageError(f"{self.report} does not say its format: end it in {' or '.join(PAGE_SUFFIXES)}.")
        if self.report is not None:
            check_drawing()
        if self.plot is not None:
            check_picture_path(self.plot)
        for path in self.paths:
            if path.is_dir() or write_refusal(path.parent) is not None:
                raise DataError(
                    f"{path} cannot be written: it is a folder, or its folder is closed to you. Name another."
                )

    def write(self, run: "BacktestRun") -> None:
        """Write them, of the named coins. DataError when the disk refuses."""
        if not self.paths:
            return
        with steps(run.inputs.context.progress, "writing", len(self.paths)) as step:
            if self.predictions is not None:
                write_table(run.predictions(self.layout), self.predictions)
                step(self.predictions.name)
            if self.report is not None or self.plot is not None:
                _write_pages(run.page(), self.report, self.plot, step)


@dataclass(frozen=True, slots=True, eq=False)
class BacktestRun:
    """A backtest that went through: what is said about it, and all that can be written or drawn of it."""

    inputs: BacktestInput
    outcome: BacktestOutcome  # of the named coins
    report: BacktestReport
    trading: Trading | None
    manifest: RunManifest

    def predictions(self, layout: TableLayout = "plain") -> pl.DataFrame:
        """Every forecast with what came of it; docs/backtest.md and docs/library.md say what the columns mean."""
        if layout == "plain":
            return predictions_table(self.outcome.judgement, self.outcome.fold)
        return nixtla_table(self.outcome.judgement, self.inputs.context.config.forecast.intervals)

    def page(self) -> ReportPage:
        """The report's page. With trees among the models they are fitted once more, to say what they lean on."""
        return page_of(self.inputs, self.outcome, self.report, self.trading, self.manifest)


def _write_pages(page: ReportPage, report: Path | None, plot: Path | None, step: Callable[[str], None]) -> None:
    """The page and its picture, where asked for. DataError when the disk refuses."""
    try:
        if report is not None:
            write_atomically(report, render(page).encode(), own=False)
            step(report.name)
        if plot is not None:
            write_picture(picture(page), plot)
            step(plot.name)
    except OSError as error:
        raise DataError(f"The report cannot be written: {error}. Name another file.") from error


def page_of(
    inputs: BacktestInput,
    outcome: BacktestOutcome,
    report: BacktestReport,
    trading: Trading | None,
    manifest: RunManifest,
) -> ReportPage:
    """The page of the named coins."""
    model = best_model(report)
    coins = inputs.pool.named
    return ReportPage(
        title=f"{report.mode.capitalize()} of {', '.join(coins)} in {report.vs.upper()}",
        coins=coins,
        chosen=model,
        horizons=inputs.rows.horizons,
        bar=NOUNS[report.granularity],
        start=_us(report.start),
        end=_us(report.end),
        rows=report.rows,
        honesty=report.honesty,
        confidence_sets=report.confidence_sets,
        fans=tuple(fans_of(outcome, coins, model)),
        trading=trading,
        placebo=report.placebo,
        folds=tuple(_folds(inputs, outcome)),
        importance=tuple(_importance(inputs, outcome)),
        conventions=report.conventions,
        left_out=tuple((error.coin, error.error) for error in report.left_out),
        command=f"cryptocast rerun {report.run}",
        manifest=tuple(_facts(manifest)),
    )


def _us(moment: datetime) -> int:
    return as_microseconds(moment)


def fans_of(
    outcome: BacktestOutcome, coins: Sequence[str], model: str, *, most: int | None = FAN_ORIGINS
) -> Iterator[ForecastFan]:
    """The last origins of each coin whose outcomes are known; most: None for all of them."""
    rows, forecast = outcome.judgement.rows, outcome.judgement.forecasts[model]
    panel, bar = rows.panel, rows.bar_us
    for coin in coins:
        own = np.flatnonzero(rows.coin_names == coin)[-(most or 0) :]
        if len(own) == 0:
            continue
        index = panel.coins.index(coin)
        begin, end = int(panel.start[index]), int(panel.start[index + 1])
        first = max(begin, int(rows.position[own].min()) - CLOSES_BEFORE)
        closes = np.exp(panel.log_close[first:end])
        there = np.isfinite(closes)
        yield ForecastFan(
            coin=coin,
            model=model,
            closed_at=panel.close_time[first:end][there],
            close=closes[there],
            issued_at=rows.issued_at[own],
            due_at=rows.issued_at[own, None] + rows.horizons[None, :] * bar,
            levels=forecast.levels,
            prices=forecast.prices()[own],
            outcome=rows.price[own, None] * np.exp(rows.outcomes[own]),
        )


def _folds(inputs: BacktestInput, outcome: BacktestOutcome) -> Iterator[FoldLosses]:
    issued, first = outcome.judgement.rows.issued_at, int(inputs.rows.matrix.issued_at.min())
    window = inputs.plan.window * inputs.rows.matrix.bar_us if inputs.plan is not None else 0
    for fold in outcome.folds:
        inside = outcome.fold == fold.index
        losses = {
            name: float(np.nanmean(loss[inside])) if np.isfinite(loss[inside]).any() else None
            for name, loss in outcome.judgement.losses.items()
        }
        yield FoldLosses(
            number=fold.index + 1,
            train_start=max(first, fold.refit_at - window) if window else first,
            train_end=fold.refit_at,
            test_start=int(issued[inside].min()) if inside.any() else fold.refit_at,
            test_end=int(issued[inside].max()) if inside.any() else fold.refit_at,
            train_rows=fold.train_rows,
            test_rows=int(inside.sum()),
            losses=losses,
        )


def _importance(inputs: BacktestInput, outcome: BacktestOutcome) -> Iterator[FeatureShares]:
    """What the trees of the last refit lean on: made once more, since a walk keeps forecasts and no models."""
    from cryptocast.models.boosting import LightGBMForecaster  # loads LightGBM

    learner, plan, matrix = inputs.models.learners.get(TREES), inputs.plan, inputs.rows.matrix
    if learner is None:
        return
    embargo, window = (0, 0) if plan is None else (plan.embargo * matrix.bar_us, plan.window * matrix.bar_us)
    known_at = outcome.folds[-1].refit_at - embargo
    rows = matrix.known_at(known_at)
    rows = rows.rows(rows.issued_at > known_at - window) if window else rows
    seed, run = inputs.context.config.train.seed, FitRun(threads=inputs.context.config.train.threads or 1)
    try:
        rounds = find_rounds(learner, rows, seed=seed, run=run)
        model = learner.fit(rows, stop=None, rounds=rounds, seed=seed, run=run)
    except DataError as error:
        log.warning("no feature importance: %s", error)
        return
    if isinstance(model, LightGBMForecaster) and any(booster is not None for booster in model.boosters):
        yield FeatureShares(TREES, tuple(model.importance().items()), "share of the total gain, last refit")


def _facts(manifest: RunManifest) -> Iterator[tuple[str, str]]:
    for name, value in msgspec.to_builtins(manifest).items():
        if name == "coins":
            for coin in manifest.coins:
                span = f"{coin.rows} bars, {coin.first:%Y-%m-%d} to {coin.last:%Y-%m-%d}, {coin.content_hash}"
                yield f"candles of {coin.coin}", span
        elif name == "settings":
            for section, values in value.items():
                yield f"[{section}]", ", ".join(f"{key} = {_fact(one)}" for key, one in values.items())
        else:
            yield name.replace("_", " "), _fact(value)


def _fact(value: object) -> str:
    """A value of the manifest as people read it."""
    if isinstance(value, dict):
        moments = {key: f"{_date(value[key])}" for key in ("start", "end") if isinstance(value.get(key), int)}
        return ", ".join(f"{key} {one}" for key, one in {**value, **moments}.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value) or "none"
    return str(value)


def _date(microseconds: int) -> str:
    return f"{np.datetime64(microseconds, 'us').astype('datetime64[m]')} UTC"
