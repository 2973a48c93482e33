"""fake-upstream."""

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from cryptocast.cli.options import command, examples
from cryptocast.cli.session import Session
from cryptocast.cli.values import moment
from cryptocast.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How it answers."""

    plan: Annotated[
        Literal["keyless", "demo", "pro"], typer.Option("--plan", metavar="PLAN", help="keyless, demo or pro.")
    ] = "keyless"
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            metavar="FAULTS",
            help="none; cycle (all in turn); the name of one; or a TOML or JSON file of rules.",
        ),
    ] = "none"
    rate_limit: Annotated[
        int, typer.Option("--rate-limit", min=0, max=1_000_000, help="Calls per minute; 0: no limit.")
    ] = 30
    quirks: Annotated[
        Literal["clean", "usual", "worst"],
        typer.Option("--quirks", metavar="SET", help="Irregularities of its series: clean, usual or worst."),
    ] = "usual"
    latency_ms: Annotated[float, typer.Option("--latency-ms", min=0.0, help="Delay of each answer.")] = 0.0


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
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port; 0: any free port.")] = 8900,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2_147_483_647, help="Seed of the prices.")] = 7,
    now: Annotated[
        str | None,
        typer.Option("--now", metavar="TIME", help="Start of its clock, UTC: 2026-01-31T23:58. Default: now."),
    ] = None,
    speed: Annotated[float, typer.Option("--speed", min=0.0, help="Speed of its clock; 0: it stands still.")] = 1.0,
    coins: Annotated[
        int, typer.Option("--coins", min=0, max=50_000, help="Number of extra coins: coin-000, coin-001, ...")
    ] = 100,
    behaviour: Behaviour,
) -> None:
    """Imitate CoinGecko on this machine, with scripted faults, for rehearsals and tests."""
    from cryptocast.rehearsal import FakeUpstream, instructions, run, script_of

    try:
        fake = FakeUpstream(
            port=port,
            seed=seed,
            plan=behaviour.plan,
            faults=script_of(behaviour.faults),
            limits=behaviour.rate_limit,
            now=moment("--now", now),
            speed=speed,
            coins=coins,
            quirks=behaviour.quirks,
            latency_s=behaviour.latency_ms / 1000,
        )
    except ValueError as error:
        raise UsageError(f"fake-upstream cannot do that: {error}.") from error

    def announce(listening: FakeUpstream) -> None:
        session.say(f"Imitating CoinGecko at {listening.url} (Ctrl-C stops). To use and control it:")
        for line in instructions(listening):
            session.say(f"  {line}")

    run(fake, announce)
