"""The backtests that a store has recorded: which there are, what one of them found, and how they go."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from cryptocast.errors import DataError, ModelError
from cryptocast.evaluation.answers import Question
from cryptocast.evaluation.records import TradingRecord, Trial
from cryptocast.evaluation.trading import Trading
from cryptocast.registry import Registry
from cryptocast.workflows.backtesting.backtest import BacktestOrder, trade_on
from cryptocast.workflows.backtesting.report import best_model
from cryptocast.workflows.backtesting.report_pages import BacktestRun, RunFiles
from cryptocast.workflows.backtesting.rerun import as_recorded
from cryptocast.workflows.backtesting.run import BacktestInput, BacktestOutcome, carry_out, scored_part
from cryptocast.workflows.backtesting.run_folder import (
    RUNS,
    RunFolder,
    RunManifest,
    RunResult,
    digest_of,
    newest_runs,
    read_manifest,
)
from cryptocast.workflows.context import Context
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.reports import BacktestReport, Document

NO_FILES: Final = RunFiles()
LEAVING: Final = ".leaving-"  # before the name of a folder that is being deleted
NO_TIME: Final = datetime.min.replace(tzinfo=UTC)


class RunHeadline(Document, frozen=True, kw_only=True):
    """The model with the lowest CRPS over all horizons and named coins: its skill over the better naive random walk,
    mean over the horizons, and by question the horizons at which the answer is yes."""

    model: str
    skill: float | None
    yes: dict[Question, tuple[int, ...]]


class RecordedRun(Document, frozen=True, kw_only=True):
    """One run. Of one that cannot be read, `error` says why, and the rest is null or empty; start, end (of the
    forecasts) and headline are null until a run is finished."""

    run: str
    state: Literal["finished", "unfinished", "damaged"]
    created_at: datetime | None = None
    mode: str | None = None
    source: str | None = None
    vs: str | None = None
    granularity: str | None = None
    coins: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    horizons: tuple[int, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    headline: RunHeadline | None = None
    bytes: int
    error: str | None = None


class RecordedTuning(Document, frozen=True, kw_only=True):
    """One study of `tune`, as the registry counts it. best: the name of the trial with the lowest score, which is the
    CRPS over the baseline's, on bars from start to end; None: none was scored. trials: tried for all of the coins."""

    run: str
    created_at: datetime
    source: str
    vs: str
    granularity: str
    coins: tuple[str, ...]
    start: datetime
    end: datetime
    trials: int
    best: str | None
    score: float | None


class RunsDocument(Document, frozen=True, kw_only=True):
    """All runs and tunings of a store, newest first."""

    schema: Literal["cryptocast.runs/1"] = "cryptocast.runs/1"
    path: str
    runs: tuple[RecordedRun, ...]
    tunings: tuple[RecordedTuning, ...] = ()


class RunRemoval(Document, frozen=True, kw_only=True):
    """Runs that are gone if `removed`, else would go. evidence: those of them that recipes in the registry rest on."""

    schema: Literal["cryptocast.run-removal/1"] = "cryptocast.run-removal/1"
    runs: tuple[RecordedRun, ...]
    evidence: tuple[str, ...]
    removed: bool = False


def list_runs(store: Path, registry: Registry) -> RunsDocument:
    """Every folder below runs/, and every study whose trials the registry has."""
    folders = [path for path in (store / RUNS).glob("*") if path.is_dir() and not path.name.startswith(LEAVING)]
    runs = sorted(map(_recorded, folders), key=lambda run: (run.created_at or NO_TIME, run.run), reverse=True)
    return RunsDocument(path=str(store / RUNS), runs=tuple(runs), tunings=_tunings(registry.tuning_trials()))


def _tunings(trials: Sequence[Trial]) -> tuple[RecordedTuning, ...]:
    studies: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        studies.setdefault((trial.run, trial.series.rpartition("/")[0]), []).append(trial)
    rows = [_tuning(run, market, own) for (run, market), own in studies.items()]
    return tuple(sorted(rows, key=lambda row: (row.created_at, row.run), reverse=True))


def _tuning(run: str, market: str, trials: Sequence[Trial]) -> RecordedTuning:
    source, vs, granularity = market.split("/")
    scored = [(trial.score, trial.name) for trial in trials if trial.score is not None]
    score, best = min(scored, default=(None, None))
    return RecordedTuning(
        run=run,
        created_at=min(trial.at for trial in trials),
        source=source,
        vs=vs,
        granularity=granularity,
        coins=tuple(dict.fromkeys(trial.series.rpartition("/")[2] for trial in trials)),
        start=min(trial.start for trial in trials),
        end=max(trial.end for trial in trials),
        trials=len({trial.name for trial in trials}),
        best=best,
        score=score,
    )


