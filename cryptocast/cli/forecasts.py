"""train, forecast, backtest: models and what they are worth."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import typer

from cryptocast.choices import TouchOn
from cryptocast.cli.options import (
    MOST_BARS,
    MOST_NUMBER,
    MOST_TRIALS,
    NAMES_COINS,
    AllCoins,
    Coins,
    Engines,
    Horizons,
    KnownBars,
    Layout,
    Verbose,
    command,
    examples,
)
from cryptocast.cli.session import Session, failed
from cryptocast.cli.values import amounts, duration, moment, names, numbers
from cryptocast.errors import UsageError
from cryptocast.kinds import ALL_KINDS, ASKABLE

if TYPE_CHECKING:
    from cryptocast.workflows.backtesting.report_pages import RunFiles
    from cryptocast.workflows.context import Context
    from cryptocast.workflows.forecast import Request
    from cryptocast.workflows.reports import ForecastDocument
    from cryptocast.workflows.sample_paths import PathOrder

PANEL: Final = "Models"
PATHS_PANEL: Final = "Sample paths"
KINDS: Final = "|".join(ALL_KINDS)
Plot: TypeAlias = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Write a chart: .png, .svg or .html.")
]
NoTuned: TypeAlias = Annotated[
    bool, typer.Option("--no-tuned", metavar="", help="Ignore settings adopted by `cryptocast tune`.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How a backtest goes through history."""

    walk_forward: Annotated[
        bool,
        typer.Option("--walk-forward", metavar="", help="Refit repeatedly through history. Default: one hold-out."),
    ] = False
    start: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="First forecast. Default: as early as the data allow.")
    ] = None
    end: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last forecast.")] = None
    step: Annotated[
        int | None, typer.Option("--step", min=1, max=MOST_BARS, help="Bars between forecasts. Default: 7.")
    ] = None
    refit_every: Annotated[
        int | None, typer.Option("--refit-every", min=1, max=MOST_BARS, help="Bars between refits. Default: 91.")
    ] = None
    embargo: Annotated[
        int | None,
        typer.Option(
            "--embargo", min=0, max=MOST_BARS, help="Bars left out before each refit in addition to the purge."
        ),
    ] = None
    window: Annotated[
        int | None,
        typer.Option(
            "--window", min=0, max=MOST_BARS, metavar="N", help="Train on the last N bars only. Default: 0, all bars."
        ),
    ] = None
    history_bars: Annotated[
        int,
        typer.Option(
            "--history-bars",
            min=0,
            max=MOST_BARS,
            metavar="N",
            help="Forecast as a user with only the last N bars of the coin would. Default: 0, all bars.",
        ),
    ] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingOptions:
    """What is traded on the forecasts, and on what prices."""

    execution: Annotated[
        Literal["next-bar", "same-bar"],
        typer.Option("--execution", metavar="WHEN", help="next-bar, or same-bar, which cannot be traded."),
    ] = "next-bar"
    untradable: Annotated[
        bool,
        typer.Option("--untradable", metavar="", help="Confirm same-bar execution, to see what this mistake is worth."),
    ] = False
    cpcv: Annotated[
        bool,
        typer.Option("--cpcv", metavar="", help="Also trade on combinatorial purged paths (CPCV)."),
    ] = False
    placebo: Annotated[
        int,
        typer.Option(
            "--placebo",
            min=0,
            max=MOST_TRIALS,
            metavar="N",
            help="Repeat on N block-shuffled price histories: the false-positive rate.",
        ),
    ] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PathOptions:
    """What sample paths are drawn for."""

    paths: Annotated[
        int | None,
        typer.Option(
            "--paths",
            metavar="N",
            help="Draw N sample paths, on which the coins move together; --out then writes them: .csv or .parquet.",
            rich_help_panel=PATHS_PANEL,
        ),
    ] = None
    touch: Annotated[
        float | None,
        typer.Option(
            "--touch",
            metavar="PRICE",
            help="The probability that this price is touched by each horizon. One coin.",
            rich_help_panel=PATHS_PANEL,
        ),
    ] = None
    touch_on: Annotated[
        TouchOn,
        typer.Option(
            "--touch-on",
            metavar="WHAT",
            help="high-low: a high or low reaches it. close: only closes count.",
            rich_help_panel=PATHS_PANEL,
        ),
    ] = "high-low"
    position: Annotated[
        str | None,
        typer.Option(
            "--position",
            metavar="N,N",
            help="Value at risk and expected shortfall of so many units of each coin, negative for short.",
            rich_help_panel=PATHS_PANEL,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=0,
            max=MOST_NUMBER,
            help="The same seed draws the same paths. Default: that of training.",
            rich_help_panel=PATHS_PANEL,
        ),
    ] = None

    def order(self, request: "Request", out: Path | None) -> "PathOrder | None":
        """What to draw paths for, if anything. UsageError where they would be drawn for nothing."""
        from cryptocast.workflows.sample_paths import USUAL_PATHS, PathOrder

        position = amounts("--position", self.position)
        if self.touch is None and not position:
            if self.paths is None:
                return None
            if out is None:
                raise UsageError("--paths requires --out, --touch or --position.")
        return PathOrder(
            request=request,
            paths=USUAL_PATHS if self.paths is None else self.paths,
            seed=self.seed,
            touch=self.touch,
            touch_on=self.touch_on,
            position=position,
            out=None if self.paths is None else out,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files that a backtest writes."""

    predictions: Annotated[
        Path | None, typer.Option("--predictions", metavar="FILE", help="Write all forecasts: .csv or .parquet.")
    ] = None
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a self-contained HTML report: .html."),
    ] = None
    plot: Plot = None
    layout: Layout = "plain"

    def files(self) -> "RunFiles":
        """Them. UsageError for a layout of no table."""
        from cryptocast.workflows.backtesting.report_pages import RunFiles

        if self.layout != "plain" and self.predictions is None:
            raise UsageError("--layout is of the table that --predictions writes.")
        return RunFiles(predictions=self.predictions, report=self.report, plot=self.plot, layout=self.layout)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastFiles:
    """The files that a forecast writes."""

    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Also write it to a file: .csv, .parquet or .json. With --all a folder, or .parquet.",
        ),
    ] = None
    layout: Layout = "plain"
    plot: Plot = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Those that are asked for."""
        return tuple(path for path in (self.out, self.plot) if path is not None)

    def check(self, *, table: bool) -> None:
        """UsageError for what could only be wrong after the work. table: --out is the forecast, not other rows."""
        if self.layout != "plain" and (self.out is None or not table):
            raise UsageError("--layout is of the table of forecasts that --out writes.")
        if self.out is not None and table:
            from cryptocast.workflows.export import check_forecast_path

            check_forecast_path(self.out, self.layout)
        if self.plot is not None:
            from cryptocast.workflows.picture_files import check_picture_path

            check_picture_path(self.plot)


def add_to(app: typer.Typer) -> None:
    """Hang these commands below the root."""
    command(
        app,
        "train",
        rich_help_panel=PANEL,
        epilog=examples(
            "cryptocast train bitcoin",
            "cryptocast train --model lightgbm --horizons 1,7 --if-older-than 7d",
            "cryptocast train bitcoin --tune 40",
        ),
    )(train)
    command(
        app,
        "pretrain",
        rich_help_panel=PANEL,
        epilog=examples(
            "cryptocast pretrain bitcoin ethereum litecoin --source sample --out model.zip",
        ),
    )(pretrain)
    command(
        app,
        "forecast",
        rich_help_panel=PANEL,
        epilog=examples(
            "cryptocast forecast bitcoin",
            "cryptocast forecast bitcoin ethereum --horizons 1,7 --levels 60,95 --out forecast.csv",
            "cryptocast forecast bitcoin --plot fan.png",
            "cryptocast forecast bitcoin --version bitcoin/lightgbm:3",
            "cryptocast forecast --all --out forecasts/ --jobs 2",
            "cryptocast forecast bitcoin --history --out history.csv",
            "cryptocast forecast bitcoin --touch 100000",
            "cryptocast forecast bitcoin ethereum --position 0.5,10 --paths 1000 --out paths.parquet",
        ),
    )(forecast)
    command(
        app,
        "backtest",
        rich_help_panel=PANEL,
        epilog=examples(
            "cryptocast backtest --walk-forward",
            "cryptocast backtest bitcoin --walk-forward --from 2019-01-01 --step 7 --refit-every 91",
        ),
    )(backtest)
    command(
        app,
        "rerun",
        rich_help_panel=PANEL,
        epilog=examples(
            "cryptocast rerun data/runs/1a2b3c4d5e6f7a8b/manifest.json", "cryptocast rerun 1a2b3c4d5e6f7a8b"
        ),
    )(rerun)


def train(
    session: Session,
    bars: KnownBars,
    coins: Coins = None,
    *,
    model: Annotated[
        str, typer.Option("--model", metavar=f"[all|{KINDS}]", help="all: every kind of model. Or one of your own.")
    ] = "all",
    horizons: Horizons = None,
    if_older_than: Annotated[
        str | None,
        typer.Option(
            "--if-older-than",
            metavar="7d",
            help="Skip coins whose production version is younger (tolerance: a tenth).",
        ),
    ] = None,
    tune: Annotated[
        int,
        typer.Option(
            "--tune",
            min=0,
            max=MOST_TRIALS,
            metavar="N",
            help="Search for better settings first, N trials in total.",
        ),
    ] = 0,
    outdated: Annotated[
        bool,
        typer.Option("--outdated", metavar="", help="Fit anew what cannot answer, as features or own models changed."),
    ] = False,
    every: AllCoins = False,
    no_tuned: NoTuned = False,
    engines: Engines,
    verbose: Verbose = False,
) -> None:
    """Fetch stale data, build features, fit, calibrate, score on held-out bars, register and forecast.

    The first version that is not shown to be worse than the baseline goes into production; later ones wait for
    `cryptocast registry promote`.
    """
    from cryptocast.cli.screens.train import train_screen
    from cryptocast.workflows.training.train import Order
    from cryptocast.workflows.training.train import train as train_models

    order = Order(
        selection=bars.chosen(session, coins, every=every),
        model=model,
        horizons=numbers("--horizons", horizons),
        older_than=duration("--if-older-than", if_older_than),
        tune=tune,
        outdated=outdated,
        engine=engines.chosen(),
    )
    context = session.context(use_tuned=not no_tuned)
    report = train_models(context, order)
    session.show(report, lambda report: train_screen(context, report, verbose=verbose), may_notify=True)


def pretrain(
    session: Session,
    bars: KnownBars,
    coins: Coins = None,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.zip", help="Where to write the model.")],
    note: Annotated[
        list[str] | None,
        typer.Option("--note", metavar="TEXT", help="A line for its card, such as publisher and terms. Repeatable."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="Replace the file.")] = False,
    every: AllCoins = False,
    engines: Engines,
) -> None:
    """Fit one model for every coin on the daily bars of these coins, as one file. The setting train.pretrained uses it.

    It answers for coins without a version of their own, from 21 bars on, and for no bar that it learned from.
    """
    from cryptocast.cli.screens.pretrain import pretrain_screen
    from cryptocast.workflows.training.pretrain import PretrainOrder
    from cryptocast.workflows.training.pretrain import pretrain as pretrain_model

    order = PretrainOrder(bars.chosen(session, coins, every=every), out, tuple(note or ()), overwrite, engines.chosen())
    session.show(pretrain_model(session.context(), order), pretrain_screen)


def forecast(
    session: Session,
    bars: KnownBars,
    coins: Coins = None,
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar=f"[auto|{'|'.join(ASKABLE)}]",
            help="auto: the best version in production. Or one of your own. Default: auto.",
        ),
    ] = None,
    horizons: Horizons = None,
    levels: Annotated[
        str | None,
        typer.Option("--levels", metavar="N,N", help="Intervals in %: 20, 40, 60, 80, 90, 95, 98, 99. Default: 80,95."),
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="REF", help="Use this version: bitcoin/lightgbm:3."), NAMES_COINS
    ] = None,
    files: ForecastFiles,
    history: Annotated[
        bool,
        typer.Option(
            "--history", metavar="", help="Show what was forecast live and what came, instead of forecasting now."
        ),
    ] = False,
    paths: PathOptions,
    every: AllCoins = False,
    engine: Engines,
    verbose: Verbose = False,
) -> None:
    """Forecast now: a distribution for each horizon, a fan chart, and how far to trust it.

    Or, with --history, the forecasts that were recorded once a bar, and whether the price came to lie inside. With
    --all nothing is fetched, and --out says where the forecasts go.
    """
    from cryptocast.cli.fan import BANDS
    from cryptocast.cli.screens.forecast import document_screen, only_levels
    from cryptocast.workflows.forecast import Request

    is_table = paths.paths is None and not history and not every
    if not every:
        files.check(table=is_table)
    intervals = tuple(sorted(numbers("--levels", levels))) or session.config.forecast.intervals
    selection, version = bars.of_version(coins, version)
    request = Request(
        selection=selection,
        model=model,
        horizons=tuple(sorted(numbers("--horizons", horizons))),
        intervals=tuple(sorted({*intervals, *BANDS})),  # the picture has bands of its own
        version=version,
    )
    order, context = paths.order(request, files.out), session.context()
    if every:
        if coins or version or history or order is not None or files.plot is not None:
            raise UsageError("--all is of the forecasts now of all coins: name no coins, versions, paths or pictures.")
        _forecast_all(session, replace(request, intervals=intervals), files, engine)
        return
    if not engine.chosen().is_here:
        raise UsageError("--engine and --jobs spread the forecasts of many coins: add --all.")
    if history:
        _show_history(session, replace(request, intervals=intervals), files, order)
        return
    whole = _document(context, request, order)
    document = only_levels(whole, intervals)
    if files.out is not None and is_table:
        from cryptocast.workflows.export import write_forecast

        write_forecast(document, files.out, files.layout)
    if files.plot is not None:
        _draw(context, whole if levels is None else document, files.plot)
    session.show(document, lambda _: document_screen(context, whole, intervals, files.paths, verbose=verbose))


