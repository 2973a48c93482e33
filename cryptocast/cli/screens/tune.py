"""What a tuning tried, what it came to, and whether that is used."""

from collections.abc import Iterator
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.screens.data_used import data_sheet, left_out_lines
from cryptocast.cli.tables import CellText, Column, Sheet, note, title
from cryptocast.number_format import NOTHING, ahead, count, percent, span, when
from cryptocast.workflows.tuning.tune import TunedModel, TuneReport, TuneTrial

SHOWN: Final = 5
READING: Final = (
    "CRPS: of the calibrated model relative to the baseline, mean over folds and horizons; below 100 is better. "
    "The hold-out was not used."
)


def tune_screen(report: TuneReport) -> Iterator[RenderableType]:
    """From the bars to the next commands."""
    yield from data_sheet(report.data, report.granularity, report.vs)
    yield from left_out_lines(report.left_out)
    for text in report.notes:
        yield Text(f"Note: {text}", style="yellow")
    for model in report.models:
        yield from _model(model, report)
    yield note(f"Done in {span(report.seconds)}.")
    if any(model.adopted for model in report.models):
        extra = "" if report.granularity == "daily" else f" --granularity {report.granularity}"
        yield title("Next")
        yield Text(f"  cryptocast train{extra}\n  cryptocast backtest --walk-forward{extra}")


def _model(model: TunedModel, report: TuneReport) -> Iterator[RenderableType]:
    midnight = report.granularity == "daily"
    between = f"{when(model.folds[0].start, midnight=midnight)} to {when(model.folds[-1].end, midnight=midnight)}"
    yield _best_sheet(model, f"{model.kind}: the best of {_counted(model)}, {len(model.folds)} folds, {between}")
    yield _horizon_sheet(model, report)
    yield _settings_sheet(model)
    yield note(READING)
    yield Text(f"\n{model.kind}: {model.reason}.", style="green" if model.adopted else "yellow")
    if model.adopted:
        yield note("The next train and backtest use these settings; --no-tuned ignores them.")
    yield note(f"Study {model.study} in {model.storage}; to continue, run it again with more --trials.")


def _counted(model: TunedModel) -> str:
    pruned = sum(trial.state == "pruned" for trial in model.trials)
    failed = sum(trial.state == "failed" for trial in model.trials)
    parts = [f"{pruned} pruned"] if pruned else []
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{model.earlier_trials} of earlier runs"] if model.earlier_trials else []
    trials = count(len(model.trials), "trial")
    return f"{trials} ({', '.join(parts)})" if parts else trials


def _best_sheet(model: TunedModel, name: str) -> Sheet:
    complete = sorted(
        (trial for trial in model.trials if trial.state == "complete"), key=lambda t: (t.score or 0.0, t.trial)
    )
    best = complete[:SHOWN]
    if model.default not in best:
        best.append(model.default)
    folds = [Column(f"fold {place + 1}", "right", leaves=1 + place) for place in range(len(model.folds))]
    columns = (Column("trial"), Column("CRPS\n%", "right"), *folds)
    return Sheet(columns, [_row(trial) for trial in best], name)


def _row(trial: TuneTrial) -> list[CellText]:
    name = f"{trial.trial} (the defaults)" if trial.trial == 1 else str(trial.trial)
    return [name, percent(trial.score, 2), *(percent(score, 2) for score in trial.folds)]


def _horizon_sheet(model: TunedModel, report: TuneReport) -> Sheet:
    rows = [
        [ahead(horizon, report.granularity), percent(default, 2), percent(best, 2)]
        for horizon, default, best in zip(report.horizons, model.default.by_horizon, model.best.by_horizon, strict=True)
    ]
    columns = (Column("ahead"), Column("defaults", "right"), Column(f"trial {model.best.trial}", "right"))
    return Sheet(columns, rows, "CRPS, % of the baseline's")


def _settings_sheet(model: TunedModel) -> Sheet:
    best = {} if model.best == model.default else model.best.settings
    rows = [
        [name, f"{default:.4g}", f"{best.get(name, default):.4g}" if best else NOTHING]
        for name, default in model.default.settings.items()
    ]
    columns = (Column(f"[{model.kind}]"), Column("defaults", "right"), Column(f"trial {model.best.trial}", "right"))
    return Sheet(columns, rows, "Settings")
