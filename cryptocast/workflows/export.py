"""A forecast as a file for other programs: .json is the document, .csv and .parquet have a row for each horizon."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import polars as pl

from cryptocast.choices import Granularity, TableLayout
from cryptocast.data.parquet import write_atomically
from cryptocast.data.schema import BAR_US
from cryptocast.data.tables import TABLE_SUFFIXES, write_table
from cryptocast.errors import UsageError
from cryptocast.workflows.long_form import ID, TIME, as_bars, interval_names
from cryptocast.workflows.reports import CoinForecast, Fallback, ForecastDocument, HorizonForecast, Question

FORECAST_SUFFIXES: Final = (*TABLE_SUFFIXES, ".json")
# What stands in a row beside the intervals, and comes from the horizon; the rest of the row is the coin's.
OF_HORIZON: Final = ("horizon", "target_time", "median", "mean", "volatility", "p_up", "confidence", "evidence")


def check_forecast_path(path: Path, layout: TableLayout = "plain") -> None:
    """UsageError unless `write_forecast` could write there: to be asked before the work, not after it."""
    suffixes = FORECAST_SUFFIXES if layout == "plain" else TABLE_SUFFIXES
    if path.suffix.lower() not in suffixes:
        which = "its format" if layout == "plain" else f"which table of layout {layout} it is"
        raise UsageError(f"{path} does not say {which}: end it in {', '.join(suffixes)}.")


def write_forecast(document: ForecastDocument, path: Path, layout: TableLayout = "plain") -> None:
    """Write it whole or not at all. Coins that could not be answered for stand in the .json only.

    Raises UsageError for an unknown suffix, DataError when the disk refuses.
    """
    check_forecast_path(path, layout)
    if path.suffix.lower() == ".json":
        write_atomically(path, msgspec.json.encode(document) + b"\n", own=False)
        return
    write_table(forecast_table(document, layout), path)


def forecast_table(document: ForecastDocument, layout: TableLayout = "plain") -> pl.DataFrame:
    """A row for each coin and horizon; docs/library.md says what the columns mean.

    nixtla: the columns of the forecast have the name of the model that was asked for, whichever answers.
    """
    if layout == "plain":
        return pl.DataFrame(list(_rows(document)), infer_schema_length=None)
    table = pl.DataFrame(list(_long_rows(document)), infer_schema_length=None)
    bars = {forecast.granularity for forecast in document.forecasts}
    return as_bars(table, [TIME], BAR_US[cast("Granularity", bars.pop())]) if bars else table


def _long_rows(document: ForecastDocument) -> Iterator[dict[str, Any]]:
    for forecast in document.forecasts:
        model = forecast.model_requested
        for horizon in forecast.horizons:
            row = {ID: forecast.coin, TIME: horizon.target_time, model: horizon.median}
            for one in horizon.intervals:
                row |= dict(zip(interval_names(model, one.level), (one.lower, one.upper), strict=True))
            yield row


def _rows(document: ForecastDocument) -> Iterator[dict[str, Any]]:
    for forecast in document.forecasts:
        for horizon in forecast.horizons:
            yield {**_of_coin(forecast), **_of_horizon(horizon)}


def _of_coin(forecast: CoinForecast) -> dict[str, Any]:
    left_out = ("horizons", "notices", "stale_after", "fallback_reason", "ab", "touch")
    facts = {name: getattr(forecast, name) for name in forecast.__struct_fields__ if name not in left_out}
    side = None if forecast.ab is None else forecast.ab.side
    return {
        **facts,
        "fallback_reason": _code(forecast.fallback_reason),
        "ab_side": side,
        "notices": " ".join(forecast.notices),
    }


def _of_horizon(horizon: HorizonForecast) -> dict[str, Any]:
    row = {name: getattr(horizon, name) for name in OF_HORIZON}
    for interval in horizon.intervals:
        row[f"lower_{interval.level}"], row[f"upper_{interval.level}"] = interval.lower, interval.upper
    between = None if horizon.interpolated is None else "-".join(map(str, horizon.interpolated))
    answers = {one.question: one.answer for one in horizon.answers}
    return {
        **row,
        **{f"answer_{one}": answers.get(one) for one in Question},
        "unanswered": None if horizon.unanswered is None else str(horizon.unanswered),
        "horizon_fallback": _code(horizon.fallback_reason),
        "interpolated": between,
        "live_outcomes": horizon.live_outcomes,
        **({} if horizon.touch is msgspec.UNSET else {"touch": horizon.touch}),
    }


def _code(fallback: Fallback | None) -> str | None:
    return None if fallback is None else str(fallback.code)
