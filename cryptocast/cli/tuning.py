"""tune: better settings of a model, found on folds before the hold-out."""

from typing import Annotated, Final

import typer

from cryptocast.cli.options import MOST_TRIALS, Coins, Engines, Horizons, KnownBars, command, examples
from cryptocast.cli.session import Session
from cryptocast.cli.values import duration, numbers
from cryptocast.kinds import SINGLE, SingleKind

PANEL: Final = "Models"


def add_to(app: typer.Typer) -> None:
    """Hang the command below the root."""
    command(
        app,
        "tune",
        rich_help_panel=PANEL,
        epilog=examples(
            "cryptocast tune bitcoin",
            "cryptocast tune --trials 100 --timeout 2h --jobs 2",
            "cryptocast tune --storage postgresql://me@db/studies --engine dask --address tcp://10.0.0.5:8786",
        ),
    )(tune)


def tune(
    session: Session,
    bars: KnownBars,
    coins: Coins = None,
    *,
    model: Annotated[SingleKind, typer.Option("--model", help="Model to tune.")] = SINGLE[0],
    horizons: Horizons = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            min=1,
            max=MOST_TRIALS,
            metavar="N",
            help="Total number of trials, including earlier runs. Default: 40.",
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="2h", help="Start no new trial after this time: 30m, 2h, 1d."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option("--storage", metavar="URL", help="Where to store the study. Default: a file in the store."),
    ] = None,
    engine: Engines,
) -> None:
    """Search for better settings of a model on time-ordered folds before the hold-out.

    Run it again to continue: nothing is tried twice. Settings are adopted only if they beat the current ones; the next
    `train` and `backtest` then use them and say so.
    """
    from cryptocast.cli.screens.tune import tune_screen
    from cryptocast.workflows.tuning.tune import TuneOrder
    from cryptocast.workflows.tuning.tune import tune as search

    order = TuneOrder(
        selection=bars.selection(coins),
        model=model,
        horizons=numbers("--horizons", horizons),
        trials=trials,
        timeout=duration("--timeout", timeout),
        storage=storage,
        engine=engine.chosen(),
    )
    session.show(search(session.context(), order), tune_screen)
