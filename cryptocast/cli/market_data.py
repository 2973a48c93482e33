"""fetch, data, features: what there is to learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import typer

from cryptocast.cli.options import (
    Bars,
    Coins,
    DryRun,
    Engines,
    KnownBars,
    SeriesBars,
    command,
    examples,
    group,
    source_name,
)
from cryptocast.cli.session import Session, failed
from cryptocast.cli.values import moment
from cryptocast.errors import UsageError

if TYPE_CHECKING:
    from cryptocast.workflows.engines import Engine

PANEL: Final = "Data"
BAD_DATA: Final = 3

AnyCoin: TypeAlias = Annotated[str | None, typer.Argument(metavar="COIN", help="CoinGecko id. Default: every coin.")]
OneCoin: TypeAlias = Annotated[str, typer.Argument(metavar="COIN", help="CoinGecko id, such as bitcoin.")]

data = typer.Typer(rich_markup_mode="rich")


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A file of candles, and what it means."""

    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            metavar="PATH",
            help="Import one coin from this file or folder, or several if its rows name them (unique_id, ds, y); repeat"
            " it for more files. Layouts of exchanges and data sites, also .gz and .zip, are recognised: docs/data.md.",
        ),
    ] = None
    stamp: Annotated[
        Literal["open", "close"] | None, typer.Option("--stamp", help="Whether times in the file are opens or closes.")
    ] = None
    volume_unit: Annotated[
        Literal["coin", "quote"] | None, typer.Option("--volume-unit", help="Unit of the volume in the file.")
    ] = None
    decimal: Annotated[
        Literal[".", ","] | None, typer.Option("--decimal", help="Decimal sign in the file. Default: detected.")
    ] = None
    dates: Annotated[
        Literal["dmy", "mdy"] | None,
        typer.Option("--dates", help="Whether day or month comes first in the file. Default: detected."),
    ] = None
    timezone: Annotated[
        str | None,
        typer.Option("--timezone", metavar="ZONE", help="Zone of times in the file, e.g. Europe/Berlin. Default: UTC."),
    ] = None
    replace: Annotated[
        bool,
        typer.Option("--replace", metavar="", help="Replace earlier files of the coin instead of merging with them."),
    ] = False


def add_to(app: typer.Typer) -> None:
    """Hang these commands below the root."""
    command(
        app,
        "fetch",
        rich_help_panel=PANEL,
        epilog=examples(
            "cryptocast fetch bitcoin ethereum --since 2020-01-01",
            "cryptocast fetch bitcoin --file prices.csv --stamp open",
            "cryptocast fetch bitcoin --file 2024.zip --file 2025.zip",
            "cryptocast fetch bitcoin --source bitstamp --granularity hourly",
            "cryptocast fetch bitcoin --move-to bitstamp",
        ),
    )(fetch)
    group(data, rich_help_panel=PANEL)(data_group)
    command(data, "ls", epilog=examples("cryptocast data ls --json"))(list_data)
    command(data, "show", epilog=examples("cryptocast data show", "cryptocast data show bitcoin --source file"))(
        show_data
    )
    command(data, "export", epilog=examples("cryptocast data export bitcoin --source bitstamp --out bitcoin.csv"))(
        export_data
    )
    command(
        data, "rm", epilog=examples("cryptocast data rm bitcoin --source file", "cryptocast data rm dogecoin --yes")
    )(remove_data)
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
            "cryptocast features bitcoin --ablate vol_30",
            "cryptocast features --out all.parquet --engine dask --address tcp://10.0.0.5:8786",
        ),
    )(features)


def fetch(
    session: Session,
    bars: Bars,
    coins: Coins = None,
    *,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DATE", help="How far back, e.g. 2015-01-01. Default: all there is."),
    ] = None,
    days: Annotated[int | None, typer.Option("--days", hidden=True)] = None,
    move_to: Annotated[
        str | None,
        typer.Option(
            "--move-to",
            metavar="SOURCE",
            parser=source_name,
            help="Fetch from this source, and take the coins from it from now on.",
        ),
    ] = None,
    import_: Import,
    refresh: Annotated[
        bool, typer.Option("--refresh", metavar="", help="Fetch again what the store already holds.")
    ] = False,
    hours: Annotated[
        bool | None,
        typer.Option(
            "--hours/--no-hours",
            help="Also fetch hourly prices for the highs and lows of daily bars. Default: yes.",
        ),
    ] = None,
) -> None:
    """Fetch missing candles into the local store; closed bars only.

    Reports gaps, outliers and broken bars. Nothing is silently filled or dropped.
    """
    from cryptocast.cli.screens.market_data import fetch_screen
    from cryptocast.workflows.market_data.fetch import FetchOrder, FileOptions
    from cryptocast.workflows.market_data.fetch import fetch as fetch_candles
    from cryptocast.workflows.market_data.move import move

    if days is not None:
        raise UsageError("--days is no more: name the first day instead, e.g. --since 2025-01-01.")
    options = FileOptions(
        stamp=import_.stamp,
        volume_unit=import_.volume_unit,
        decimal=import_.decimal,
        dates=import_.dates,
        timezone=import_.timezone,
    )
    files = tuple(import_.file or ())
    order = FetchOrder(bars.selection(coins), moment("--since", since), files, options, import_.replace, refresh, hours)
    context = session.context()
    report = fetch_candles(context, order) if move_to is None else move(context, order, move_to)
    problems = [f"{coin.coin}: {coin.error.message}" for coin in report.coins if coin.error is not None]
    failure = failed(problems[0] if report.exit_code else None, report.exit_code, len(problems))
    if failure is not None and session.json and report.summary.came == 0:
        raise failure  # nothing came, so there is nothing to report
    session.show(report, fetch_screen, failure)


