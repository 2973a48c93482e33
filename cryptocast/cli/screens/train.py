"""What a training rests on, what it found, what it registered, and the forecast that came of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec.structs import replace
from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.screens.answers import AnswerRow, answer_sheet, answers_at
from cryptocast.cli.screens.conclusion import Conclusion, conclusion_box, mean_loss, model_name, served_now
from cryptocast.cli.screens.data_used import data_sheet, left_out_lines
from cryptocast.cli.screens.forecast import coin_screen
from cryptocast.cli.screens.scores import READING, score_sheet
from cryptocast.cli.tables import Column, Columns, Sheet, note, reasons, table
from cryptocast.number_format import span, when
from cryptocast.registry import HoldOut, Reason, Version
from cryptocast.workflows.context import Context
from cryptocast.workflows.forecast_pictures import closes_before
from cryptocast.workflows.reports import CoinForecast, TrainDecision, TrainedModel, TrainReport

MOST_FORECAST: Final = 3  # coins whose forecasts are shown
ALIASES: Final = {"production": "green", "challenger": "cyan"}


def train_screen(context: Context, report: TrainReport, *, verbose: bool = False) -> Iterator[RenderableType]:
    """From the bars to the conclusion. verbose: with the scores behind the answers, and all forecasts."""
    yield from data_sheet(report.data, report.granularity, report.vs)
    yield from left_out_lines(report.left_out)
    for text in report.notes:
        yield Text(f"Note: {text}", style="yellow")
    if not report.models:
        return
    coins = _coins(report)
    served = served_now(context, [row for row in report.data if row.coin in coins], report)
    best = _best(report, served)
    yield from _answers(report, best.kind, verbose=verbose)
    if verbose:
        yield from (_scores(model, report.granularity) for model in report.models)
        yield note(READING)
    yield from _versions(report, verbose=verbose)
    yield from _forecasts(context, report, served, verbose=verbose)
    if not verbose and len(coins) > MOST_FORECAST:
        yield note(f"Forecasts of {', '.join(coins[:MOST_FORECAST])}; of any other: cryptocast forecast COIN")
    yield conclusion_box(_conclusion(report, best, served))


def _coins(report: TrainReport) -> list[str]:
    named = {model.coin for model in report.models}
    return [row.coin for row in report.data if row.coin in named]


def _answers(report: TrainReport, kind: str, *, verbose: bool) -> Iterator[RenderableType]:
    """Those of all models over the pool, then of one kind coin by coin; of all where there is no pool, or verbose."""
    coins, first = _coins(report), report.models[0]
    together = [model for model in report.models if model.coin == coins[0] and len(model.pooled.coins) > 1]
    rows = [_row(f"all {len(model.pooled.coins)}", model, model.pooled) for model in together]
    for coin in coins:
        own = [model for model in report.models if model.coin == coin]
        rows += [_row(coin, model, model.hold_out) for model in own if verbose or not together or model.kind == kind]
    name = f"{', '.join(coins)}: {_span(first.hold_out, report.granularity)}"
    yield from answer_sheet(name, rows, report.granularity)


def _row(coin: str, model: TrainedModel, hold_out: HoldOut) -> AnswerRow:
    return AnswerRow(coin, model.kind, answers_at(hold_out.horizons))


def _span(hold_out: HoldOut, granularity: str) -> str:
    midnight = granularity == "daily"
    between = f"{when(hold_out.start, midnight=midnight)} to {when(hold_out.end, midnight=midnight)}"
    return f"hold-out {between}, out of sample"


def _forecasts(
    context: Context, report: TrainReport, served: Mapping[str, Version | None], *, verbose: bool
) -> Iterator[RenderableType]:
    """Of each coin that of the version that is served; verbose: of all."""
    above = {*report.notes, *(row.notice for row in report.data)}
    levels = context.config.forecast.intervals
    shown = report.forecast.forecasts if verbose else _first(report.forecast.forecasts)
    for forecast in shown:
        best = served.get(forecast.coin)
        is_served = best is not None and (best.key.kind, best.number) == (forecast.model_used, forecast.version)
        if is_served or verbose or len(report.forecast.forecasts) == 1:
            rest = tuple(notice for notice in forecast.notices if notice not in above)
            closes = closes_before(context, forecast) if verbose else None
            yield from coin_screen(replace(forecast, notices=rest), levels, closes)


def _first(forecasts: Sequence[CoinForecast]) -> list[CoinForecast]:
    coins = list(dict.fromkeys(forecast.coin for forecast in forecasts))[:MOST_FORECAST]
    return [forecast for forecast in forecasts if forecast.coin in coins]


def _best(report: TrainReport, served: Mapping[str, Version | None]) -> TrainedModel:
    """Of the first coin: what is served; where that is another version, the model with the lowest loss."""
    coin = _coins(report)[0]
    own, version = [model for model in report.models if model.coin == coin], served[coin]
    if version is None:
        return own[0]
    now = [model for model in own if (model.kind, model.version) == (version.key.kind, version.number)]
    return now[0] if now else min(own, key=_loss)


def _conclusion(report: TrainReport, model: TrainedModel, served: Mapping[str, Version | None]) -> Conclusion:
    coin = model.coin
    together = len(model.pooled.coins) > 1
    extra = "" if report.granularity == "daily" else f" --granularity {report.granularity}"
    waiting = [one.kind for one in report.models if (one.coin, one.decision) == (coin, TrainDecision.CHALLENGER)]
    command = _next(coin, waiting, served[coin])
    return Conclusion(
        use=model.kind if model.version is None else f"{coin}/{model.kind}:{model.version}",
        answers=answers_at((model.pooled if together else model.hold_out).horizons),
        coins=len(model.pooled.coins),
        granularity=report.granularity,
        served={coin: model_name(version) for coin, version in served.items()},
        step=f"cryptocast {command}{extra}",
        remark=f"done in {span(report.seconds)}",
    )


def _next(coin: str, waiting: Sequence[str], served: Version | None) -> str:
    """waiting: kinds of challengers. Before the shipped model makes way the gate wants both walked forward."""
    if not waiting:
        return f"backtest {coin} --walk-forward"
    if served is not None and served.manifest.is_pretrained:
        return f"backtest {coin} --walk-forward --model {waiting[0]},{served.contender}"
    return f"registry promote {coin} {waiting[0]}"


def _loss(model: TrainedModel) -> float:
    return mean_loss(model.kind, model.hold_out.horizons)


def _scores(model: TrainedModel, granularity: str) -> Sheet:
    name = f"{model.coin}, {model.kind}: {_span(model.hold_out, granularity)}"
    return score_sheet(name, model.kind, model.hold_out.horizons, granularity)


def _versions(report: TrainReport, *, verbose: bool) -> Iterator[RenderableType]:
    """Which versions they became; only why some are not in production, unless verbose."""
    registered = [model for model in report.models if model.version is not None]
    if not registered:
        yield Text("The baseline needs no version: it is fitted anew for each forecast.")
    columns: Columns[TrainedModel] = (
        (Column("registered"), lambda model: f"{model.coin}/{model.kind}:{model.version}"),
        (Column("aliases"), lambda model: _aliases(model.aliases)),
        (Column("fitted in", "right"), lambda model: span(model.seconds)),
    )
    if verbose and registered:
        yield table(columns, registered, "Versions")
    for model in registered:
        if verbose or model.decision is TrainDecision.REFUSED:
            yield from reasons(f"{model.coin}/{model.kind}:{model.version}", _decision(model))


def _decision(model: TrainedModel) -> tuple[str | Reason, ...]:
    """Why it is, or is not, in production."""
    match model.decision:
        case TrainDecision.NO_VERSION:
            return ()
        case TrainDecision.PROMOTED:
            return ("promoted to production: hold-out scores show no problem",)
        case TrainDecision.REFUSED:
            return model.reasons
        case TrainDecision.CHALLENGER:
            return (f"challenger: cryptocast registry promote {model.coin} {model.kind}",)


def _aliases(aliases: tuple[str, ...]) -> Text:
    return Text(", ").join(Text(alias, style=ALIASES.get(alias, "")) for alias in aliases)
