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


def last_line(bar: Bar, file: io.StringIO, of: str) -> str:
    """What a terminal shows of the work last, before it is cleared away."""
    assert bar._bars is not None
    bar._bars.refresh()  # which its thread does ten times a second
    lines = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()))
    return [line for line in lines if of in line][-1]


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize(("step_s", "left"), [(0.1, "2.1 min left"), (20.0, "6.8 h left")])
@pytest.mark.parametrize("task", ["fetch", "hours, about 13 min"])
def test_a_bar_tells_how_far_how_fast_how_long_and_of_which_coin(
    width: int, task: str, step_s: float, left: str
) -> None:
    file, now = io.StringIO(), [0.0]
    console = Console(file=file, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    bar = Bar(console, clock=lambda: now[0])
    bar.begin(task, 1234)
    for _ in range(3):
        now[0] += step_s
        bar.step("ethereum-classic to 2019-03-01")
    last = last_line(bar, file, "1234")
    bar.close()
    assert "…" not in last
    assert len(last) <= width
    assert re.search(rf"{task} [━╸ ]{{8,}} +3/1234 .*a minute +{left}$", last.rstrip()), last
    assert ("ethereum-classic" in last) == (width == 140 or task == "fetch")
    assert ("2019-03-01" in last) == (width == 140)


def test_the_time_left_runs_down_while_a_step_lasts() -> None:
    file, now = io.StringIO(), [0.0]
    console = Console(file=file, force_terminal=True, width=80, color_system=None, legacy_windows=False)
    bar = Bar(console, clock=lambda: now[0])
    bar.begin("training lightgbm", 8)
    assert "left" not in last_line(bar, file, "0/8")
    for _ in range(2):
        now[0] += 10
        bar.step("lightgbm, 30 bars ahead")
    said = []
    for _ in range(4):
        said.append(re.findall(r"(\S+ \S+) left", last_line(bar, file, "2/8"))[-1])
        now[0] += 4
    bar.close()
    assert said == [
        "60 s",
        "56 s",
        "52 s",
        "50 s",
    ]  # a step takes 10 s; what it takes longer says nothing of the others


def test_without_a_terminal_a_long_phase_is_told_every_half_minute_and_a_short_one_not_at_all() -> None:
    file, now = io.StringIO(), [0.0]
    lines = Lines(Console(file=file, width=80), clock=lambda: now[0])
    lines.begin("fetch", 400)
    for _ in range(12):
        now[0] += 10
        lines.step("bitcoin to 2015-01-01")
    lines.end()
    lines.step("too late")
    assert file.getvalue().splitlines() == [
        "fetch: 3 of 400, 6 a minute, 66.2 min left (bitcoin to 2015-01-01)",
        "fetch: 6 of 400, 6 a minute, 65.7 min left (bitcoin to 2015-01-01)",
        "fetch: 9 of 400, 6 a minute, 65.2 min left (bitcoin to 2015-01-01)",
        "fetch: 12 of 400, 6 a minute, 64.7 min left (bitcoin to 2015-01-01)",
    ]


def test_where_a_machine_reads_along_nothing_is_shown() -> None:
    console, file = terminal()
    quiet = shown_progress(console, quiet=True)
    quiet.begin("fetch", 2)
    quiet.step("bitcoin")
    quiet.end()
    assert file.getvalue() == ""
