"""How the server is: alive, ready, each component, and which way its numbers go. Looks, and asks nobody."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec
import psutil

from cryptocast.data.sources.table import SOURCES
from cryptocast.files import write_refusal
from cryptocast.net import BreakerMetrics, BreakerState
from cryptocast.serving.telemetry import Minute, Sample, Telemetry, Trend, trends

__all__ = ["COMPONENTS", "Check", "Component", "Detail", "Health", "Pulse", "Readiness", "StoreRights", "TrendReport"]

log = logging.getLogger(__name__)

Status: TypeAlias = Literal["pass", "warn", "fail"]
COMPONENTS: Final = ("upstream", "breakers", "cache", "models", "store", "event_loop", "resources", "refresher")
# What kind of thing a component is by the draft, and what suffers with it.
KINDS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "upstream": ("component", ("/prices",)),
    "breakers": ("component", ("/prices", "/forecasts")),
    "cache": ("component", ("/forecasts",)),
    "models": ("component", ("/forecasts", "/")),
    "store": ("datastore", ("/forecasts", "/")),
    "event_loop": ("system", ("/",)),
    "resources": ("system", ("/",)),
    "refresher": ("component", ("/forecasts", "/")),
}
UNITS: Final = {"s": "s", "mb": "MiB", "bytes": "B"}
CACHE_SERIES: Final = {
    "forecasts": ("cryptocast_cache_forecasts", "Forecasts of one coin in memory."),
    "answers": ("cryptocast_cache_answers", "Finished answers in memory."),
    "answer_bytes": ("cryptocast_cache_answer_bytes", "Memory of the finished answers."),
    "hits": ("cryptocast_cache_hits_total", "Requests that a finished answer was there for."),
    "misses": ("cryptocast_cache_misses_total", "Requests that none was there for."),
    "evicted": ("cryptocast_cache_evicted_total", "Finished answers that went for lack of room."),
    "computed": ("cryptocast_cache_computed_total", "Forecasts that were computed."),
}
# What a store that cannot be written leaves undone.
FALLS_OUT: Final = (
    "no bars are fetched, no forecast goes into the ledger, no version is scored, and neither prices nor the counts of"
    " upstream calls are kept for other processes"
)
LAG_WARN_S: Final = 0.25
PULSE_S: Final = 0.5
MINUTE_S: Final = 60.0


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether to send requests here."""

    status: Status
    output: str | None = None


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the server, and the numbers behind its status."""

    name: str
    status: Status
    values: dict[str, Any]
    output: str | None = None


class Check(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One number of one part, as the draft of application/health+json has it (draft-inadarei-api-health-check-06)."""

    component_id: str
    component_type: str
    observed_value: int | float | str | bool | None
    observed_unit: str | None
    status: Status
    affected_endpoints: tuple[str, ...]  # where the status is not pass
    time: datetime
    output: str | None


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """All parts; the status is that of the worst, but nothing beyond this process makes it fail. `checks`: the same by
    "component:measurement"."""

    status: Status
    version: str
    uptime_s: int
    components: tuple[Component, ...]
    checks: dict[str, tuple[Check, ...]]


class TrendReport(msgspec.Struct, frozen=True, kw_only=True):
    """The last hour and the last day, newest minute last."""

    hour: dict[str, Trend]
    day: dict[str, Trend]
    minutes: tuple[Minute, ...]


@dataclass(slots=True)
class Pulse:
    """Measures the event loop twice a second and closes a minute of the telemetry each minute."""

    telemetry: Telemetry
    open_breakers: Callable[[], int]
    clock: Callable[[], float] = time.monotonic
    process: psutil.Process = field(default_factory=psutil.Process)

    async def run(self) -> None:
        """Until it is cancelled."""
        ends = self.clock() + MINUTE_S
        while True:
            began = self.clock()
            await asyncio.sleep(PULSE_S)
            self.telemetry.lagged(max(0.0, self.clock() - began - PULSE_S))
            if self.clock() >= ends:
                ends += MINUTE_S
                try:
                    sockets = await asyncio.to_thread(self.sockets)
                    self.close_minute(sockets)
                except Exception:
                    log.exception("a minute of the trends is lost")

    def close_minute(self, sockets: dict[str, int]) -> None:
        """The minute that ends now."""
        self.telemetry.close_minute(
            rss_mb=round(self.process.memory_info().rss / 2**20, 1),
            descriptors=self.descriptors(),
            sockets=sockets,
            open_breakers=self.open_breakers(),
        )

    def descriptors(self) -> int:
        """Open file descriptors; 0 where the system does not tell."""
        with contextlib.suppress(OSError):
            return sum(1 for _ in Path("/proc/self/fd").iterdir())
        return 0

    def sockets(self) -> dict[str, int]:
        """TCP sockets of this process by state."""
        try:
            return dict(Counter(str(one.status) for one in self.process.net_connections(kind="tcp")))
        except (psutil.Error, OSError):
            return {}