def _recorded(path: Path) -> RecordedRun:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    try:
        manifest, folder = read_manifest(path, path.parent.parent)
        result = folder.result()
    except DataError as error:
        return RecordedRun(run=path.name, state="damaged", bytes=size, error=str(error))
    report = None if result is None else result.report
    return RecordedRun(
        run=path.name,
        state="unfinished" if report is None else "finished",
        created_at=manifest.created_at,
        mode=manifest.mode,
        source=manifest.source,
        vs=manifest.vs,
        granularity=manifest.granularity,
        coins=manifest.named,
        models=manifest.models,
        horizons=manifest.horizons,
        start=None if report is None else report.start,
        end=None if report is None else report.end,
        headline=None if report is None else _headline(report),
        bytes=size,
    )


def _headline(report: BacktestReport) -> RunHeadline:
    model = best_model(report)
    scores = next(row.scores for row in report.rows if row.coin is None and row.model == model)
    widths = [one.estimate for score in scores if (one := score.answer(Question.WIDTH)) is not None]
    skills = [skill for skill in widths if skill is not None]
    answers = [(score.horizon, one) for score in scores for one in score.answers if one.answer == "yes"]
    return RunHeadline(
        model=model,
        skill=float(np.mean(skills)) if skills else None,
        yes={question: tuple(h for h, one in answers if one.question is question) for question in Question},
    )


def show_run(context: Context, name: Path | None = None, files: RunFiles = NO_FILES) -> BacktestReport:
    """What a finished run found, as it was printed then. name: as `read_manifest` takes it; None: the newest.

    files: written as the backtest would have, from the raw forecasts that were kept (a hold-out is fitted again).
    Raises DataError if there is no such run, it has not ended, or what the files show cannot be had as it was;
    ModelError if this release makes other forecasts.
    """
    files.check()
    store = context.config.store.path
    manifest, folder = read_manifest(_newest(store) if name is None else name, store)
    result = folder.finished()
    if files.paths:
        _write(context, manifest, folder, result, files)
    return result.report


def _newest(store: Path) -> Path:
    finished = (path for path in newest_runs(store) if RunFolder(path).is_finished)
    path = next(finished, None)
    if path is None:
        raise DataError(f"There is no finished run below {store / RUNS}. Record one: cryptocast backtest.")
    return path


def _write(context: Context, manifest: RunManifest, folder: RunFolder, result: RunResult, files: RunFiles) -> None:
    inputs = as_recorded(context, manifest)
    outcome = carry_out(inputs, folder, Engine())
    if digest_of(outcome.judgement.forecasts) != dict(result.digests):
        raise ModelError(
            f"This cryptocast makes other forecasts than run {folder.run_id} recorded, so its files cannot be written"
            f" again. See what differs: cryptocast rerun {folder.run_id}"
        )
    scored = scored_part(inputs, outcome)
    record = result.report.trading
    trading = None if record is None else _trading(inputs, scored, record, manifest)
    files.write(BacktestRun(inputs, scored, result.report, trading, manifest))


def _trading(inputs: BacktestInput, scored: BacktestOutcome, record: TradingRecord, manifest: RunManifest) -> Trading:
    """The curves anew beside the figures of then. DataError if the settings of the strategy are others by now."""
    order = BacktestOrder(execution=record.execution, cpcv=bool(record.paths))
    again = trade_on(inputs, scored, order, manifest)
    if again is None or not _is_same(again.record, record):
        raise DataError(
            f"The strategies of run {manifest.run_id} earn something else by the settings of now. Put [strategy] back"
            f" as it was: fee {record.fee_bps:g} bps, slippage {record.slippage_bps:g} bps, target volatility"
            f" {record.target_volatility:g}."
        )
    return replace(again, record=record)


def _is_same(one: TradingRecord, other: TradingRecord) -> bool:
    names, others = ([row.name for row in record.rows] for record in (one, other))
    now, then = (np.array([row.total_return for row in record.rows], dtype=np.float64) for record in (one, other))
    return names == others and np.allclose(now, then, equal_nan=True)


def plan_run_removal(store: Path, registry: Registry, names: Sequence[Path]) -> RunRemoval:
    """What would go. DataError for what is no folder of a run below the store."""
    folders = dict.fromkeys(_folder(store, name) for name in names)
    runs = tuple(_recorded(path) for path in folders)
    return RunRemoval(runs=runs, evidence=tuple(run.run for run in runs if registry.evidence(run=run.run)))


def _folder(store: Path, name: Path) -> Path:
    """That of a run, damaged or not. Only folders directly below runs/ can go, whatever was typed."""
    path = store / RUNS / name.name
    is_named = name in (path, Path(name.name)) and name.name and not name.name.startswith(".")
    if not is_named or not path.is_dir():
        raise DataError(f"There is no run {str(name)!a}. See which there are: cryptocast runs list")
    return path


def remove_runs(store: Path, plan: RunRemoval) -> RunRemoval:
    """They are gone, and so is what an earlier removal left half-way. DataError if the disk refuses."""
    try:
        for run in plan.runs:
            path = store / RUNS / run.run
            path.rename(path.with_name(f"{LEAVING}{run.run}"))
        for path in (store / RUNS).glob(f"{LEAVING}*"):
            shutil.rmtree(path)
    except OSError as error:
        raise DataError(f"A run below {store / RUNS} cannot be removed: {error}. Check its rights.") from error
    return msgspec.structs.replace(plan, removed=True)
