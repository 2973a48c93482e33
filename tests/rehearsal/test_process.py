"""The stand-in as a command: what it prints, how it is used, how it ends."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cryptocast.rehearsal import FakeUpstream

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "cryptocast", "fake-upstream")


def environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CRYPTOCAST_")}
    return {**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}


@contextmanager
def playing(folder: Path, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", list[str]]]:
    """The process, and the lines it printed when it began to listen."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments],
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        yield process, [process.stderr.readline().strip() for _ in range(6)]
    finally:
        process.kill()
        process.wait(timeout=60)
        process.stderr.close()


def test_it_prints_how_to_use_it_and_that_works_and_it_ends_well(tmp_path: Path) -> None:
    with playing(tmp_path, "--plan", "demo", "--now", "2026-01-02T15:00", "--speed", "0", "--coins", "3") as (
        fake,
        said,
    ):
        found = re.search(r"http://127\.0\.0\.1:\d+", said[0])
        assert found is not None
        settings = dict(word.split("=", 1) for word in said[1].split() if "=" in word)
        fetched = subprocess.run(
            [sys.executable, "-m", "cryptocast", *said[1].split("cryptocast ")[-1].split(), "--json"],
            cwd=tmp_path,
            env={**environment(), **settings},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert fetched.returncode == 0, fetched.stderr
        assert '"bitcoin"' in fetched.stdout
        calls = httpx.get(f"{found[0]}/__control/calls").json()
        assert calls["endpoints"]["market_chart"] == 1
        assert calls["now"] == "2026-01-02T15:00:00+00:00"
        fake.send_signal(signal.SIGTERM)
        assert fake.wait(timeout=60) == 0


def test_faults_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text('[[rules]]\nfault = "error"\nstatus = 502\n', encoding="utf-8")
    with playing(tmp_path, "--faults", "faults.toml") as (_, said):
        address = said[0].split(" at ")[1].split(" ")[0]
        assert httpx.get(f"{address}/ping").status_code == 502


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--faults", "bogus"), "neither a fault nor a file"),
        (("--now", "yesterday"), "--now"),
        (("--now", "1999-01-01"), "2012 to 2045"),
        (("--port", "{taken}"), "in use"),
    ],
)
def test_a_slip_is_told_in_one_line(tmp_path: Path, arguments: tuple[str, str], words: str) -> None:
    with FakeUpstream(coins=0) as other:
        given = [word.format(taken=other.port) for word in arguments]
        ended = subprocess.run(
            [*COMMAND, *given],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert ended.returncode == 2
    assert words in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
