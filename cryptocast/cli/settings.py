"""config init, show: a file of settings to begin with, and the settings in force."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from cryptocast.cli.options import command, examples, group
from cryptocast.cli.session import Session
from cryptocast.errors import DataError, UsageError

PANEL: Final = "Registry and service"
USUAL: Final = Path("config.toml")

config = typer.Typer(rich_markup_mode="rich")


def add_to(app: typer.Typer) -> None:
    """Hang these commands below the root."""
    group(config, rich_help_panel=PANEL)(config_group)
    command(
        config, "init", epilog=examples("cryptocast config init", "cryptocast config init --config live.toml --force")
    )(init)
    command(config, "show", epilog=examples("cryptocast config show", "cryptocast config show --json"))(show)
    app.add_typer(config, name="config", rich_help_panel=PANEL)


def config_group() -> None:
    """Write a commented settings file; see the settings in force and where each comes from."""


def init(
    session: Session,
    *,
    force: Annotated[bool, typer.Option("--force", metavar="", help="Replace a file that is there already.")] = False,
) -> None:
    """Write every setting with its default and a comment to config.toml, or to the file named by --config."""
    from cryptocast.cli.listings import SettingsFile
    from cryptocast.cli.screens.settings import settings_file_screen
    from cryptocast.config_text import config_text
    from cryptocast.files import replace_file

    path = session.common.config or USUAL
    if path.exists() and not force:
        raise UsageError(f"{path} is there already. To replace it: --force. To write another: --config FILE.")
    try:
        replace_file(path, config_text().encode(), own=False)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}. Name another: --config FILE.") from error
    session.show(SettingsFile(path=str(path)), settings_file_screen)


def show(session: Session) -> None:
    """Show every setting in force: its value and whether it is a default, or from the file or the environment."""
    from cryptocast.cli.listings import settings_document
    from cryptocast.cli.screens.settings import settings_screen

    session.show(settings_document(session.config, session.common.config, os.environ), settings_screen)
