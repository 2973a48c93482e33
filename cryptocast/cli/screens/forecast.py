"""A forecast as a table, with its fan of intervals below it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace
from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.fan import FanChart
from cryptocast.cli.screens.conclusion import Conclusion, conclusion_box
from cryptocast.cli.tables import CellText, Column, Sheet, note, title
from cryptocast.number_format import Prices, ahead, count, percent, price, when
from cryptocast.registry.version import version_name
from cryptocast.workflows.context import Context
from cryptocast.workflows.fallbacks import sentence
from cryptocast.workflows.forecast_pictures import Closes, closes_before
from cryptocast.workflows.reports import (
    SHORT_QUESTIONS,
    UNANSWERED,
    CoinForecast,
    ForecastDocument,
    HorizonForecast,
    PositionRisk,
    Touch,
    answer_sentence,
)

NO_VIEW: Final = 0.5


def only_levels(document: ForecastDocument, levels: Sequence[int]) -> ForecastDocument:
    """The document with these intervals alone."""
    forecasts = tuple(
        replace(forecast, horizons=tuple(_only(h, levels) for h in forecast.horizons))
        for forecast in document.forecasts
    )
    return replace(document, forecasts=forecasts)


def _only(horizon: HorizonForecast, levels: Sequence[int]) -> HorizonForecast:
    return replace(horizon, intervals=tuple(i for i in horizon.intervals if i.level in levels))


def document_screen(
    context: Context, document: ForecastDocument, levels: Sequence[int], files: Sequence[Path], *, verbose: bool = False
) -> Iterator[RenderableType]:
    """Every coin, those that could not be answered for, where it was written, and the conclusion. levels: those of the
    tables; verbose: with the numbers behind the answers."""
    above: set[str] = set()
    for forecast in document.forecasts:
        rest = tuple(notice for notice in forecast.notices if notice not in above)
        above |= set(rest)
        yield from coin_screen(replace(forecast, notices=rest), levels, closes_before(context, forecast))
    yield from problems(document)
    if isinstance(document.risk, PositionRisk):
        yield _risk_table(document.risk, document.forecasts[0].granularity)
    if verbose:
        yield from answer_lines(document)
    if files:
        yield note(f"Written to {', '.join(map(str, files))}.")
    if document.forecasts:
        yield conclusion_box(_conclusion(document))


def answer_lines(document: ForecastDocument) -> Iterator[RenderableType]:
    """Every answer with its numbers, those of the pool first."""
    for forecast in document.forecasts:
        yield title(f"{forecast.coin}: answers")
        for horizon in forecast.horizons:
            together = () if horizon.pooled is None else horizon.pooled.answers
            for whose, answers in (("all coins, ", together), ("", horizon.answers)):
                for one in answers:
                    when_due = ahead(horizon.horizon, forecast.granularity)
                    yield Text(f"{whose}{when_due}: {SHORT_QUESTIONS[one.question]} {answer_sentence(one)}")
            if horizon.unanswered is not None:
                yield Text(f"{ahead(horizon.horizon, forecast.granularity)}: {UNANSWERED[horizon.unanswered]}")


def _conclusion(document: ForecastDocument) -> Conclusion:
    """Of the first coin: the answers of the pool, if there are any."""
    first = document.forecasts[0]
    together = {one.horizon: one.pooled for one in first.horizons if one.pooled is not None}
    own = {one.horizon: one.answers for one in first.horizons if one.answers}
    return Conclusion(
        use=_model(first),
        answers={horizon: one.answers for horizon, one in together.items()} or own,
        coins=max((one.coins for one in together.values()), default=1),
        granularity=first.granularity,
        served={forecast.coin: _model(forecast) for forecast in document.forecasts},
        step=f"cryptocast {_step(first)}",
    )


def _model(forecast: CoinForecast) -> str:
    if forecast.version is None:
        return forecast.model_used
    if isinstance(forecast.version, str):
        return f"{forecast.coin}/{forecast.model_used}@{forecast.version}"
    return version_name(forecast.coin, forecast.model_used, forecast.version, forecast.granularity)


def _step(forecast: CoinForecast) -> str:
    extra = "" if forecast.granularity == "daily" else f" --granularity {forecast.granularity}"
    if forecast.version is None:
        return f"train {forecast.coin}{extra}"
    if any(horizon.evidence == "walk-forward" for horizon in forecast.horizons):
        return "serve"
    contender = forecast.version if isinstance(forecast.version, str) else forecast.model_used
    return f"backtest {forecast.coin} --walk-forward --model {contender}{extra}"


def coin_screen(forecast: CoinForecast, levels: Sequence[int], closes: Closes | None) -> Iterator[RenderableType]:
    """One coin: what answers, what it says at these levels, and the picture, unless closes are None."""
    yield _headline(forecast)
    yield from notices(forecast)
    yield _table(forecast, levels)
    yield from _footnotes(forecast)
    if closes is not None:
        yield FanChart(forecast, closes)


def notices(forecast: CoinForecast) -> Iterator[RenderableType]:
    """What the user must know about the bars and the model that answers."""
    for text in forecast.notices:
        yield Text(f"Note: {text}", style="yellow")
    if forecast.stale and not forecast.notices:  # they stood above, and said why
        yield Text("Note: these bars are stale.", style="yellow")
    if forecast.fallback_reason:
        who = "The baseline" if forecast.model_used == "baseline" else forecast.model_used
        yield Text(f"{who} answers: {sentence(forecast.fallback_reason)}", style="yellow")


def problems(document: ForecastDocument) -> Iterator[RenderableType]:
    """The coins that could not be answered for."""
    for error in document.errors:
        yield Text(f"{error.coin}: {error.error}", style="red")


def _headline(forecast: CoinForecast) -> Text:
    version = "" if forecast.version is None else f", version {forecast.version}"
    requested = "" if forecast.model_requested == forecast.model_used else f" (asked for: {forecast.model_requested})"
    return title(
        f"{forecast.coin}: {price(forecast.price, forecast.vs)} at {when(forecast.as_of, midnight=False)} UTC"
        f" ({forecast.source} bars), forecast by {forecast.model_used}{version}{requested}"
    )


def _table(forecast: CoinForecast, levels: Sequence[int]) -> Sheet:
    edges = [edge for h in forecast.horizons for i in h.intervals if i.level in levels for edge in (i.lower, i.upper)]
    prices = Prices([forecast.price, *edges])
    midnight = forecast.granularity == "daily"
    touch = forecast.touch
    columns = [
        Column("ahead"),
        Column("target\n(UTC)"),
        Column(f"median\n{prices.named(forecast.vs)}", "right"),
        *(Column(f"{level} % interval", "right", leaves=_leaves(level, levels)) for level in levels),
        *([Column(f"touches %\n{price(touch.price, forecast.vs)}", "right")] if isinstance(touch, Touch) else []),
        Column("up %", "right", leaves=1 if _no_view(forecast) else 0),
        Column("mean", "right", leaves=9),
        Column("vol. %", "right", leaves=8),
    ]
    rows: list[list[CellText]] = []
    for horizon in forecast.horizons:
        rows.append(
            [
                ahead(horizon.horizon, forecast.granularity),
                when(horizon.target_time, midnight=midnight),
                prices(horizon.median),
                *(_interval(horizon, level, prices) for level in levels),
                *([percent(horizon.touch)] if isinstance(horizon.touch, float) else []),
                Text(percent(horizon.p_up), style="dim" if horizon.p_up == NO_VIEW else ""),
                prices(horizon.mean),
                percent(horizon.volatility),
            ]
        )
    return Sheet(columns, rows)


def _no_view(forecast: CoinForecast) -> bool:
    return all(horizon.p_up == NO_VIEW for horizon in forecast.horizons)


def _leaves(level: int, levels: Sequence[int]) -> int:
    """The widest and the 80 % interval stay; of the others the wider ones leave first."""
    return 0 if level in (80, max(levels)) else 2 + sorted(levels).index(level)


def _interval(horizon: HorizonForecast, level: int, prices: Prices) -> str:
    own = next((interval for interval in horizon.intervals if interval.level == level), None)
    return "" if own is None else f"{prices(own.lower)} to {prices(own.upper)}"


def _footnotes(forecast: CoinForecast) -> Iterator[RenderableType]:
    for reason in dict.fromkeys(h.fallback_reason for h in forecast.horizons if h.fallback_reason):
        at = [h.horizon for h in forecast.horizons if h.fallback_reason == reason]
        yield note(f"The baseline answers at {', '.join(map(str, at))}: {sentence(reason)}")
    for h in forecast.horizons:
        if h.interpolated is not None:
            between = " and ".join(ahead(one, forecast.granularity) for one in h.interpolated)
            yield note(f"{ahead(h.horizon, forecast.granularity)} is interpolated from {between}.")
    live = [h for h in forecast.horizons if h.live_outcomes]
    if live:
        numbers = ", ".join(str(h.live_outcomes) for h in live)
        ahead_of = ", ".join(ahead(h.horizon, forecast.granularity) for h in live)
        yield note(
            f"Since the fit the intervals have adapted to {numbers} live outcomes ({ahead_of}): wider after misses, "
            "narrower otherwise."
        )
    if isinstance(forecast.touch, Touch):
        how = "a high or low of a bar" if forecast.touch.on == "high-low" else "the close of a bar"
        paths = count(forecast.touch.paths, "sample path")
        yield note(f"Touches: the probability that {how} reaches the price by then, from {paths}.")


def _risk_table(risk: PositionRisk, granularity: str) -> Sheet:
    """A row for each horizon: at each level the value at risk and the expected shortfall."""
    levels = sorted({one.level for one in risk.horizons})
    losses = {(one.horizon, one.level): (one.value_at_risk, one.expected_shortfall) for one in risk.horizons}
    prices = Prices([loss for pair in losses.values() for loss in pair])
    columns = [Column("ahead")]
    for level in levels:
        columns += [
            Column(f"VaR {level} %\n{prices.named(risk.vs)}", "right"),
            Column(f"shortfall\n{level} %", "right"),
        ]
    rows = [
        [ahead(horizon, granularity), *(prices(loss) for level in levels for loss in losses[horizon, level])]
        for horizon in dict.fromkeys(one.horizon for one in risk.horizons)
    ]
    amounts = ", ".join(f"{amount:g} {coin}" for coin, amount in risk.amounts.items())
    paths = count(risk.paths, "sample path")
    name = f"Position of {amounts}, worth {price(risk.value, risk.vs)}: losses on {paths}"
    return Sheet(columns, rows, name)
