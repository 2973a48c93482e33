"""Signals that come before the server can hear them: while its modules are imported, for a second or more."""

import os
import signal
import sys
from types import FrameType
from typing import Final

__all__ = ["outlive_the_start"]

STOPPING: Final = ("SIGTERM", "SIGINT")
IGNORED: Final = ("SIGHUP", "SIGUSR1", "SIGUSR2")  # of these the server says, once it runs, that it ignores them


def outlive_the_start() -> None:
    """Until the server hears signals itself: leave with 0 when told to stop, ignore what it will ignore.

    The system's own way is to kill by all of them, which a supervisor counts as a failure. For the first process of a
    container it drops them, and whoever stops the container has to wait until it is killed.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        for name in IGNORED:
            _set(name, _ignore)
    for name in STOPPING:
        _set(name, _leave)


def _set(name: str, handler: "signal._HANDLER") -> None:
    number = getattr(signal, name, None)  # Windows has but some of them
    if number is not None:
        signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as Python calls it
    # Nothing is begun yet that would have to be ended, and an exception could get lost in a module that is imported.
    os._exit(0)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN, which the server would take for nohup."""
