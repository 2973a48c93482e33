"""A forecast as a file for other programs: .json is the document, .csv and .parquet have a row for each horizon."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from cryptocast.data.parquet import write_atomically
from cryptocast.data.tables import TABLE_SUFFIXES, write_table
from cryptocast.errors import UsageError
from cryptocast.workflows.reports import CoinForecast, Fallback, ForecastDocument, HorizonForecast, Question

FORECAST_SUFFIXES: Final = (*TABLE_SUFFIXES, ".json")
# What stands in a row beside the intervals, and comes from the horizon; the rest of the row is the coin's.
OF_HORIZON: Final = ("horizon", "target_time", "median", "mean", "volatility", "p_up", "confidence", "evidence")


def check_forecast_path(path: Path) -> None:
    """UsageError unless `write_forecast` could write there: to be asked before the work, not after it."""
    if path.suffix.lower() not in FORECAST_SUFFIXES:
        raise UsageError(f"{path} does not say its format: end it in {', '.join(FORECAST_SUFFIXES)}.")


def write_forecast(document: ForecastDocument, path: Path) -> None:
    """Write it whole or not at all. Coins that could not be answered for stand in the .json only.

    Raises UsageError for an unknown suffix, DataError when the disk refuses.
    """
    check_forecast_path(path)
    if path.suffix.lower() == ".json":
        write_atomically(path, msgspec.json.encode(document) + b"\n", own=False)
        return
    write_table(pl.DataFrame(list(_rows(document)), infer_schema_length=None), path)


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
