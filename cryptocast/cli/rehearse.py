"""fake-upstream."""

from typing import Annotated, Literal

import typer

from cryptocast.cli.options import command, examples
from cryptocast.cli.session import Session
from cryptocast.cli.values import moment
from cryptocast.errors import UsageError

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Hang this command below the root."""
    command(
        app,
        "fake-upstream",
        default_level="info",
        rich_help_panel="Registry and service",
        epilog=examples(
            "cryptocast fake-upstream --port 8900",
            "cryptocast fake-upstream --faults cycle --rate-limit 0",
        ),
    )(fake_upstream)


def fake_upstream(
    session: Session,
    *,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="0: a free one.")] = 8900,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2_147_483_647, help="Of all prices: the same seed, the same prices.")
    ] = 7,
    plan: Annotated[
        Literal["keyless", "demo", "pro"], typer.Option("--plan", metavar="PLAN", help="keyless, demo or pro.")
    ] = "keyless",
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            metavar="FAULTS",
            help="none; cycle: all of them, each for a time; the name of one; or a TOML or JSON file of rules.",
        ),
    ] = "none",
    rate_limit: Annotated[
        int, typer.Option("--rate-limit", min=0, max=1_000_000, help="Calls a minute; 0: no limit.")
    ] = 30,
    now: Annotated[
        str | None,
        typer.Option("--now", metavar="TIME", help="Where its clock starts, UTC: 2026-01-31T23:58. Default: now."),
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0.0, help="Seconds of its clock in one second; 0 stands still.")
    ] = 1.0,
    coins: Annotated[
        int, typer.Option("--coins", min=0, max=50_000, help="coin-000, coin-001, ... beside the known ones.")
    ] = 100,
    quirks: Annotated[
        Literal["clean", "usual", "worst"],
        typer.Option("--quirks", metavar="SET", help="How odd its series are: clean, usual or worst."),
    ] = "usual",
    latency_ms: Annotated[float, typer.Option("--latency-ms", min=0.0, help="How long each answer takes.")] = 0.0,
) -> None:
    """Play CoinGecko on this machine, with everything that can go wrong, for rehearsals and tests."""
    from cryptocast.rehearsal import FakeUpstream, instructions, run, script_of

    try:
        fake = FakeUpstream(
            port=port,
            seed=seed,
            plan=plan,
            faults=script_of(faults),
            limits=rate_limit,
            now=moment("--now", now),
            speed=speed,
            coins=coins,
            quirks=quirks,
            latency_s=latency_ms / 1000,
        )
    except ValueError as error:
        raise UsageError(f"The stand-in cannot play that: {error}.") from error

    def announce(listening: FakeUpstream) -> None:
        session.err.print(
            f"Playing CoinGecko at {listening.url} (Ctrl-C stops). To use and to steer it:", soft_wrap=True
        )
        for line in instructions(listening):
            session.err.print(f"  {line}", soft_wrap=True)

    run(fake, announce)
