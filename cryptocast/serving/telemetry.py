"""What the server counts: requests, fallbacks, upstream errors; as Prometheus metrics and as minutes of a day."""

import bisect
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["DAY_MINUTES", "Minute", "Telemetry", "Trend", "trends"]

# OpenTelemetry's buckets of http.server.request.duration, and finer ones below, where most answers lie.
BUCKETS: Final = (
    *(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075),
    *(0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
DAY_MINUTES: Final = 24 * 60
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"})
OTHER: Final = "_OTHER"


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
    """One number over a span: its mean in the older and in the newer half, and which way it goes."""

    older: float
    newer: float
    direction: str  # better, worse, steady, unknown


class Telemetry:
    """Counts on the event loop; `render` may run in another thread. Labels come from fixed lists only."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "http_server_request_duration_seconds",
            "Time from the request to the end of its answer.",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._children: dict[tuple[str, str, int], Any] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.in_flight = 0
        self.loop_lag_s = 0.0
        self.gauges: list[Callable[[], Iterator[tuple[str, str, dict[str, str], float]]]] = []
        self.minutes: deque[Minute] = deque(maxlen=DAY_MINUTES)
        self._latencies = [0] * (len(BUCKETS) + 1)
        self._requests = self._errors = 0
        self._worst_lag_s = 0.0
        self._before: Counter[str] = Counter()
        self.registry.register(_Families(self))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request has its answer."""
        key = (method, route, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._seconds.labels(
                method if method in METHODS else OTHER, route, str(status)
            )
        child.observe(seconds)
        self._requests += 1
        self._errors += status >= 500
        self._latencies[bisect.bisect_left(BUCKETS, seconds)] += 1

    def count(self, what: str, label: str = "", number: int = 1) -> None:
        """Something happened, such as ("fallback", "baseline"): names and labels are words of the code."""
        self.counts[what, label] += number

    def total(self, what: str) -> int:
        """How often, over all labels."""
        return sum(number for (name, _), number in self.counts.items() if name == what)

    def lagged(self, seconds: float) -> None:
        """The event loop came this much too late."""
        self.loop_lag_s = seconds
        self._worst_lag_s = max(self._worst_lag_s, seconds)

    def close_minute(self, *, rss_mb: float, descriptors: int, sockets: dict[str, int], open_breakers: int) -> Minute:
        """The minute that ends now goes into the ring of a day."""
        fallbacks, upstream = self._since("fallback"), self._since("upstream_error")
        p50, p95, p99 = (self._quantile_ms(share) for share in (0.5, 0.95, 0.99))
        minute = Minute(
            at=int(self._clock()),
            requests=self._requests,
            errors=self._errors,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            fallbacks=fallbacks,
            upstream_errors=upstream,
            open_breakers=open_breakers,
            rss_mb=rss_mb,
            loop_lag_ms=round(self._worst_lag_s * 1e3, 3),
            descriptors=descriptors,
            sockets=sockets,
        )
        self.minutes.append(minute)
        self._latencies = [0] * (len(BUCKETS) + 1)
        self._requests = self._errors = 0
        self._worst_lag_s = 0.0
        return minute

    def render(self) -> bytes:
        """What Prometheus scrapes."""
        return generate_latest(self.registry)

    def _since(self, what: str) -> int:
        now = self.total(what)
        since, self._before[what] = now - self._before[what], now
        return since

    def _quantile_ms(self, share: float) -> float | None:
        if not self._requests:
            return None
        wanted, seen = share * self._requests, 0
        for index, number in enumerate(self._latencies):
            seen += number
            if seen >= wanted:
                return (BUCKETS[index] if index < len(BUCKETS) else 2 * BUCKETS[-1]) * 1e3
        return None


class _Families:
    """Our counters and gauges, read when they are asked for."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client asks."""
        telemetry = self._telemetry
        events = CounterMetricFamily("cryptocast_events", "What happened, by kind.", labels=("event", "kind"))
        for (what, label), number in sorted(dict(telemetry.counts).items()):
            events.add_metric((what, label), number)
        yield events
        yield GaugeMetricFamily("http_server_active_requests", "Requests under way.", value=telemetry.in_flight)
        yield GaugeMetricFamily(
            "cryptocast_event_loop_lag_seconds", "How late the event loop last was.", value=telemetry.loop_lag_s
        )
        families: dict[str, GaugeMetricFamily] = {}
        for source in telemetry.gauges:
            for name, text, labels, value in source():
                family = families.setdefault(name, GaugeMetricFamily(name, text, labels=tuple(labels)))
                family.add_metric(tuple(labels.values()), value)
        yield from families.values()


LOWER_IS_BETTER: Final = ("errors", "p50_ms", "p95_ms", "p99_ms", "fallbacks", "upstream_errors", "open_breakers")
GROWTH_IS_BAD: Final = ("rss_mb", "loop_lag_ms", "descriptors")
TOLERANCE: Final = 0.1  # changes below a tenth are noise


def trends(minutes: Sequence[Minute]) -> dict[str, Trend]:
    """Each number of the minutes, and whether its newer half is better or worse than the older. Lower is better."""
    half = len(minutes) // 2
    found = {}
    for name in (*LOWER_IS_BETTER, *GROWTH_IS_BAD):
        older, newer = _mean(minutes[:half], name), _mean(minutes[half:], name)
        if older is None or newer is None:
            found[name] = Trend(older=older or 0.0, newer=newer or 0.0, direction="unknown")
            continue
        change = newer - older
        steady = abs(change) <= TOLERANCE * max(abs(older), abs(newer)) or abs(change) < 1e-9
        direction = "steady" if steady else "worse" if change > 0 else "better"
        found[name] = Trend(older=round(older, 4), newer=round(newer, 4), direction=direction)
    return found


def _mean(minutes: Sequence[Minute], name: str) -> float | None:
    values = [value for minute in minutes if (value := getattr(minute, name)) is not None]
    return sum(values) / len(values) if values else None