def _forecast_all(session: Session, request: "Request", files: ForecastFiles, engine: Engines) -> None:
    from cryptocast.cli.screens.forecast_all import all_screen
    from cryptocast.workflows.forecast_all import AllOrder, forecast_all

    if files.out is None:
        raise UsageError("--all needs a place for its forecasts: add --out FOLDER or --out FILE.parquet.")
    order = AllOrder(request, files.out, files.layout, engine.chosen())
    session.show(forecast_all(session.context(), order), all_screen)


def _document(context: "Context", request: "Request", order: "PathOrder | None") -> "ForecastDocument":
    """The forecast that is asked for, or that of the paths."""
    if order is None:
        from cryptocast.workflows.forecast import forecast as make_forecast

        return make_forecast(context, request)
    from cryptocast.workflows.sample_paths import sample_paths

    return sample_paths(context, order).document


def _draw(context: "Context", document: "ForecastDocument", path: Path) -> None:
    from cryptocast.workflows.forecast_pictures import forecast_picture, pictured
    from cryptocast.workflows.picture_files import write_picture

    write_picture(forecast_picture(pictured(context, document)), path)


def _show_history(session: Session, request: "Request", files: ForecastFiles, order: "PathOrder | None") -> None:
    from cryptocast.cli.screens.forecast_history import history_screen
    from cryptocast.workflows.lifecycle.forecast_history import forecast_history

    if order is not None or request.selection.now is not None or request.selection.as_of is not None:
        raise UsageError("--history shows what was recorded: leave out --now, --as-of and sample paths.")
    if files.plot is not None:
        raise UsageError("--plot draws the forecast of now, not --history.")
    record = forecast_history(session.context(), request, files.out)
    session.show(record, lambda record: history_screen(record, files.out))


