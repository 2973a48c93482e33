"""serve, doctor."""

import os
from typing import Annotated, Final

import typer

from cryptocast.cli.options import command, examples
from cryptocast.cli.session import Session, failed

PANEL: Final = "Registry and service"
TOKEN: Final = "CRYPTOCAST_SERVE_TOKEN"  # noqa: S105 the name of the variable, not what it holds
ADMIN: Final = "CRYPTOCAST_SERVE_ADMIN_TOKEN"


def add_to(app: typer.Typer) -> None:
    """Hang these commands below the root."""
    command(
        app,
        "serve",
        default_level="info",
        rich_help_panel=PANEL,
        epilog=examples("cryptocast serve --port 8000", "curl 'localhost:8000/forecasts?ids=bitcoin'"),
    )(serve)
    command(
        app,
        "doctor",
        default_level="error",
        rich_help_panel=PANEL,
        epilog=examples("cryptocast doctor", "cryptocast doctor --offline --notify"),
    )(doctor)


def serve(
    session: Session,
    *,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65_535, help="Port. Default: 8000; 0: any free port.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", metavar="", help=f"Listen on other addresses without {TOKEN}.")
    ] = False,
    access_log: Annotated[
        bool, typer.Option("--access-log", metavar="", help="Write a line of JSON for each request to standard output.")
    ] = False,
) -> None:
    """Serve forecasts, live prices, health and metrics over HTTP, and a page at /."""
    from cryptocast.serving import run

    def announce(address: str) -> None:
        session.say(f"Serving {address}/ (API: {address}/docs; Ctrl-C stops)")

    token, admin = (os.environ.get(name, "").strip() or None for name in (TOKEN, ADMIN))
    context = session.context()
    run(
        context,
        host=host,
        port=port,
        token=token,
        admin_token=admin,
        insecure=insecure,
        access_log=access_log,
        announce=announce,
    )


def doctor(
    session: Session,
    *,
    offline: Annotated[bool, typer.Option("--offline", metavar="", help="Do not try to reach the upstream.")] = False,
    notify: Annotated[
        bool, typer.Option("--notify", metavar="", help="Send a test to the address in CRYPTOCAST_NOTIFY_URL.")
    ] = False,
) -> None:
    """Check settings, store, registry, API key, network and disk, and say what to fix."""
    from cryptocast.cli.screens.doctor import doctor_screen
    from cryptocast.workflows.doctor import ask_source, examine

    probe = None if offline else ask_source
    report = examine(session.common.config, environ=os.environ, probe=probe, try_notify=notify)
    wrong = [f"{check.name}: {check.found}" for check in report.checks if check.status == "fail"]
    session.show(report, doctor_screen, failed(next(iter(wrong), None), report.exit_code, len(wrong)))
