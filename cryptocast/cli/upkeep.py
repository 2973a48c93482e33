"""registry best, compare, card, rollback, gc, export, import: choosing, judging, keeping and carrying versions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from cryptocast.cli.names import find_key, find_listed, find_version, one_market, read_name
from cryptocast.cli.options import MOST_NUMBER, NAMES_COINS, Bars, Coins, DryRun, VersionBars, command, examples, group
from cryptocast.cli.session import Session, failed
from cryptocast.errors import DataError, RegistryError, UsageError

if TYPE_CHECKING:
    from cryptocast.registry import Registry, VersionKey, VersionReference

Coin: TypeAlias = Annotated[
    str, typer.Argument(metavar="COIN", help="CoinGecko id, or a name as printed: bitcoin/lightgbm:3."), NAMES_COINS
]
OneKind: TypeAlias = Annotated[str | None, typer.Argument(metavar="KIND", help="Kind of model. Default: the only one.")]
OneVersion: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="REF", help="bitcoin/lightgbm@production, bitcoin/lightgbm:3 or bitcoin@best."),
    NAMES_COINS,
]
KEEP: Final = 10

ab = typer.Typer(rich_markup_mode="rich")


def add_upkeep(registry: typer.Typer) -> None:
    """Hang these commands below `registry`."""
    command(registry, "best", epilog=examples("cryptocast registry best bitcoin"))(best)
    command(
        registry,
        "compare",
        epilog=examples(
            "cryptocast registry compare bitcoin/lightgbm:4 bitcoin/lightgbm@production --html compare.html"
        ),
    )(compare_versions)
    command(registry, "card", epilog=examples("cryptocast registry card bitcoin@best --out card.md"))(card)
    command(
        registry,
        "rollback",
        epilog=examples("cryptocast registry rollback bitcoin lightgbm", "cryptocast registry rollback bitcoin --to 3"),
    )(roll_back)
    command(registry, "gc", epilog=examples("cryptocast registry gc --keep 10 --dry-run"))(gc)
    command(registry, "export", epilog=examples("cryptocast registry export bitcoin/lightgbm:3 bitcoin-3.zip"))(export)
    command(registry, "score", epilog=examples("cryptocast registry score", "cryptocast registry score bitcoin"))(score)
    group(ab)(ab_group)
    command(ab, "start", epilog=examples("cryptocast registry ab start bitcoin lightgbm --challenger 4 --share 0.2"))(
        ab_start
    )
    command(ab, "status", epilog=examples("cryptocast registry ab status bitcoin"))(ab_status)
    command(ab, "stop", epilog=examples("cryptocast registry ab stop bitcoin lightgbm --reason 'new data'"))(ab_stop)
    command(ab, "conclude", epilog=examples("cryptocast registry ab conclude bitcoin lightgbm"))(ab_conclude)
    registry.add_typer(ab, name="ab")
    command(
        registry,
        "import",
        epilog=examples("cryptocast registry import bitcoin-3.zip", "cryptocast registry import bitcoin-3.zip --score"),
    )(import_)


def best(
    session: Session,
    coin: Annotated[str, typer.Argument(metavar="COIN", help="CoinGecko id or ticker."), NAMES_COINS],
    *,
    bars: VersionBars,
) -> None:
    """Show which production version answers for --model auto: the calibrated one with the lowest CRPS."""
    from cryptocast.cli.listings import best_document
    from cryptocast.cli.screens.upkeep import best_screen

    reference = bars.read(coin)
    if reference.kind is not None or reference.number is not None or reference.alias not in (None, "best"):
        raise UsageError(
            f"{coin!a} names one kind of model, but this command chooses among all kinds of a coin: "
            f"cryptocast registry best {reference.coin}. To see that one: cryptocast registry show {coin}."
        )
    market = one_market(session, reference)
    session.show(best_document(session.registry(), reference.coin, market), best_screen)


def compare_versions(
    session: Session,
    a: Annotated[str, typer.Argument(metavar="A", help="A version, such as bitcoin/lightgbm:4."), NAMES_COINS],
    b: Annotated[str, typer.Argument(metavar="B", help="Another, such as bitcoin/lightgbm@production."), NAMES_COINS],
    *,
    bars: VersionBars,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write an HTML page with a chart.")
    ] = None,
) -> None:
    """Compare two versions on the forecasts they share, and list how they differ."""
    from cryptocast.cli.screens.upkeep import comparison_screen
    from cryptocast.workflows.lifecycle.compare import compare, write_comparison

    config = session.config
    one, other = (find_version(session, bars.read(name)) for name in (a, b))
    comparison = compare(session.registry(), config.store.path, config.gate, one, other)
    if html is not None:
        write_comparison(comparison, html)
    session.show(comparison, lambda one: comparison_screen(one, html))


def card(
    session: Session,
    reference: OneVersion,
    *,
    bars: VersionBars,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it to a file.")] = None,
) -> None:
    """Print the model card in Markdown: purpose, data, skill by horizon, weaknesses, live results."""
    from cryptocast.cli.screens.upkeep import card_screen
    from cryptocast.workflows.lifecycle.model_card import model_card

    registry = session.registry()
    version = find_version(session, bars.read(reference))
    session.show(model_card(registry, session.config.gate, version, out), card_screen)


def roll_back(
    session: Session,
    coin: Coin,
    kind: OneKind = None,
    *,
    to: Annotated[
        int | None,
        typer.Option("--to", min=1, max=MOST_NUMBER, help="Version. Default: the previous production version."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; recorded in the history.")
    ] = None,
    bars: VersionBars,
    dry_run: DryRun = False,
) -> None:
    """Put the previous production version back, or an earlier one."""
    from cryptocast.cli.screens.upkeep import rollback_screen
    from cryptocast.workflows.lifecycle.rollback import rollback

    registry, key, to = find_key(session, bars.read(coin, kind, to))
    report = rollback(registry, key, to=to, reason=reason, dry_run=dry_run, **session.signature())
    session.show(report, rollback_screen, may_notify=True)


def gc(
    session: Session,
    *,
    keep: Annotated[
        int,
        typer.Option("--keep", min=1, max=MOST_NUMBER, help="Number of newest versions to keep of each coin and kind."),
    ] = KEEP,
    dry_run: DryRun = False,
) -> None:
    """Delete old versions and artefacts that no alias, rollback, A/B test or ledger row needs."""
    from cryptocast.cli.listings import gc_document
    from cryptocast.cli.screens.upkeep import gc_screen
    from cryptocast.workflows.context import each

    progress = session.context().progress
    deletion = session.registry().collect(
        keep,
        dry_run=dry_run,
        each=lambda files: each(progress, "delete", files, lambda file: f"file {file[0].name[:12]}"),
    )
    session.show(gc_document(deletion, keep, dry_run=dry_run), gc_screen)


def export(
    session: Session,
    reference: OneVersion,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The archive to write.")],
    *,
    fit: Annotated[bool, typer.Option("--fit", metavar="", help="Include all coins of its fit.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="Replace an existing file.")] = False,
    bars: VersionBars,
) -> None:
    """Export a version with its artefacts as one file."""
    from cryptocast.cli.screens.upkeep import export_screen
    from cryptocast.workflows.lifecycle.archives import export_version

    version = find_version(session, bars.read(reference))
    context = session.context()
    report = export_version(
        session.registry(),
        version,
        path,
        whole_fit=fit,
        overwrite=overwrite,
        config=context.config,
        progress=context.progress,
    )
    session.show(report, export_screen)


def import_(
    session: Session,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An archive that `registry export` wrote.")],
    *,
    score: Annotated[
        bool,
        typer.Option("--score", metavar="", help="Score it on local bars after the end of its training data."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Check the archive without importing it.")
    ] = False,
) -> None:
    """Import an archive: its versions become challengers. Anything that does not match its hash is refused.

    Imported scores are shown as foreign and do not count; those computed here by --score do.
    """
    from cryptocast.cli.screens.upkeep import import_screen
    from cryptocast.workflows.lifecycle.archives import import_archive

    if score and dry_run:
        raise UsageError("--score keeps what it finds, and --dry-run keeps nothing. Leave one out.")
    context = session.context()
    registry = session.registry() if dry_run else context.registry()
    report = import_archive(
        registry,
        path,
        config=context.config,
        dry_run=dry_run,
        who=context.who,
        now=context.wall_clock(),
        scoring=context if score else None,
        progress=context.progress,
    )
    session.show(report, import_screen, failed(report.unscored, DataError.exit_code))


def score(session: Session, coins: Coins = None, *, bars: Bars) -> None:
    """Record the current forecast, score earlier ones on bars that have closed, and judge versions live.

    For cron, once a bar; a server does it by itself. If you name a version, only its rows are shown.
    """
    from msgspec.structs import replace

    from cryptocast.cli.screens.upkeep import score_screen
    from cryptocast.workflows.lifecycle.live_scoring import score as score_live

    selection, name = bars.of_version(coins, None)
    if name is None:
        session.show(score_live(session.context(), selection), score_screen, may_notify=True)
        return
    reference = read_name(name, source=bars.source, vs=bars.vs, granularity=bars.granularity)
    version = find_version(session, reference)
    report = score_live(session.context(), selection)
    own = tuple(
        row
        for row in report.rows
        if (row.name, row.source, row.vs) == (version.name, version.key.source, version.key.vs)
    )
    if not own:
        raise RegistryError(f"{version.name} is neither production nor challenger; only those are scored.")
    session.show(replace(report, rows=own), score_screen, may_notify=True)


def ab_group() -> None:
    """Let a challenger answer a share of the clients, and see which side forecasts better."""


def ab_start(
    session: Session,
    coin: Coin,
    kind: OneKind = None,
    *,
    challenger: Annotated[
        int | None,
        typer.Option(
            "--challenger", min=1, max=MOST_NUMBER, help="Number of the challenger. Default: the newest version."
        ),
    ] = None,
    share: Annotated[float, typer.Option("--share", help="Share of the clients, between 0 and 1.")] = 0.2,
    bars: VersionBars,
) -> None:
    """Start a test; a client always gets the same side."""
    from cryptocast.cli.screens.upkeep import ab_screen
    from cryptocast.workflows.lifecycle import ab

    registry, key, challenger = find_key(session, bars.read(coin, kind, challenger))
    report = ab.ab_start(session.config, registry, key, challenger=challenger, share=share, **session.signature())
    session.show(report, ab_screen)


def ab_status(
    session: Session,
    coin: Annotated[str | None, typer.Argument(metavar="COIN", help="Coin. Default: every coin."), NAMES_COINS] = None,
    kind: OneKind = None,
    *,
    bars: VersionBars,
) -> None:
    """Show the tests and their results so far; you may look as often as you like."""
    from cryptocast.cli.screens.upkeep import ab_screen
    from cryptocast.workflows.lifecycle import ab

    versions = find_listed(session, bars.read(coin, kind))
    keys = sorted({version.key for version in versions})
    session.show(ab.ab_status(session.config, session.registry(), keys), ab_screen)


def ab_stop(
    session: Session,
    coin: Coin,
    kind: OneKind = None,
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; recorded with the test.")] = "",
    bars: VersionBars,
) -> None:
    """End a test without a change: production answers everyone again."""
    from cryptocast.cli.screens.upkeep import ab_screen
    from cryptocast.workflows.lifecycle import ab

    registry, key = _tested(session, bars.read(coin, kind))
    report = ab.ab_stop(session.config, registry, key, reason=reason, **session.signature())
    session.show(report, ab_screen)


def ab_conclude(
    session: Session,
    coin: Coin,
    kind: OneKind = None,
    *,
    bars: VersionBars,
) -> None:
    """End a test by the gate: the challenger is promoted if it passes, else the exit code is 6."""
    from cryptocast.cli.screens.upkeep import ab_screen
    from cryptocast.workflows.lifecycle import ab

    registry, key = _tested(session, bars.read(coin, kind))
    report = ab.ab_conclude(session.config, registry, key, **session.signature())
    failure = None if report.promotion is None else report.promotion.refusal()
    session.show(report, ab_screen, failure, may_notify=True)


def _tested(session: Session, reference: "VersionReference") -> "tuple[Registry, VersionKey]":
    """The key that is meant. RegistryError if a version was named that is no side of its running test."""
    from cryptocast.workflows.lifecycle.ab import running_test

    registry, key, number = find_key(session, reference)
    test = running_test(registry, key)
    if number is not None and test is not None and number not in (test.start.production, test.start.challenger):
        raise RegistryError(
            f"Version {number} is not part of the running test of {key}, which compares {test.start.production} and "
            f"{test.start.challenger}."
        )
    return registry, key
