"""The stand-in as a process: until it is told to stop."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

from cryptocast.rehearsal.upstream import FakeUpstream

STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


def run(fake: FakeUpstream, announce: Callable[[FakeUpstream], None]) -> None:
    """Listen until SIGINT or SIGTERM; announce hears when it listens. Raises UsageError if the port is taken."""
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in STOPPING}
    try:
        with fake:
            announce(fake)
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def instructions(fake: FakeUpstream) -> tuple[str, ...]:
    """How to point cryptocast at it, and how to steer it: lines to copy."""
    section = "CRYPTOCAST_COINGECKO__"
    where = f"{section}{'PRO_BASE_URL' if fake.plan == 'pro' else 'BASE_URL'}={fake.url}"
    key = "" if fake.key is None else f" {section}PLAN={fake.plan} CRYPTOCAST_COINGECKO_API_KEY={fake.key}"
    control = f"{fake.origin}/__control"
    return (
        f"{where}{key} cryptocast fetch bitcoin --source coingecko",
        f"curl {control}/calls",
        f"""curl {control}/faults -d '{{"rules": [{{"fault": "truncated", "probability": 0.5}}]}}'""",
        f"""curl {control}/faults -d '"cycle"'""",
        f"""curl {control}/clock -d '{{"now": "2026-01-01T23:59:30Z", "speed": 60}}'""",
    )
