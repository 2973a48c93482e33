"""Signals that come before the server can hear them: while its modules are imported, for a second or more."""

import os
import signal
import sys
from types import FrameType


def outlive_the_start() -> None:
    """Until the server hears signals itself: leave with 0 when told to stop, ignore what it will ignore.

    The system's own way is to kill by all of them, which a supervisor counts as a failure. For the first process of a
    container it drops them, and whoever stops the container has to wait until it is killed.
    """
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGTERM", "SIGINT"):
        number = getattr(signal, name, None)  # Windows has but some of them
        if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            continue  # nohup: the server is to outlive its terminal
        stops = name in ("SIGTERM", "SIGINT") or (name == "SIGHUP" and at_terminal)
        signal.signal(number, _leave if stops else _ignore)


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as Python calls it
    # Nothing is begun yet that would have to be ended, and an exception could get lost in a module that is imported.
    os._exit(0)


def _ignore(number: int, frame: FrameType | None) -> None:
    """The server says so, once it runs."""
