"""The last hour and the last day, minute by minute, from the figures of `/metrics`: which way each of them goes."""

import asyncio
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import msgspec
import psutil

from cryptocast.serving.telemetry import BUCKETS, Telemetry, Totals

log = logging.getLogger(__name__)

Direction: TypeAlias = Literal["better", "worse", "steady", "more", "fewer", "unknown"]

DAY_MINUTES: Final = 24 * 60
PULSE_S: Final = 0.5
MINUTE_S: Final = 60.0
# Neither better nor worse: requests, and sockets that do what they are there for; the others hang on.
NEUTRAL: Final = frozenset({"requests", "sockets_listen", "sockets_established"})
TOLERANCE: Final = 0.1  # changes below a tenth are noise
NOTHING: Final = 1e-9


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """One minute. Latencies in ms, from buckets; null: no request. Gauges are as they were at its end."""

    at: int  # Unix seconds of its end
    requests: int = 0
    errors: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    fallbacks: int = 0
    upstream_errors: int = 0
    open_breakers: int = 0
    rss_mb: float = 0.0
    loop_lag_ms: float = 0.0
    descriptors: int = 0
    sockets: dict[str, int] = {}


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """One number over a span: its mean in the older and in the newer half, and which way it goes. More requests and
    connections are neither better nor worse; with fewer than two minutes nothing is known."""

    older: float
    newer: float
    direction: Direction


@dataclass(slots=True)
class Pulse:
    """Measures the event loop twice a second and closes a minute of the day each minute."""

    telemetry: Telemetry
    open_breakers: Callable[[], int]
    clock: Callable[[], float] = time.monotonic
    process: psutil.Process = field(default_factory=psutil.Process)
    minutes: deque[Minute] = field(default_factory=lambda: deque(maxlen=DAY_MINUTES))
    _before: Totals = field(default_factory=Totals)
    _worst_lag_s: float = 0.0

    async def run(self) -> None:
        """Until it is cancelled."""
        ends = self.clock() + MINUTE_S
        while True:
            began = self.clock()
            await asyncio.sleep(PULSE_S)
            self.lagged(max(0.0, self.clock() - began - PULSE_S))
            if self.clock() >= ends:
                ends += MINUTE_S
                try:
                    self.close_minute(await asyncio.to_thread(self.sockets))
                except Exception:
                    log.exception("a minute of the trends is lost")

    def lagged(self, seconds: float) -> None:
        """The event loop came this much too late."""
        self.telemetry.loop_lag_s = seconds
        self._worst_lag_s = max(self._worst_lag_s, seconds)

    def close_minute(self, sockets: dict[str, int]) -> None:
        """The minute that ends now."""
        now = self.telemetry.totals()
        latencies = {bound: number - self._before.latencies[bound] for bound, number in now.latencies.items()}
        self.minutes.append(
            Minute(
                at=int(time.time()),
                requests=latencies.get(math.inf, 0),
                errors=now.errors - self._before.errors,
                p50_ms=_quantile_ms(latencies, 0.5),
                p95_ms=_quantile_ms(latencies, 0.95),
                p99_ms=_quantile_ms(latencies, 0.99),
                fallbacks=now.fallbacks - self._before.fallbacks,
                upstream_errors=now.upstream_errors - self._before.upstream_errors,
                open_breakers=self.open_breakers(),
                rss_mb=self.rss_mb(),
                loop_lag_ms=round(self._worst_lag_s * 1e3, 3),
                descriptors=self.descriptors(),
                sockets=sockets,
            )
        )
        self._before, self._worst_lag_s = now, 0.0

    def rss_mb(self) -> float:
        """Resident memory in MiB."""
        return float(round(self.process.memory_info().rss / 2**20, 1))

    def descriptors(self) -> int:
        """Open file descriptors; 0 on Windows."""
        return self.process.num_fds() if psutil.POSIX else 0

    def sockets(self) -> dict[str, int]:
        """TCP sockets of this process by state."""
        try:
            return dict(Counter(str(one.status) for one in self.process.net_connections(kind="tcp")))
        except (psutil.Error, OSError):
            return {}


def trends(minutes: Sequence[Minute]) -> dict[str, Trend]:
    """Each number of the minutes, sockets by their state among them, and which way its newer half goes against the
    older. Lower is better for all but the requests and the sockets in use."""
    rows = [_figures(minute) for minute in minutes]
    older, newer = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    names = dict.fromkeys(name for row in (_figures(Minute(at=0)), *rows) for name in row)
    return {name: _trend(name, _mean(older, name), _mean(newer, name)) for name in names}


def _figures(minute: Minute) -> dict[str, Any]:
    figures = msgspec.structs.asdict(minute)
    sockets = {f"sockets_{state.lower()}": number for state, number in figures.pop("sockets").items()}
    del figures["at"]
    return figures | sockets


def _trend(name: str, older: float | None, newer: float | None) -> Trend:
    direction: Direction = "unknown"
    if older is not None and newer is not None:
        change = newer - older
        words: tuple[Direction, Direction] = ("more", "fewer") if name in NEUTRAL else ("worse", "better")
        is_steady = abs(change) <= max(NOTHING, TOLERANCE * max(abs(older), abs(newer)))
        direction = "steady" if is_steady else words[0] if change > 0 else words[1]
    return Trend(older=round(older or 0.0, 4), newer=round(newer or 0.0, 4), direction=direction)


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [value for row in rows if (value := row.get(name, 0)) is not None]
    return sum(values) / len(values) if values else None


def _quantile_ms(latencies: Mapping[float, int], share: float) -> float | None:
    """The upper end of the bucket that holds the quantile. latencies: how many took no longer, by upper end."""
    requests = latencies.get(math.inf, 0)
    if not requests:
        return None
    bound = next(bound for bound in sorted(latencies) if latencies[bound] >= share * requests)
    return (bound if bound < math.inf else 2 * BUCKETS[-1]) * 1e3
