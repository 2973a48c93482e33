"""tune: better settings of a model, found on folds before the hold-out."""

from typing import Annotated, Final

import typer

from cryptocast.cli.options import MOST_TRIALS, Coins, Engines, Horizons, KnownBars, command, examples
from cryptocast.cli.session import Session
from cryptocast.cli.values import duration, numbers
from cryptocast.config import TUNABLE, TunableKind

__all__ = ["add_to"]

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
    model: Annotated[TunableKind, typer.Option("--model", help="Whose settings.")] = TUNABLE[0],
    horizons: Horizons = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", min=1, max=MOST_TRIALS, metavar="N", help="In all, those of earlier runs included. Default: 40."
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="2h", help="No new trial begins after this time: 30m, 2h, 1d."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option("--storage", metavar="URL", help="Where the study is kept. Default: a file in the store."),
    ] = None,
    engine: Engines,
) -> None:
    """Search for better settings of a model, on folds of time before the hold-out.

    Run it again to go on: nothing is tried twice. What is found is taken over only if it is better than the settings
    as they are; then the next `train` and `backtest` use it and say so.
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
