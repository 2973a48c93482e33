"""fetch, data, features: what there is to learn from."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from cryptocast.cli.options import MOST_DAYS, MOST_JOBS, Bars, Coins, KnownBars, command, examples, group
from cryptocast.cli.session import Session, failed
from cryptocast.errors import UsageError

__all__ = ["add_to"]

PANEL: Final = "Data"
BAD_DATA: Final = 3

data = typer.Typer(rich_markup_mode="rich")


def add_to(app: typer.Typer) -> None:
    """Hang these commands below the root."""
    command(
        app,
        "fetch",
        rich_help_panel=PANEL,
        epilog=examples(
            "cryptocast fetch bitcoin ethereum --days 365",
            "cryptocast fetch bitcoin --file prices.csv --stamp open",
            "cryptocast fetch bitcoin --source coingecko --granularity hourly",
        ),
    )(fetch)
    group(data, rich_help_panel=PANEL)(data_group)
    command(data, "ls", epilog=examples("cryptocast data ls --json"))(list_data)
    command(data, "verify")(verify_data)
    app.add_typer(data, name="data", rich_help_panel=PANEL)
    command(
        app,
        "features",
        rich_help_panel=PANEL,
        epilog=examples(
            "cryptocast features --list --family volatility",
            "cryptocast features bitcoin --out features.parquet",
            "cryptocast features --audit",
            "cryptocast features --out all.parquet --engine dask --address tcp://10.0.0.5:8786",
        ),
    )(features)


def fetch(
    session: Session,
    bars: Bars,
    coins: Coins = None,
    *,
    days: Annotated[
        int | None,
        typer.Option(
            "--days", min=1, max=MOST_DAYS, metavar="N", help="How far back. Default: 365, as far as free plans go."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="Take the candles of one coin from a .csv or .parquet (Yahoo, Binance, your own)."),
    ] = None,
    stamp: Annotated[
        Literal["open", "close"] | None, typer.Option("--stamp", help="What the times in the file mean.")
    ] = None,
    volume_unit: Annotated[
        Literal["coin", "quote"] | None, typer.Option("--volume-unit", help="What the volume in the file counts.")
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", metavar="", help="Fetch again what the store already has.")
    ] = False,
    hours: Annotated[
        bool | None,
        typer.Option(
            "--hours/--no-hours",
            help="After the daily closes bring the hours that give them true highs and lows. Default: with them.",
        ),
    ] = None,
) -> None:
    """Bring candles into the local store: only what is missing, closed bars only.

    Prints what is wrong with them: gaps, outliers, broken bars. Nothing is silently filled or dropped.
    """
    from cryptocast.cli.screens.market_data import fetch_screen
    from cryptocast.workflows.market_data.fetch import FetchOrder
    from cryptocast.workflows.market_data.fetch import fetch as fetch_candles

    order = FetchOrder(bars.selection(coins), days, file, stamp, volume_unit, refresh, hours)
    report = fetch_candles(session.context(), order)
    problems = [f"{coin.coin}: {coin.error.message}" for coin in report.coins if coin.error is not None]
    failure = failed(problems[0] if report.exit_code else None, report.exit_code, len(problems))
    if failure is not None and session.json and report.summary.came == 0:
        raise failure  # nothing came, so there is nothing to report
    session.show(report, fetch_screen, failure)


def data_group() -> None:
    """See and check the candles in the local store."""


def list_data(session: Session) -> None:
    """What is in the store: every series with its source, length and last bar."""
    from cryptocast.cli.screens.market_data import listing_screen
    from cryptocast.workflows.market_data.inventory import list_store

    session.show(list_store(session.config), listing_screen)


def verify_data(session: Session) -> None:
    """Read every file of the store and check its hash, schema, order and values."""
    from cryptocast.cli.screens.market_data import check_screen
    from cryptocast.workflows.market_data.inventory import check_store

    report = check_store(session.config)
    first = next((f"{found.path}: {found.problem}" for found in report.findings), None)
    session.show(report, check_screen, failed(first, BAD_DATA, len(report.findings)))


def features(
    session: Session,
    bars: KnownBars,
    coins: Coins = None,
    *,
    catalogue: Annotated[
        bool, typer.Option("--list", metavar="", help="The catalogue: every feature with its facts.")
    ] = False,
    family: Annotated[
        str | None, typer.Option("--family", metavar="NAME", help="With --list: only this family.")
    ] = None,
    audit: Annotated[bool, typer.Option("--audit", metavar="", help="Look for features that know the future.")] = False,
    importance: Annotated[
        bool, typer.Option("--importance", metavar="", help="What the coin's lightgbm leans on; train one first.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the whole table: .csv or .parquet.")
    ] = None,
    engine: Annotated[
        Literal["local", "dask"],
        typer.Option("--engine", metavar="ENGINE", help="local, or dask: coins spread over a cluster."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address", metavar="ADDR", help="With --engine dask: its scheduler, such as tcp://10.0.0.5:8786."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, max=MOST_JOBS, metavar="N", help="Parts for the cluster. Default: its threads."),
    ] = None,
) -> None:
    """What the models see: the latest row of each coin, the catalogue, or the leakage audit.

    Features of your own come from the file that \\[features] file of the settings names: docs/features.md.
    """
    from cryptocast.cli.screens import features as screens
    from cryptocast.workflows import features as use

    wanted = [
        name for name, asked in (("--list", catalogue), ("--audit", audit), ("--importance", importance)) if asked
    ]
    if len(wanted) > 1 or (wanted and out is not None):
        raise UsageError(f"These do not go together: {', '.join([*wanted, '--out'] if out else wanted)}. Choose one.")
    if family is not None and not catalogue:
        raise UsageError("--family goes with --list: cryptocast features --list --family volatility")
    if engine == "local" and jobs is not None:
        raise UsageError("--jobs goes with --engine dask; here the table is made on all threads in any case.")
    if engine == "dask" and wanted:
        raise UsageError(f"--engine dask makes tables; {wanted[0]} does its work here. Leave one out.")
    where = use.Engine(engine, jobs or 0, address)
    if catalogue:
        session.show(use.catalogue(session.config, family), screens.catalogue_screen)
    elif audit:
        report = use.audit_features(session.context(), bars.selection(coins))
        session.show(report, screens.audit_screen)
        use.refuse_findings(session.context(), report)
    elif importance:
        session.show(use.feature_importance(session.context(), bars.selection(coins)), screens.importance_screen)
    elif out is not None:
        session.show(use.save_features(session.context(), bars.selection(coins), out, where), screens.rows_screen)
    else:
        session.show(use.latest_features(session.context(), bars.selection(coins), where), screens.rows_screen)
