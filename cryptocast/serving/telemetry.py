"""What the server counts: requests, fallbacks, upstream errors; as Prometheus metrics and as minutes of a day."""

import bisect
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from cryptocast.net import Try

__all__ = ["DAY_MINUTES", "Minute", "Sample", "Telemetry", "Trend", "trends"]

# Name, text, labels and value of a number; a name that ends with _total is a counter, another one a gauge.
Sample: TypeAlias = tuple[str, str, dict[str, str], float]
Direction: TypeAlias = Literal["better", "worse", "steady", "more", "fewer", "unknown"]

# OpenTelemetry's buckets of http.server.request.duration, and finer ones below, where most answers lie.
BUCKETS: Final = (
    *(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075),
    *(0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
UPSTREAM_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0)
TOO_MANY: Final = 429
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
    """One number over a span: its mean in the older and in the newer half, and which way it goes. More requests and
    connections are neither better nor worse; with fewer than two minutes nothing is known."""

    older: float
    newer: float
    direction: Direction


class Telemetry:
    """Counts on the event loop; `render`, `tried` and `forecast_made` may run in other threads. Labels come from fixed
    lists only."""

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
        self._upstream = Histogram(
            "cryptocast_upstream_request_duration_seconds",
            "Time of each request that went to the upstream, tries that failed included.",
            ("work", "status"),
            buckets=UPSTREAM_BUCKETS,
            registry=self.registry,
        )
        self._forecasts = Histogram(
            "cryptocast_forecast_duration_seconds",
            "Time to make one forecast, by the model that made it.",
            ("model",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._children: dict[tuple[str, str, int], Any] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.in_flight = 0
        self.loop_lag_s = 0.0
        self.samples: list[Callable[[], Iterator[Sample]]] = []
        self.slow_samples: list[Callable[[], Iterator[Sample]]] = []
        self.looked: list[Sample] = []
        self.minutes: deque[Minute] = deque(maxlen=DAY_MINUTES)
        self._latencies = [0] * (len(BUCKETS) + 1)
        self._requests = self._errors = 0
        self._worst_lag_s = 0.0
        self._before: Counter[str] = Counter()
        self.registry.register(_Families(self))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request has its answer."""
        key = (method if method in METHODS else OTHER, route, status)  # a client may make up any number of methods
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._seconds.labels(key[0], route, str(status))
        child.observe(seconds)
        self._requests += 1
        self._errors += status >= 500
        self._latencies[bisect.bisect_left(BUCKETS, seconds)] += 1

    def count(self, what: str, label: str = "", number: int = 1) -> None:
        """Something happened, such as ("fallback", "baseline"): names and labels are words of the code."""
        self.counts[what, label] += number

    def tried(self, work: str, tried: Try) -> None:
        """One request went to the upstream, for `work`: prices or bars."""
        status = "none" if tried.status is None else f"{tried.status // 100}xx"
        self._upstream.labels(work, "429" if tried.status == TOO_MANY else status).observe(tried.took_s)

    def forecast_made(self, model: str, seconds: float) -> None:
        """One forecast was computed, by this kind of model."""
        self._forecasts.labels(model).observe(seconds)

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

    def look(self) -> list[Sample]:
        """On the event loop, which owns what is looked at: the samples that `render` then writes."""
        return [sample for source in self.samples for sample in source()]

    def render(self, looked: Sequence[Sample] = ()) -> bytes:
        """What Prometheus scrapes. In a thread: writing it takes milliseconds, and some samples stand in files."""
        self.looked = [*looked, *(sample for source in self.slow_samples for sample in source())]
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
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, text, labels, value in telemetry.looked:
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = families.setdefault(name, kind(name, text, labels=tuple(labels)))
            family.add_metric(tuple(labels.values()), value)
        yield from families.values()


LOWER_IS_BETTER: Final = (
    *("errors", "p50_ms", "p95_ms", "p99_ms", "fallbacks", "upstream_errors", "open_breakers"),
    *("rss_mb", "loop_lag_ms", "descriptors"),
)
IN_USE: Final = ("LISTEN", "ESTABLISHED")  # sockets that do what they are there for; the others hang on
TOLERANCE: Final = 0.1  # changes below a tenth are noise
NOTHING: Final = 1e-9


def trends(minutes: Sequence[Minute]) -> dict[str, Trend]:
    """Each number of the minutes, sockets by their state among them, and which way its newer half goes against the
    older. Lower is better for all but the requests and the sockets in use."""
    older, newer = minutes[: len(minutes) // 2], minutes[len(minutes) // 2 :]
    found = {"requests": _trend(_mean(older, "requests"), _mean(newer, "requests"), ("more", "fewer"))}
    for name in LOWER_IS_BETTER:
        found[name] = _trend(_mean(older, name), _mean(newer, name), ("worse", "better"))
    for state in sorted({state for minute in minutes for state in minute.sockets}):
        before, now = (_mean_of([float(minute.sockets.get(state, 0)) for minute in half]) for half in (older, newer))
        words: tuple[Direction, Direction] = ("more", "fewer") if state in IN_USE else ("worse", "better")
        found[f"sockets_{state.lower()}"] = _trend(before, now, words)
    return found


def _trend(older: float | None, newer: float | None, words: tuple[Direction, Direction]) -> Trend:
    if older is None or newer is None:
        return Trend(older=older or 0.0, newer=newer or 0.0, direction="unknown")
    change = newer - older
    steady = abs(change) <= max(NOTHING, TOLERANCE * max(abs(older), abs(newer)))
    direction: Direction = "steady" if steady else words[0] if change > 0 else words[1]
    return Trend(older=round(older, 4), newer=round(newer, 4), direction=direction)


def _mean(minutes: Sequence[Minute], name: str) -> float | None:
    return _mean_of([value for minute in minutes if (value := getattr(minute, name)) is not None])


def _mean_of(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
