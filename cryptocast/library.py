"""The calls of a script or a notebook. Each takes `progress`, and what it gives is also a table and a picture.

In: a `Context` and what is asked for, as the workflows take them. Out: their documents, wrapped where they are worth
more than text: `to_polars()`, `to_pandas()`, `plot()`, and a view of their own in a notebook. docs/library.md shows it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from cryptocast.choices import TableLayout
from cryptocast.data.tables import as_pandas
from cryptocast.errors import NotInstalledError
from cryptocast.evaluation.report import Picture
from cryptocast.evaluation.report.markup import Html, join, tag
from cryptocast.notebook import NotebookBar, display_of_notebook
from cryptocast.number_format import Prices, ahead, percent, when
from cryptocast.workflows.backtesting.backtest import BacktestOrder
from cryptocast.workflows.backtesting.backtest import run_backtest as _run_backtest
from cryptocast.workflows.backtesting.outcome_picture import outcome_picture
from cryptocast.workflows.backtesting.report_pages import BacktestRun
from cryptocast.workflows.context import Context, NoProgress, Progress
from cryptocast.workflows.export import forecast_table
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.forecast import forecast as _forecast
from cryptocast.workflows.forecast_all import AllForecasts, AllOrder
from cryptocast.workflows.forecast_all import forecast_all as _forecast_all
from cryptocast.workflows.forecast_pictures import Closes, closes_before, forecast_picture
from cryptocast.workflows.market_data.fetch import FetchOrder, FetchReport
from cryptocast.workflows.market_data.fetch import fetch as _fetch
from cryptocast.workflows.picture_files import check_picture_path, write_picture
from cryptocast.workflows.progress import ProgressCalls, ProgressStep
from cryptocast.workflows.reports import BacktestReport, CoinError, CoinForecast, ForecastDocument, TrainReport
from cryptocast.workflows.sample_paths import PathOrder, PathReport
from cryptocast.workflows.sample_paths import sample_paths as _sample_paths
from cryptocast.workflows.training.pretrain import PretrainOrder, PretrainReport
from cryptocast.workflows.training.pretrain import pretrain as _pretrain
from cryptocast.workflows.training.train import Order
from cryptocast.workflows.training.train import train as _train

# Called for every step of long work; or an object with begin, step and end. None: that of the context, which in a
# notebook is a bar.
Reporting: TypeAlias = Callable[[ProgressStep], object] | Progress | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ForecastResult:
    """Forecasts of several coins. closes: by coin, those before its forecast."""

    document: ForecastDocument
    closes: Mapping[str, Closes]

    @property
    def forecasts(self) -> tuple[CoinForecast, ...]:
        """One for each coin that could be answered for."""
        return self.document.forecasts

    @property
    def errors(self) -> tuple[CoinError, ...]:
        """The coins that could not."""
        return self.document.errors

    def to_polars(self, layout: TableLayout = "plain") -> pl.DataFrame:
        """A row for each coin and horizon; nixtla: with the columns of those libraries."""
        return forecast_table(self.document, layout)

    def to_pandas(self, layout: TableLayout = "plain") -> Any:
        """As `to_polars`. NotInstalledError without pandas."""
        return as_pandas(self.to_polars(layout))

    def plot(self, path: Path | str | None = None) -> Picture:
        """The closes and the fan of each coin; a notebook shows it. path: also write it: .png, .svg or .html."""
        return _written(forecast_picture([(one, self.closes[one.coin]) for one in self.forecasts]), path)

    def __repr__(self) -> str:
        return f"<forecast of {', '.join(one.coin for one in self.forecasts) or 'nothing'}>"

    def _repr_html_(self) -> str:
        tables = [_forecast_sheet(one) for one in self.forecasts]
        problems = [tag("p", f"{one.coin}: {one.error}") for one in self.errors]
        return join([*tables, *problems, *([_view(self.plot)] if self.forecasts else [])])


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BacktestResult:
    """A backtest: its report, and every forecast of it with what came."""

    run: BacktestRun

    @property
    def report(self) -> BacktestReport:
        """What `cryptocast backtest --json` prints."""
        return self.run.report

    def to_polars(self, layout: TableLayout = "plain") -> pl.DataFrame:
        """The forecasts with their outcomes, a row for each quantile; nixtla: a row for each origin and horizon, with
        columns for each model and the ends of its intervals."""
        return self.run.predictions(layout)

    def to_pandas(self, layout: TableLayout = "plain") -> Any:
        """As `to_polars`. NotInstalledError without pandas."""
        return as_pandas(self.to_polars(layout))

    def plot(
        self,
        path: Path | str | None = None,
        *,
        coin: str | None = None,
        horizon: int | None = None,
        model: str | None = None,
    ) -> Picture:
        """Intervals and what came, as `outcome_picture` draws them; path: also write it, as .png, .svg or .html."""
        return _written(outcome_picture(self.run, coin=coin, horizon=horizon, model=model), path)

    def __repr__(self) -> str:
        return f"<{self.report.mode} {self.report.run} of {', '.join(self.run.inputs.pool.named)}>"

    def _repr_html_(self) -> str:
        return join([_score_sheet(self.report), _view(self.plot)])


def _view(plot: Callable[[], Picture]) -> Html:
    """The picture, or what it lacks."""
    try:
        return Html(plot()._repr_html_())
    except NotInstalledError as error:
        return tag("p", str(error))


def forecast(context: Context, request: Request, *, progress: Reporting = None) -> ForecastResult:
    """The forecast now. Raises the error of a coin if no coin can be answered for."""
    context = _reporting(context, progress)
    document = _forecast(context, request)
    return ForecastResult(document, {one.coin: closes_before(context, one) for one in document.forecasts})


def backtest(context: Context, order: BacktestOrder, *, progress: Reporting = None) -> BacktestResult:
    """Test models out of sample on past prices. Raises as `workflows.backtesting.backtest.run_backtest`."""
    return BacktestResult(_run_backtest(_reporting(context, progress), order))


def train(context: Context, order: Order, *, progress: Reporting = None) -> TrainReport:
    """Train and register. Raises as `workflows.training.train.train`."""
    return _train(_reporting(context, progress), order)


def pretrain(context: Context, order: PretrainOrder, *, progress: Reporting = None) -> PretrainReport:
    """Fit one model for every coin, as a file. Raises as `workflows.training.pretrain.pretrain`."""
    return _pretrain(_reporting(context, progress), order)


def forecast_all(context: Context, order: AllOrder, *, progress: Reporting = None) -> AllForecasts:
    """Forecast every coin of the store into Parquet files. Raises as `workflows.forecast_all.forecast_all`."""
    return _forecast_all(_reporting(context, progress), order)


def fetch(context: Context, order: FetchOrder, *, progress: Reporting = None) -> FetchReport:
    """Bring candles into the store: from upstream, from files, or of a frame, of polars or of pandas. Raises as
    `workflows.market_data.fetch.fetch`."""
    if order.frame is not None:
        order = replace(order, frame=pl.DataFrame(order.frame))
    return _fetch(_reporting(context, progress), order)


def sample_paths(context: Context, order: PathOrder, *, progress: Reporting = None) -> PathReport:
    """Draw sample paths. Raises as `workflows.sample_paths.sample_paths`."""
    return _sample_paths(_reporting(context, progress), order)


def _reporting(context: Context, progress: Reporting) -> Context:
    """The context with the progress that was asked for, or with a bar where a notebook would otherwise show nothing."""
    if progress is None:
        display = display_of_notebook() if type(context.progress) is NoProgress else None
        return context if display is None else replace(context, progress=NotebookBar(display))
    return replace(context, progress=ProgressCalls(progress) if callable(progress) else progress)


def _written(picture: Picture, path: Path | str | None) -> Picture:
    if path is not None:
        check_picture_path(Path(path))
        write_picture(picture, Path(path))
    return picture


def _forecast_sheet(forecast: CoinForecast) -> Html:
    levels = [interval.level for interval in forecast.horizons[0].intervals]
    prices = Prices([forecast.price, *(one.lower for h in forecast.horizons for one in h.intervals)])
    rows = [
        [
            ahead(horizon.horizon, forecast.granularity),
            when(horizon.target_time, midnight=forecast.granularity == "daily"),
            prices(horizon.median),
            *(f"{prices(one.lower)} to {prices(one.upper)}" for one in horizon.intervals),
        ]
        for horizon in forecast.horizons
    ]
    head = ["ahead", "target (UTC)", f"median, {prices.named(forecast.vs)}", *(f"{level} %" for level in levels)]
    notices = [tag("p", notice) for notice in forecast.notices]
    return join(
        [tag("p", tag("b", forecast.coin), f", forecast by {forecast.model_used}"), *notices, _sheet(head, rows)]
    )


def _score_sheet(report: BacktestReport) -> Html:
    pooled = [row for row in report.rows if row.coin is None]
    head = ["model", *(ahead(score.horizon, report.granularity) for score in pooled[0].scores)]
    rows = [
        [row.model, *(percent(min(score.skill.values(), default=None), signed=True) for score in row.scores)]
        for row in pooled
    ]
    about = "Skill in % against the strongest reference, by horizon; above 0 is better."
    return join([tag("p", tag("b", f"{report.mode.capitalize()} {report.run}"), f". {about}"), _sheet(head, rows)])


def _sheet(head: list[str], rows: list[list[str]]) -> Html:
    top = tag("tr", *(tag("th", cell) for cell in head))
    return tag("table", tag("thead", top), tag("tbody", *(tag("tr", *(tag("td", c) for c in row)) for row in rows)))
