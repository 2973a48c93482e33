"""registry list, show, history, promote, verify: which version answers, and how it came to that."""

import dataclasses
from typing import Annotated, Final, TypeAlias

import typer

from cryptocast.cli.names import find_events, find_key, find_listed, find_version
from cryptocast.cli.options import MOST_NUMBER, NAMES_COINS, DryRun, VersionBars, command, examples, group
from cryptocast.cli.session import Session, failed
from cryptocast.cli.upkeep import add_upkeep
from cryptocast.cli.values import moment

PANEL: Final = "Registry and service"
BAD_REGISTRY: Final = 5

Coin: TypeAlias = Annotated[
    str | None,
    typer.Argument(metavar="COIN", help="CoinGecko id, or a name as printed: bitcoin/lightgbm:3. Default: every coin."),
    NAMES_COINS,
]
AnyKind: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="KIND", help="Kind of model, such as lightgbm. Default: every kind.")
]

registry = typer.Typer(rich_markup_mode="rich")


def add_to(app: typer.Typer) -> None:
    """Hang these commands below the root."""
    group(registry, rich_help_panel=PANEL)(registry_group)
    command(registry, "list", epilog=examples("cryptocast registry list bitcoin"))(list_versions)
    command(
        registry,
        "show",
        epilog=examples(
            "cryptocast registry show bitcoin/lightgbm@production", "cryptocast registry show bitcoin@best"
        ),
    )(show_version)
    command(registry, "history", epilog=examples("cryptocast registry history bitcoin --at 2026-01-31"))(history)
    command(
        registry,
        "promote",
        epilog=examples(
            "cryptocast registry promote",
            "cryptocast registry promote bitcoin lightgbm --dry-run",
            "cryptocast registry promote bitcoin lightgbm 3 --force --reason 'new fees'",
        ),
    )(promote)
    command(registry, "verify")(verify)
    add_upkeep(registry)
    app.add_typer(registry, name="registry", rich_help_panel=PANEL)


def registry_group() -> None:
    """See which version answers and why; promote a better one."""


def list_versions(
    session: Session,
    coin: Coin = None,
    kind: AnyKind = None,
    *,
    bars: VersionBars,
) -> None:
    """List versions with their aliases: production answers, challenger is the newest."""
    from cryptocast.cli.listings import versions_document
    from cryptocast.cli.screens.registry import versions_screen

    versions = find_listed(session, bars.read(coin, kind))
    session.show(versions_document(versions), versions_screen)


def show_version(
    session: Session,
    reference: Annotated[
        str,
        typer.Argument(metavar="REF", help="bitcoin/lightgbm@production, bitcoin/lightgbm:3 or bitcoin@best."),
        NAMES_COINS,
    ],
    *,
    bars: VersionBars,
) -> None:
    """Show one version: its training data, hold-out scores and artefacts."""
    from cryptocast.cli.listings import version_document
    from cryptocast.cli.screens.registry import version_screen

    version = find_version(session, bars.read(reference))
    session.show(version_document(session.registry(), version), version_screen)


def history(
    session: Session,
    coin: Coin = None,
    kind: AnyKind = None,
    *,
    bars: VersionBars,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Show what was in production at this time, UTC.")
    ] = None,
) -> None:
    """Show every change of an alias or of a coin's source: when, who, what and why."""
    from cryptocast.cli.listings import history_document
    from cryptocast.cli.screens.registry import history_screen

    until = moment("--at", at)
    events, moves = find_events(session, bars.read(coin, kind), until)
    session.show(history_document(session.registry(), events, moves, until), history_screen)


def promote(
    session: Session,
    coin: Annotated[
        str | None, typer.Argument(metavar="COIN", help="Coin. Default: every configured coin."), NAMES_COINS
    ] = None,
    kind: AnyKind = None,
    number: Annotated[
        int | None,
        typer.Argument(
            min=1, max=MOST_NUMBER, metavar="VERSION", help="Number. Default: the challenger.", show_default=False
        ),
    ] = None,
    *,
    bars: VersionBars,
    fit: Annotated[
        bool, typer.Option("--fit", metavar="", help="Promote all coins of the fit together, or none.")
    ] = False,
    dry_run: DryRun = False,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Override the gate; the reason is recorded.")
    ] = False,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, with --force.")] = None,
) -> None:
    """Judge challengers by the gate and promote those that pass.

    The exit code is 6 if a version that you named is refused; otherwise refusals are only printed.
    """
    from msgspec.structs import replace

    from cryptocast.cli.screens.registry import promotion_screen
    from cryptocast.workflows.lifecycle.promote import promote as bring_forward

    data, reference = session.config.data, bars.read(coin, kind, number)
    if reference.alias not in (None, "challenger"):  # the challenger is what is judged in any case
        _, key, number = find_key(session, reference)
        reference = dataclasses.replace(reference, kind=key.kind, number=number, source=key.source)
    data = replace(data, vs=reference.vs or data.vs, granularity=reference.granularity or data.granularity)
    report = bring_forward(
        replace(session.config, data=data),
        session.registry(),
        coin=reference.coin or None,
        kind=reference.kind,
        number=reference.number,
        source=reference.source,
        whole_fit=fit,
        dry_run=dry_run,
        force=force,
        reason=reason,
        **session.signature(),
    )
    session.show(report, promotion_screen, report.refusal(), may_notify=True)


def verify(session: Session) -> None:
    """Recompute every hash and check every reference."""
    from cryptocast.cli.listings import verify_document
    from cryptocast.cli.screens.registry import verify_screen

    report = verify_document(
        session.registry(), str(session.config.store.path / "registry"), session.context().progress
    )
    first = next((f"{fault.where}: {fault.problem}" for fault in report.findings), None)
    session.show(report, verify_screen, failed(first, BAD_REGISTRY, len(report.findings)))
