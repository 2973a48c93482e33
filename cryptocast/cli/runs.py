"""runs list, show, rm: the backtests that were recorded. `rerun` repeats one."""

from pathlib import Path
from typing import Annotated, Final

import typer

from cryptocast.cli.forecasts import Outputs
from cryptocast.cli.options import DryRun, Verbose, command, examples, group
from cryptocast.cli.session import Session
from cryptocast.errors import UsageError

PANEL: Final = "Models"

runs = typer.Typer(rich_markup_mode="rich")


def add_to(app: typer.Typer) -> None:
    """Hang these commands below the root."""
    group(runs, rich_help_panel=PANEL)(runs_group)
    command(runs, "list", epilog=examples("cryptocast runs list", "cryptocast runs list --json"))(list_recorded)
    command(
        runs,
        "show",
        epilog=examples("cryptocast runs show", "cryptocast runs show 1a2b3c4d5e6f7a8b --report report.html"),
    )(show_recorded)
    command(runs, "rm", epilog=examples("cryptocast runs rm 1a2b3c4d5e6f7a8b --dry-run"))(remove_recorded)
    app.add_typer(runs, name="runs", rich_help_panel=PANEL)


def runs_group() -> None:
    """List recorded backtests and tunings, show a backtest again, remove some."""


def list_recorded(session: Session) -> None:
    """List every recorded backtest and tuning: when, of which coins, over what time, and what was best."""
    from cryptocast.cli.screens.runs import runs_screen
    from cryptocast.workflows.backtesting.runs import list_runs

    session.show(list_runs(session.config.store.path, session.registry()), runs_screen)


def show_recorded(
    session: Session,
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Run id, or its folder. Default: the newest finished run.")
    ] = None,
    *,
    outputs: Outputs,
    verbose: Verbose = False,
) -> None:
    """Show a recorded backtest again as it was printed then; nothing is computed unless a file is asked for."""
    from cryptocast.cli.screens.backtest import backtest_screen
    from cryptocast.workflows.backtesting.runs import show_run

    files, context = outputs.files(), session.context()
    report = show_run(context, run, files)
    session.show(report, lambda report: backtest_screen(context, report, files.paths, verbose=verbose))


def remove_recorded(
    session: Session,
    names: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run ids.", show_default=False)],
    *,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Do not ask.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Remove recorded backtests; the evidence in the registry stays."""
    from cryptocast.cli.screens.runs import run_removal_screen
    from cryptocast.workflows.backtesting.runs import plan_run_removal, remove_runs

    store = session.config.store.path
    plan = plan_run_removal(store, session.registry(), names)
    if not dry_run and not yes:
        if not session.can_ask:
            raise UsageError("Nothing was removed: add --yes to remove the runs, or --dry-run to see what would go.")
        session.show(plan, run_removal_screen)
        dry_run = not typer.confirm("Remove them?")
    session.show(plan if dry_run else remove_runs(store, plan), run_removal_screen)
