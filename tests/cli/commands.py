"""Command lines in processes of their own, and what they said. Shared by the tests of this room."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

__all__ = ["ROOT", "SETTINGS", "Ended", "Run", "check_fit", "finished", "started"]

ROOT = Path(__file__).resolve().parents[2]

# Small, so that a training takes a second: what is tested here is what is said about it.
SETTINGS = """
[data]
source = "sample"
coins = ["bitcoin", "ethereum"]
[train]
models = ["lightgbm"]
blocks = 2
audit = false
threads = 1
[lightgbm]
rounds = {rounds}
next_bar_rounds = {rounds}
min_data_in_leaf = 40
[forecast]
daily_horizons = [1, 7]
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Run: TypeAlias = Callable[..., Ended]


def started(*arguments: str, folder: Path, **environment: str) -> "subprocess.Popen[str]":
    """A command line in a process of its own, its output piped."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CRYPTOCAST_")}
    return subprocess.Popen(
        [sys.executable, "-m", "cryptocast", *arguments],
        cwd=folder,
        env={**inherited, "COLUMNS": "80", "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(*arguments: str, folder: Path, **environment: str) -> Ended:
    """The same, waited for."""
    process = started(*arguments, folder=folder, **environment)
    out, err = process.communicate(timeout=300)
    return Ended(process.returncode, out, err)


def check_fit(ended: Ended, columns: int) -> None:
    """What was shown fits the terminal, cuts nothing and steers nothing."""
    assert ended.code == 0, ended.err
    assert max(map(len, ended.out.splitlines())) <= columns
    assert "…" not in ended.out
    assert "\x1b" not in ended.out + ended.err
