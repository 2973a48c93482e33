"""What the server counts: requests, fallbacks, upstream errors; as Prometheus metrics."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from cryptocast.net import Try
from cryptocast.serving.paths import OTHER

# Name, text, labels and value of a number; a name that ends with _total is a counter, another one a gauge.
Sample: TypeAlias = tuple[str, str, dict[str, str], float]

# OpenTelemetry's buckets of http.server.request.duration, and finer ones below, where most answers lie.
BUCKETS: Final = (
    *(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075),
    *(0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
UPSTREAM_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0)
TOO_MANY: Final = 429
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"})
FRESH_S: Final = 1.0  # a scrape takes milliseconds; many scrapers take no more of them than one


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted since the start. latencies: requests that took no longer, by the upper end of the bucket."""

    errors: int = 0
    fallbacks: int = 0
    upstream_errors: int = 0
    latencies: Counter[float] = msgspec.field(default_factory=Counter)


class Telemetry:
    """Counts on the event loop; `render`, `tried` and `forecast_made` may run in other threads. Labels come from fixed
    lists only."""

    def __init__(self) -> None:
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
        self._rendered: list[Sample] = []
        self._scraped, self._scraping = (0.0, b""), asyncio.Lock()
        self.registry.register(self)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request has its answer."""
        key = (method if method in METHODS else OTHER, route, status)  # a client may make up any number of methods
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._seconds.labels(key[0], route, str(status))
        child.observe(seconds)

    def count(self, what: str, label: str = "", number: int = 1) -> None:
        """Something happened, such as ("fallback", "baseline"): names and labels are words of the code."""
        self.counts[what, label] += number

    def tried(self, work: str, attempt: Try) -> None:
        """One request went to the upstream, for `work`: prices or bars."""
        status = "none" if attempt.status is None else f"{attempt.status // 100}xx"
        self._upstream.labels(work, "429" if attempt.status == TOO_MANY else status).observe(attempt.took_s)

    def forecast_made(self, model: str, seconds: float) -> None:
        """One forecast was computed, by this kind of model."""
        self._forecasts.labels(model).observe(seconds)

    def total(self, what: str) -> int:
        """How often, over all labels."""
        return sum(number for (name, _), number in self.counts.items() if name == what)

    def totals(self) -> Totals:
        """From the same figures that Prometheus scrapes."""
        errors, latencies = 0, Counter[float]()
        for sample in (sample for metric in self._seconds.collect() for sample in metric.samples):
            if sample.name.endswith("_bucket"):
                bound, number = float(sample.labels["le"]), int(sample.value)
                latencies[bound] += number
                errors += number if bound == math.inf and int(sample.labels["status"]) >= 500 else 0
        return Totals(
            errors=errors,
            fallbacks=self.total("fallback"),
            upstream_errors=self.total("upstream_error"),
            latencies=latencies,
        )

    async def scrape(self) -> bytes:
        """`render` in a thread, once a second at most."""
        async with self._scraping:
            at, body = self._scraped
            if time.monotonic() - at > FRESH_S or not body:
                body = await asyncio.to_thread(self.render, self.look())
                self._scraped = (time.monotonic(), body)
        return body

    def look(self) -> list[Sample]:
        """On the event loop, which owns what is looked at: the samples that `render` then writes."""
        return [sample for source in self.samples for sample in source()]

    def render(self, samples: Sequence[Sample] = ()) -> bytes:
        """What Prometheus scrapes. In a thread: writing it takes milliseconds, and some samples stand in files."""
        self._rendered = [*samples, *(sample for source in self.slow_samples for sample in source())]
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Our counters and gauges, as prometheus_client asks for them."""
        events = CounterMetricFamily("cryptocast_events", "What happened, by kind.", labels=("event", "kind"))
        for (what, label), number in sorted(dict(self.counts).items()):
            events.add_metric((what, label), number)
        yield events
        yield GaugeMetricFamily("http_server_active_requests", "Requests under way.", value=self.in_flight)
        yield GaugeMetricFamily(
            "cryptocast_event_loop_lag_seconds", "How late the event loop last was.", value=self.loop_lag_s
        )
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, text, labels, value in self._rendered:
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = families.setdefault(name, kind(name, text, labels=tuple(labels)))
            family.add_metric(tuple(labels.values()), value)
        yield from families.values()
