"""The recorded backtests, and those that go."""

from collections.abc import Iterator
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.tables import Column, Columns, note, table
from cryptocast.number_format import NOTHING, count, horizons_ahead, percent, size, when
from cryptocast.workflows.backtesting.runs import RecordedRun, RecordedTuning, RunHeadline, RunRemoval, RunsDocument
from cryptocast.workflows.reports import SHORT_QUESTIONS

LISTED: Final[Columns[RecordedRun]] = (
    (Column("run"), lambda run: run.run),
    (Column("begun (UTC)", leaves=1), lambda run: when(run.created_at, midnight=False)),
    (Column("coins", wraps=True), lambda run: ", ".join(run.coins) or NOTHING),
    (Column("models", leaves=3, wraps=True), lambda run: ", ".join(run.models) or NOTHING),
    (Column("forecasts", leaves=2), lambda run: _window(run)),
    (Column("best model", wraps=True), lambda run: _finding(run)),
    (Column("size", "right", leaves=4), lambda run: size(run.bytes)),
)
TUNINGS: Final[Columns[RecordedTuning]] = (
    (Column("tuning"), lambda one: one.run),
    (Column("begun (UTC)", leaves=1), lambda one: when(one.created_at, midnight=False)),
    (Column("coins", wraps=True), lambda one: ", ".join(one.coins)),
    (Column("bars", leaves=2), lambda one: f"{when(one.start)} to {when(one.end)}"),
    (Column("trials", "right"), lambda one: f"{one.trials:,}"),
    (Column("score", "right", leaves=3), lambda one: NOTHING if one.score is None else f"{one.score:.4f}"),
    (Column("best", wraps=True), lambda one: one.best or NOTHING),
)


def runs_screen(document: RunsDocument) -> Iterator[RenderableType]:
    """A line each, newest first: the backtests, then the tunings."""
    if document.runs:
        yield table(LISTED, document.runs)
        yield note("Skill is against the strongest reference, the mean over the horizons.")
        yield note(f"See one again: cryptocast runs show {document.runs[0].run}")
    else:
        yield Text("No backtest has been recorded yet. Record one: cryptocast backtest")
    if document.tunings:
        yield table(TUNINGS, document.tunings)
        yield note("The score is the CRPS over the baseline's, the mean over the folds: lower is better.")


def run_removal_screen(removal: RunRemoval) -> Iterator[RenderableType]:
    """What goes, or went, and what rests on it."""
    verb = "Removed" if removal.removed else "To be removed"
    for run in removal.runs:
        coins = f" of {', '.join(run.coins)}" if run.coins else ""
        yield Text(f"{verb}: run {run.run}{coins}, {run.state}, {size(run.bytes)}.")
    if removal.evidence:
        yield Text(
            f"The scores of {', '.join(removal.evidence)} stay in the registry as evidence; versions can no longer be"
            " compared on the forecasts.",
            style="yellow",
        )
    if not removal.removed:
        yield note(f"Nothing has been removed yet: {count(len(removal.runs), 'run')}.")


def _window(run: RecordedRun) -> str:
    if run.start is None or run.end is None:
        return NOTHING
    return f"{when(run.start)} to {when(run.end)}"


def _finding(run: RecordedRun) -> Text:
    if run.headline is None:
        return Text(run.state, style="yellow" if run.state == "unfinished" else "red")
    return Text(_headline(run.headline, run.granularity or "daily"))


def _headline(headline: RunHeadline, granularity: str) -> str:
    yes = [
        f"{SHORT_QUESTIONS[question]} yes at {horizons_ahead(horizons, granularity)}"
        for question, horizons in headline.yes.items()
        if horizons
    ]
    return f"{headline.model} {percent(headline.skill, signed=True)} %; {'; '.join(yes) or 'no question answered yes'}"
