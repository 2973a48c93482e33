"""The settings in force, as TOML that says where each value comes from."""

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.listings import SettingRow, SettingsDocument, SettingsFile
from cryptocast.cli.tables import note
from cryptocast.config_text import toml_value

LONG: Final = 60
STYLES: Final = {"default": "dim", "file": "green", "environment": "cyan"}


def settings_screen(document: SettingsDocument) -> Iterator[RenderableType]:
    """Section by section, then the secrets, of which only their presence is shown."""
    yield note(f"# {'There is no config.toml here.' if document.file is None else f'The file is {document.file}.'}")
    for section, rows in groupby(document.settings, key=lambda row: row.section):
        yield Text(f"\n[{section}]", style="bold")
        yield from map(_line, rows)
    yield Text("\n# Secrets, which are read from the environment only", style="bold")
    for secret in document.secrets:
        state, style = ("set", "cyan") if secret.is_set else ("not set", "dim")
        yield Text(f"# {secret.name}: {state}", style=style)


def _line(row: SettingRow) -> Text:
    line = f"{row.key} = {toml_value(row.value)}"
    # A comment that was broken off a long line would be no TOML; a list may go over several.
    is_long = len(line) > LONG
    text = f"# {row.origin}\n{line}" if is_long else f"{line}  # {row.origin}"
    return Text(text, style=STYLES[row.origin])


def settings_file_screen(file: SettingsFile) -> Iterator[RenderableType]:
    """Where it is."""
    yield Text(f"Wrote {file.path}, with every setting as it is by default.")
    yield note("Delete what you do not change. To see what is in force: cryptocast config show")
