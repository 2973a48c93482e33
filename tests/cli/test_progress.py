"""Long work, shown."""

import io
import json
import logging
import re
from pathlib import Path

import pytest
from rich.console import Console

from cryptocast.cli.progress import Bar, Lines, shown_progress
from tests.cli.commands import Run


def terminal() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=80, color_system=None, legacy_windows=False), file


def test_a_terminal_shows_a_bar_with_the_time_left_and_clears_it_away() -> None:
    console, file = terminal()
    bar = shown_progress(console)
    bar.begin("training", 4)
    bar.begin("inner", 1)
    bar.step("x")
    bar.end()
    bar.step("[red]1 bar ahead")
    bar.end()
    said = file.getvalue()
    assert "training" in said
    assert "/4" in said
    assert said.endswith("\x1b[2K") or "\x1b[1A" in said  # the lines are taken back


def test_a_bar_that_was_broken_off_is_gone_after_close() -> None:
    console, file = terminal()
    bar = Bar(console)
    bar.begin("training", 4)
    bar.close()
    before = len(file.getvalue())
    bar.step("too late")
    bar.end()
    bar.close()
    assert len(file.getvalue()) == before


def test_elsewhere_each_phase_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    lines = shown_progress(Console(file=io.StringIO()))
    assert isinstance(lines, Lines)
    with caplog.at_level(logging.INFO, "cryptocast"):
        lines.begin("training", 2)
        lines.step("1 bar ahead")
        lines.step("7 bars ahead")
        lines.end()
        lines.end()
        lines.close()
    first, last = (record.getMessage() for record in caplog.records)
    assert first == "training: 2 steps"
    assert last.startswith("training: done in ")


def test_long_work_is_told_in_lines_when_asked_for(run: Run, trained: Path) -> None:
    ended = run("features", "bitcoin", "--log-level", "info", folder=trained)
    assert re.search(r"info cryptocast\.cli\.progress: features: done in", ended.err)
    as_json = run("features", "bitcoin", "--log-level", "info", "--log-format", "json", folder=trained)
    assert {json.loads(line)["level"] for line in as_json.err.splitlines()} == {"info"}
    assert run("features", "bitcoin", folder=trained).err == ""