def backtest(
    session: Session,
    bars: KnownBars,
    coins: Coins = None,
    *,
    walk: Walk,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="A,B", help="Models. Default: baseline,lightgbm,mix. all: every kind."),
    ] = None,
    horizons: Horizons = None,
    trading: TradingOptions,
    outputs: Outputs,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", metavar="", help="Recompute forecasts that an earlier run already stored."),
    ] = False,
    no_tuned: NoTuned = False,
    engine: Engines,
    verbose: Verbose = False,
) -> None:
    """Score models out of sample on past prices, and answer what the scores show."""
    from cryptocast.cli.screens.backtest import backtest_screen
    from cryptocast.workflows.backtesting.backtest import BacktestOrder
    from cryptocast.workflows.backtesting.backtest import backtest as run_backtest

    files = outputs.files()
    order = BacktestOrder(
        selection=bars.selection(coins),
        walk_forward=walk.walk_forward,
        models=names("--model", model),
        horizons=numbers("--horizons", horizons),
        start=moment("--from", walk.start),
        end=moment("--to", walk.end),
        step=walk.step,
        refit_every=walk.refit_every,
        embargo=walk.embargo,
        window=walk.window,
        history=walk.history_bars,
        files=files,
        execution="same_bar" if trading.execution == "same-bar" else "next_bar",
        untradable=trading.untradable,
        cpcv=trading.cpcv,
        placebo=trading.placebo,
        fresh=fresh,
        engine=engine.chosen(),
    )
    context = session.context(use_tuned=not no_tuned)
    report = run_backtest(context, order)
    session.show(report, lambda report: backtest_screen(context, report, files.paths, verbose=verbose))


def rerun(
    session: Session,
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="Manifest of a recorded backtest, or its run id.")
    ],
    *,
    engine: Engines,
) -> None:
    """Repeat a recorded backtest and check that the numbers are the same."""
    from cryptocast.cli.screens.backtest import rerun_screen
    from cryptocast.workflows.backtesting.rerun import rerun as run_again

    report = run_again(session.context(), manifest, engine=engine.chosen())
    others = [model.model for model in report.models if not model.same]
    message = f"{', '.join(others) or 'the run'} forecasts other numbers than run {report.run} recorded."
    session.show(report, rerun_screen, failed(message if report.exit_code else None, report.exit_code))
