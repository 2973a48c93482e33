"""What a training rests on, what it found, what it registered, and the forecast that came of it."""

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace
from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.screens.data_used import data_sheet, left_out_lines
from cryptocast.cli.screens.forecast import coin_screen
from cryptocast.cli.screens.scores import READING, score_sheet
from cryptocast.cli.tables import Column, Columns, Sheet, note, reasons, table, title
from cryptocast.number_format import span, when
from cryptocast.registry import Reason
from cryptocast.workflows.context import Context
from cryptocast.workflows.forecast_pictures import closes_before
from cryptocast.workflows.reports import TrainDecision, TrainedModel, TrainReport

ALIASES: Final = {"production": "green", "challenger": "cyan"}


def train_screen(context: Context, report: TrainReport) -> Iterator[RenderableType]:
    """From the bars to the next commands."""
    yield from data_sheet(report.data, report.granularity, report.vs)
    yield from left_out_lines(report.left_out)
    for text in report.notes:
        yield Text(f"Note: {text}", style="yellow")
    coins = [row.coin for row in report.data]
    for model in sorted(report.models, key=lambda model: coins.index(model.coin)):
        yield _hold_out(model, report.granularity)
    if report.models:
        yield note(READING)
        yield from _versions(report)
    above = {*report.notes, *(row.notice for row in report.data)}
    forecasts = report.forecast.forecasts
    levels = context.config.forecast.intervals
    for forecast in forecasts:
        closes = closes_before(context, forecast) if len(forecasts) == 1 else None
        rest = tuple(notice for notice in forecast.notices if notice not in above)
        yield from coin_screen(replace(forecast, notices=rest), levels, closes)
    yield from _next_steps(report)


def _hold_out(model: TrainedModel, granularity: str) -> Sheet:
    hold_out = model.hold_out
    midnight = granularity == "daily"
    between = f"{when(hold_out.start, midnight=midnight)} to {when(hold_out.end, midnight=midnight)}"
    name = f"{model.coin}, {model.kind}: hold-out {between}, out of sample"
    return score_sheet(name, model.kind, hold_out.horizons, granularity)


def _versions(report: TrainReport) -> Iterator[RenderableType]:
    registered = [model for model in report.models if model.version is not None]
    if not registered:
        yield from (
            Text(text) for text in dict.fromkeys(str(why) for model in report.models for why in _decision(model))
        )
        return
    columns: Columns[TrainedModel] = (
        (Column("registered"), lambda model: f"{model.coin}/{model.kind}:{model.version}"),
        (Column("aliases"), lambda model: _aliases(model.aliases)),
        (Column("fitted in", "right"), lambda model: span(model.seconds)),
    )
    yield table(columns, registered, "Versions")
    for model in registered:
        yield from reasons(f"{model.coin}/{model.kind}:{model.version}", _decision(model))


def _decision(model: TrainedModel) -> tuple[str | Reason, ...]:
    """Why it is, or is not, in production."""
    match model.decision:
        case TrainDecision.NO_VERSION:
            return ("the baseline needs no version: it is fitted anew for each forecast",)
        case TrainDecision.PROMOTED:
            return ("promoted to production: hold-out scores show no problem",)
        case TrainDecision.REFUSED:
            return model.reasons
        case TrainDecision.CHALLENGER:
            return (f"challenger: cryptocast registry promote {model.coin} {model.kind}",)


def _aliases(aliases: tuple[str, ...]) -> Text:
    return Text(", ").join(Text(alias, style=ALIASES.get(alias, "")) for alias in aliases)


def _next_steps(report: TrainReport) -> Iterator[RenderableType]:
    yield note(f"Done in {span(report.seconds)}.")
    if not report.forecast.forecasts:
        return
    coin = report.forecast.forecasts[0].coin
    extra = "" if report.granularity == "daily" else f" --granularity {report.granularity}"
    yield title("Next")
    yield Text(f"  cryptocast forecast {coin}{extra}\n  cryptocast backtest --walk-forward{extra}\n  cryptocast serve")