@dataclass(slots=True)
class StoreRights:
    """Whether the store may be written, as it was found last. refusal: as the system said; None where it may."""

    folder: Path
    refusal: str | None = None

    def look(self) -> None:
        """Find out, by writing; in a thread."""
        before, self.refusal = self.refusal, write_refusal(self.folder)
        if self.refusal is not None and self.refusal != before:
            log.warning("the store %s cannot be written (%s): it is served as it is", self.folder, self.refusal)
        elif self.refusal is None and before is not None:
            log.info("the store %s can be written again", self.folder)


@dataclass(slots=True)
class Health:
    """What the health endpoints say. The functions look at what is in memory."""

    telemetry: Telemetry
    pulse: Pulse
    version: str
    breakers: Callable[[], Mapping[str, BreakerMetrics]]
    cache: Callable[[], dict[str, Any]]
    models: Callable[[], dict[str, Any]]
    store: Callable[[], dict[str, Any]]
    refresher: Callable[[], dict[str, Any]]
    degraded: Callable[[], tuple[str, ...]]
    has_answered: Callable[[], bool]
    wall_clock: Callable[[], datetime]
    draining: bool = False
    started_at: float = field(default_factory=time.monotonic)

    def ready(self, detail: Detail | None = None) -> Readiness:
        """fail while it drains or has not yet made a forecast; warn while it answers with less than it should. detail:
        of now, if the caller has it."""
        if self.draining:
            return Readiness(status="fail", output="The server is being stopped.")
        if not self.has_answered():
            return Readiness(status="fail", output="No forecast has been made yet.")
        worst = [part for part in (detail or self.detail()).components if part.status != "pass"]
        if worst:
            return Readiness(status="warn", output="; ".join(f"{part.name}: {part.output}" for part in worst))
        return Readiness(status="pass")

    def detail(self) -> Detail:
        """Every component."""
        parts = tuple(self.component(name) for name in COMPONENTS)
        status: Status = "pass" if all(part.status == "pass" for part in parts) else "warn"
        return Detail(
            status="fail" if any(part.status == "fail" for part in parts) else status,
            version=self.version,
            uptime_s=int(time.monotonic() - self.started_at),
            components=parts,
            checks=dict(self._checks(parts)),
        )

    def _checks(self, parts: Iterable[Component]) -> Iterator[tuple[str, tuple[Check, ...]]]:
        now = self.wall_clock()
        for part in parts:
            kind, endpoints = KINDS[part.name]
            for name, value in part.values.items():
                if isinstance(value, dict):
                    continue  # a breaker: /health/components/breakers tells of each
                check = Check(
                    component_id=part.name,
                    component_type=kind,
                    observed_value=value,
                    observed_unit=UNITS.get(name.rpartition("_")[2]),
                    status=part.status,
                    affected_endpoints=() if part.status == "pass" else endpoints,
                    time=now,
                    output=part.output,
                )
                yield f"{part.name}:{name}", (check,)

    def component(self, name: str) -> Component:
        """One component by its name, which must be one of COMPONENTS."""
        looks: dict[str, Callable[[], tuple[Status, dict[str, Any], str | None]]] = {
            "upstream": self._upstream,
            "breakers": self._breakers,
            "cache": lambda: ("pass", self.cache(), None),
            "models": self._models,
            "store": self._store,
            "event_loop": self._loop,
            "resources": self._resources,
            "refresher": self._refresher,
        }
        status, values, output = looks[name]()
        return Component(name=name, status=status, values=values, output=output)

    def trends(self) -> TrendReport:
        """The ring of minutes."""
        minutes = tuple(self.telemetry.minutes)
        return TrendReport(hour=trends(minutes[-60:]), day=trends(minutes), minutes=minutes[-60:])

    def _upstream(self) -> tuple[Status, dict[str, Any], str | None]:
        failures = self.telemetry.total("upstream_error")
        stopped = [name.partition(" ")[0] for name, one in self.breakers().items() if _is_open(one)]
        titles = [source.title for source in SOURCES.values() if source.name in stopped]
        values = {"errors": failures, "calls_are_stopped": bool(titles)}
        return ("warn" if titles else "pass"), values, f"{', '.join(titles)} is not called now" if titles else None

    def _breakers(self) -> tuple[Status, dict[str, Any], str | None]:
        all_of = self.breakers()
        is_open = [name for name, one in all_of.items() if _is_open(one)]
        values = {name: msgspec.to_builtins(one) for name, one in all_of.items()}
        return ("warn" if is_open else "pass"), values, f"{', '.join(is_open)} open" if is_open else None

    def _models(self) -> tuple[Status, dict[str, Any], str | None]:
        values = self.models()
        if not values["forecasts"]:
            return "fail", values, "no forecast has been made yet"
        if degraded := self.degraded():
            return "warn", values, "; ".join(degraded)
        weak = values["baseline"] == values["forecasts"]
        return ("warn" if weak else "pass"), values, "every forecast is the baseline's" if weak else None

    def _store(self) -> tuple[Status, dict[str, Any], str | None]:
        values = self.store()
        said = []
        if values["write_refusal"] is not None:
            said.append(f"it cannot be written ({values['write_refusal']}), so it is served as it is: {FALLS_OUT}")
        if values["stale"] or values["on_sample"]:
            said.append("forecasts rest on stale or sample candles")
        return ("warn" if said else "pass"), values, "; ".join(said) or None

    def _loop(self) -> tuple[Status, dict[str, Any], str | None]:
        lag = self.telemetry.loop_lag_s
        late = lag > LAG_WARN_S
        values = {"lag_s": round(lag, 4), "in_flight": self.telemetry.in_flight}
        return ("warn" if late else "pass"), values, f"the event loop is {lag:.2f} s late" if late else None

    def _resources(self) -> tuple[Status, dict[str, Any], str | None]:
        process = self.pulse.process
        values = {
            "rss_mb": round(process.memory_info().rss / 2**20, 1),
            "cpu_s": round(sum(process.cpu_times()[:2]), 2),
            "threads": process.num_threads(),
            "descriptors": self.pulse.descriptors(),
        }
        return "pass", values, None

    def _refresher(self) -> tuple[Status, dict[str, Any], str | None]:
        values = self.refresher()
        if values.get("lock_refusal") is not None:
            return "warn", values, f"no lock can be had in the store ({values['lock_refusal']}): nothing is refreshed"
        error = values["last_error"]
        return ("warn" if error else "pass"), values, "the last refresh failed" if error else None

    def samples(self) -> Iterator[Sample]:
        """For `Telemetry.samples`: breakers, caches, forecasts, the process."""
        detail = self.detail()  # looked at once: with many forecasts each look takes milliseconds
        values = {part.name: part.values for part in detail.components}
        for name, one in self.breakers().items():
            labels = {"breaker": name}
            text = "1 for the state that the breaker is in."
            for state in BreakerState:
                yield "cryptocast_breaker_state", text, {**labels, "state": str(state)}, float(one.state is state)
            yield "cryptocast_breaker_rejected_total", "Calls that the breaker rejected.", labels, float(one.rejected)
            yield "cryptocast_breaker_opened_total", "How often it opened.", labels, float(one.opened)
            yield "cryptocast_breaker_state_seconds", "How long it is in its state.", labels, one.in_state_s
        for key, value in values["cache"].items():
            name, text = CACHE_SERIES[key]
            yield name, text, {}, float(value)
        for key, value in values["models"].items():
            if isinstance(value, int):
                yield "cryptocast_forecasts", "Forecasts in memory, by what they rest on.", {"what": key}, float(value)
        age_s = float(values["store"]["oldest_bar_age_s"])
        yield "cryptocast_oldest_bar_age_seconds", "Age of the oldest last bar that a forecast rests on.", {}, age_s
        process = self.pulse.process
        yield "process_resident_memory_bytes", "Resident memory.", {}, float(process.memory_info().rss)
        yield "process_open_fds", "Open file descriptors.", {}, float(self.pulse.descriptors())
        yield "process_cpu_seconds_total", "Processor time.", {}, float(sum(process.cpu_times()[:2]))
        yield (
            "cryptocast_ready",
            "1 while requests should be sent here.",
            {},
            float(self.ready(detail).status != "fail"),
        )


def _is_open(one: BreakerMetrics) -> bool:
    return one.state in (BreakerState.OPEN, BreakerState.FORCED_OPEN)
