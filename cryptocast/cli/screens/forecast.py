"""A forecast as a table, with its fan of intervals below it."""

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from msgspec.structs import replace
from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.fan import FanChart, history_bars
from cryptocast.cli.tables import CellText, Column, Sheet, note, title, verdict_cell
from cryptocast.errors import CryptocastError
from cryptocast.number_format import Prices, ahead, percent, price, when
from cryptocast.workflows.coin_pool import recent_closes
from cryptocast.workflows.context import Context
from cryptocast.workflows.fallbacks import sentence
from cryptocast.workflows.reports import CoinForecast, ForecastDocument, HorizonForecast, verdict_numbers

log = logging.getLogger(__name__)

Closes: TypeAlias = Sequence[tuple[datetime, float]]
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
    context: Context, document: ForecastDocument, levels: Sequence[int], out: Path | None
) -> Iterator[RenderableType]:
    """Every coin, those that could not be answered for, and where it was written. levels: those of the tables."""
    for forecast in document.forecasts:
        yield from coin_screen(forecast, levels, closes_before(context, forecast))
    yield from problems(document)
    if out is not None:
        yield note(f"Written to {out}.")


def closes_before(context: Context, forecast: CoinForecast) -> Closes:
    """The closes that the picture shows; none if their candles went away meanwhile."""
    bars_before = history_bars(max(horizon.horizon for horizon in forecast.horizons))
    try:
        return recent_closes(context, forecast, bars_before)
    except CryptocastError as error:
        log.info("no closes for the picture: %s", error)
        return ()


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
    is_walk = any(h.evidence == "walk-forward" for h in forecast.horizons)
    kind = "walk-forward" if is_walk else "hold-out"
    columns = [
        Column("ahead"),
        Column("target\n(UTC)"),
        Column(f"median\n{prices.named(forecast.vs)}", "right"),
        *(Column(f"{level} % interval", "right", leaves=_leaves(level, levels)) for level in levels),
        Column("up %", "right", leaves=1 if _no_view(forecast) else 0),
        Column("mean", "right", leaves=9),
        Column("vol. %", "right", leaves=8),
        Column(kind),
        Column(f"of the {kind}", leaves=10),
    ]
    rows: list[list[CellText]] = []
    for horizon in forecast.horizons:
        rows.append(
            [
                ahead(horizon.horizon, forecast.granularity),
                when(horizon.target_time, midnight=midnight),
                prices(horizon.median),
                *(_interval(horizon, level, prices) for level in levels),
                Text(percent(horizon.p_up), style="dim" if horizon.p_up == NO_VIEW else ""),
                prices(horizon.mean),
                percent(horizon.volatility),
                verdict_cell(horizon.verdict, horizon.horizon),
                verdict_numbers(horizon.verdict, horizon.horizon),
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
    if _no_view(forecast):
        yield note("No view on the direction: the forecast says how far the price may move.")
