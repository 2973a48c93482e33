"""The findings of the doctor."""

from collections.abc import Iterator
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.tables import Column, Sheet
from cryptocast.workflows.doctor import DoctorCheck, DoctorReport

STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}
SUMMARY: Final = {
    "ok": "Everything is fine.",
    "warn": "It works; see the warnings for what could be better.",
    "fail": "Fix what failed first.",
}


def doctor_screen(report: DoctorReport) -> Iterator[RenderableType]:
    """A line for each check, with what to do."""
    columns = (Column("check"), Column(""), Column("found", wraps=True))
    rows = [(check.name, Text(check.status, style=STYLES[check.status]), _text(check)) for check in report.checks]
    yield Sheet(columns, rows)
    yield Text(SUMMARY[report.status], style=STYLES[report.status])


def _text(check: DoctorCheck) -> Text:
    text = Text(check.found)
    if check.next is not None:
        text.append(f"\n-> {check.next}", style="cyan")
    return text
