"""Forecasts of a backtest and what came of them, as a picture."""

from collections.abc import Collection
from typing import Final, TypeVar

from cryptocast.errors import UsageError
from cryptocast.evaluation.report import Chart, Picture
from cryptocast.number_format import ahead
from cryptocast.workflows.backtesting.report import best_model
from cryptocast.workflows.backtesting.report_pages import BacktestRun, fans_of
from cryptocast.workflows.picture_files import check_drawing

MOST_ORIGINS: Final = 360
T = TypeVar("T", str, int)


def outcome_picture(
    run: BacktestRun, *, coin: str | None = None, horizon: int | None = None, model: str | None = None
) -> Picture:
    """The intervals of one horizon at the time they were for, the price that came, and where it lay outside.

    None takes the first coin, the shortest horizon, the best model. Of many origins the last 360 are drawn. Raises
    UsageError, naming the choices, for what the backtest has no forecast of, NotInstalledError where nothing can be
    drawn.
    """
    check_drawing()
    from cryptocast.evaluation.report import charts  # loads the drawing libraries

    judgement, horizons = run.outcome.judgement, run.inputs.rows.horizons
    coin = _one_of("coin", coin or run.inputs.pool.named[0], run.inputs.pool.named)
    horizon = _one_of("horizon", horizon or horizons[0], horizons)
    model = _one_of("model", model or best_model(run.report), judgement.forecasts)
    fan = next(fans_of(run.outcome, [coin], model, most=MOST_ORIGINS), None)
    if fan is None:
        raise UsageError(f"The backtest has no forecast of {coin}.")
    reach = ahead(horizon, run.report.granularity)
    levels = ", ".join(f"{level} %" for level in charts.central_bands(fan.levels))
    title = f"{coin}: forecasts of {model}, {reach} ahead, and what came"
    about = f"Bands: {levels} intervals. Line: the price that came; orange diamonds lie outside the widest band."
    chart = Chart(charts.bands(fan, horizons.index(horizon)), "", f"{title}. {about}", 360)
    return Picture(title, [about], [chart])


def _one_of(what: str, value: T, choices: Collection[T]) -> T:
    if value not in choices:
        raise UsageError(f"The backtest has no {what} {value!r}. Choose among {', '.join(map(str, choices))}.")
    return value
