"""How much SQLite does for an answer: the steps of its virtual machine, which are the same on every machine."""

import sqlite3
from collections.abc import Callable
from typing import Any, Final

import pytest

# An index leads to what is asked for in some hundred; to look at ten thousand rows takes tens of thousands.
FEW_STEPS: Final = 5_000


def steps_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """A function that counts the steps of a question to any registry."""
    count = 0
    connect = sqlite3.connect

    def counting(*arguments: Any, **options: Any) -> sqlite3.Connection:
        def step() -> int:
            nonlocal count
            count += 1
            return 0

        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_progress_handler(step, 1)
        return connection

    def steps(ask: Callable[[], object]) -> int:
        nonlocal count
        count = 0
        ask()
        assert count > 0  # else nothing was asked
        return count

    monkeypatch.setattr(sqlite3, "connect", counting)
    return steps