def data_group() -> None:
    """List, verify, export and remove the candles in the local store."""


def list_data(session: Session) -> None:
    """List every series in the store with its source, length and last bar."""
    from cryptocast.cli.screens.market_data import listing_screen
    from cryptocast.workflows.market_data.inventory import list_store

    session.show(list_store(session.config), listing_screen)


def show_data(session: Session, coin: AnyCoin = None, *, bars: SeriesBars) -> None:
    """Show the stored series with their markets, gaps and revisions; one in detail.

    Where it came from, when bars arrived or were revised, its latest bars, and what is odd about them.
    """
    from cryptocast.cli.screens.market_data import series_screen
    from cryptocast.workflows.market_data.stored_series import show_series

    document = show_series(session.config, bars.selection(coin))
    first = next((finding.problem for finding in document.findings), None)
    session.show(document, series_screen, failed(first, BAD_DATA, len(document.findings)))


def export_data(
    session: Session,
    coin: OneCoin,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write: .csv or .parquet.")],
    bars: SeriesBars,
) -> None:
    """Write a series to a file that `fetch --file` reads back into the same bars."""
    from cryptocast.cli.screens.market_data import export_screen
    from cryptocast.workflows.market_data.stored_series import export_series

    session.show(export_series(session.config, bars.selection(coin), out), export_screen)


def remove_data(
    session: Session,
    coin: OneCoin,
    *,
    bars: SeriesBars,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Do not ask.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Remove one series and its revisions from the store; versions, evidence and the ledger stay."""
    from cryptocast.cli.screens.market_data import removal_screen
    from cryptocast.workflows.market_data.stored_series import plan_removal, remove_series

    plan = plan_removal(session.config, session.registry(), bars.selection(coin))
    if not dry_run and not yes:
        if not session.can_ask:
            raise UsageError(
                f"Nothing was removed: add --yes to remove {plan.path}, or --dry-run to see what would go."
            )
        session.show(plan, removal_screen)
        dry_run = not typer.confirm("Remove it?")
    session.show(plan if dry_run else remove_series(session.config, plan), removal_screen)


def verify_data(session: Session) -> None:
    """Read every file in the store and check its hash, schema, order and values."""
    from cryptocast.cli.screens.market_data import check_screen
    from cryptocast.workflows.market_data.inventory import check_store

    report = check_store(session.config)
    first = next((f"{finding.path}: {finding.problem}" for finding in report.findings), None)
    session.show(report, check_screen, failed(first, BAD_DATA, len(report.findings)))


def features(
    session: Session,
    bars: KnownBars,
    coins: Coins = None,
    *,
    catalogue: Annotated[
        bool, typer.Option("--list", metavar="", help="List every feature with its properties.")
    ] = False,
    family: Annotated[
        str | None, typer.Option("--family", metavar="NAME", help="With --list: this family only.")
    ] = None,
    audit: Annotated[bool, typer.Option("--audit", metavar="", help="Check that no feature uses the future.")] = False,
    importance: Annotated[
        bool, typer.Option("--importance", metavar="", help="What the coin's trained lightgbm relies on.")
    ] = False,
    ablate: Annotated[
        str | None,
        typer.Option("--ablate", metavar="NAME", help="Does this feature help? Walk forward with and without it."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help="With --ablate: the model that reads it.")
    ] = "lightgbm",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the full table: .csv or .parquet.")
    ] = None,
    engine: Engines,
) -> None:
    """Show what the models see: the latest row of each coin, the catalogue, or the leakage audit.

    Your own features come from the file named by \\[features] file in the settings: docs/features.md.
    """
    from cryptocast.cli.screens import features as screens
    from cryptocast.workflows import features as use

    switches = {"--list": catalogue, "--audit": audit, "--importance": importance, "--ablate": ablate is not None}
    where = _feature_engine(engine, [name for name, is_on in switches.items() if is_on], out)
    if family is not None and not catalogue:
        raise UsageError("--family needs --list: cryptocast features --list --family volatility")
    if catalogue:
        session.show(use.catalogue(session.config, family), screens.catalogue_screen)
    elif audit:
        findings = use.audit_features(session.context(), bars.selection(coins))
        session.show(findings, screens.audit_screen)
        use.refuse_findings(session.context(), findings)
    elif importance:
        session.show(use.feature_importance(session.context(), bars.selection(coins)), screens.importance_screen)
    elif ablate is not None:
        from cryptocast.workflows.backtesting.ablation import ablate as compare_without

        report = compare_without(session.context(), bars.selection(coins), ablate, model=model)
        session.show(report, screens.ablation_screen)
    elif out is not None:
        session.show(use.save_features(session.context(), bars.selection(coins), out, where), screens.rows_screen)
    else:
        session.show(use.latest_features(session.context(), bars.selection(coins), where), screens.rows_screen)


def _feature_engine(engine: Engines, modes: Sequence[str], out: Path | None) -> "Engine":
    """Where the table is computed. modes: the options that ask for something else. UsageError for what excludes each
    other."""
    if len(modes) > 1 or (modes and out is not None):
        raise UsageError(
            f"These options exclude each other: {', '.join([*modes, '--out'] if out else modes)}. Choose one."
        )
    where = engine.chosen()
    if where.kind == "local" and engine.jobs is not None:
        raise UsageError("--jobs needs --engine dask; locally all threads are used.")
    if where.kind == "dask" and modes:
        raise UsageError(f"--engine dask builds feature tables only and cannot be combined with {modes[0]}.")
    return where
