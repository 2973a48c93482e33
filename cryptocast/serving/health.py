"""How the server is: alive, ready, each component, and which way its numbers go. Looks, and asks nobody."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

import cryptocast
from cryptocast.data.sources.base import Source
from cryptocast.data.sources.sample.source import SAMPLE
from cryptocast.files import write_refusal
from cryptocast.net import Breaker, Breakers, BreakerState
from cryptocast.serving.problems import without_folders
from cryptocast.serving.telemetry import Sample
from cryptocast.serving.trends import Minute, Pulse, Trend, trends
from cryptocast.times import Moment

if TYPE_CHECKING:
    from cryptocast.serving.wiring import Server

log = logging.getLogger(__name__)

Status: TypeAlias = Literal["pass", "warn", "fail"]
# What kind of thing a component is by the draft.
COMPONENTS: Final[Mapping[str, str]] = {
    "upstream": "component",
    "breakers": "component",
    "cache": "component",
    "models": "component",
    "store": "datastore",
    "event_loop": "system",
    "resources": "system",
    "refresher": "component",
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
OPEN: Final = (BreakerState.OPEN, BreakerState.FORCED_OPEN)


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


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One number of one part, as the draft of application/health+json has it (draft-inadarei-api-health-check-06)."""

    component_id: str
    component_type: str
    observed_value: int | float | str | bool | None
    observed_unit: str | None
    status: Status
    affected_endpoints: tuple[str, ...]  # where the status is not pass
    time: Moment
    output: str | None


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """All parts; the status is that of the worst, but nothing beyond this process makes it fail. `checks`: the same by
    "component:measurement"."""

    status: Status
    version: str
    uptime_s: int
    components: tuple[Component, ...]
    checks: dict[str, tuple[HealthCheck, ...]]


class TrendReport(msgspec.Struct, frozen=True, kw_only=True):
    """The last hour and the last day, newest minute last."""

    hour: dict[str, Trend]
    day: dict[str, Trend]
    minutes: tuple[Minute, ...]


class ServerBreakers:
    """Every breaker of the server: of the calls to each source, by what they are made for, and of versions that failed
    lately, which stand in `models`."""

    def __init__(self, models: Breakers) -> None:
        self._models = models
        self._upstream: dict[str, tuple[Source, Breaker]] = {}

    def of(self, source: Source, work: str) -> Breaker:
        """That of the calls to a source for prices or bars."""
        name = f"{source.name} {work} default"
        return self._upstream.setdefault(name, (source, Breaker(name)))[1]

    def all(self) -> dict[str, Breaker]:
        """Each by its name."""
        models = {f"model {name}": one for name, one in self._models.all().items()}
        return {name: one for name, (_, one) in self._upstream.items()} | models

    def open(self) -> list[str]:
        """Names of those that let no call pass."""
        return [name for name, one in self.all().items() if one.state in OPEN]

    def stopped(self) -> list[str]:
        """Titles of the sources to which some calls are not made now."""
        return list(dict.fromkeys(source.title for source, one in self._upstream.values() if one.state in OPEN))


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


class Health:
    """What the health endpoints say, by a look at what is in memory."""

    def __init__(self, server: "Server") -> None:
        self._server, self._started_at = server, time.monotonic()
        self.pulse = Pulse(server.telemetry, lambda: len(server.breakers.open()))
        self.draining = False

    def ready(self, detail: Detail | None = None) -> Readiness:
        """fail while it drains or has not yet made a forecast; warn while it answers with less than it should. detail:
        of now, if the caller has it."""
        if self.draining:
            return Readiness(status="fail", output="The server is being stopped.")
        if not self._server.forecasts.has_answered:
            return Readiness(status="fail", output="No forecast has been made yet.")
        worst = [part for part in (detail or self.detail()).components if part.status != "pass"]
        if worst:
            return Readiness(status="warn", output="; ".join(f"{part.name}: {part.output}" for part in worst))
        return Readiness(status="pass")

    def detail(self) -> Detail:
        """Every component."""
        parts = tuple(self.component(name) for name in COMPONENTS)
        return Detail(
            status=max((part.status for part in parts), key=("pass", "warn", "fail").index),
            version=cryptocast.__version__,
            uptime_s=int(time.monotonic() - self._started_at),
            components=parts,
            checks=dict(self._checks(parts)),
        )

    def _checks(self, parts: Iterable[Component]) -> Iterator[tuple[str, tuple[HealthCheck, ...]]]:
        now = self._server.context.wall_clock()
        for part in parts:
            for name, value in part.values.items():
                if isinstance(value, dict):
                    continue  # a breaker: /health/components/breakers tells of each
                check = HealthCheck(
                    component_id=part.name,
                    component_type=COMPONENTS[part.name],
                    observed_value=value,
                    observed_unit=UNITS.get(name.rpartition("_")[2]),
                    status=part.status,
                    affected_endpoints=() if part.status == "pass" else self._server.paths.resting_on(part.name),
                    time=now,
                    output=part.output,
                )
                yield f"{part.name}:{name}", (check,)

    def component(self, name: str) -> Component:
        """One component by its name, which must be one of COMPONENTS."""
        looks: dict[str, Callable[[], Component]] = {
            "upstream": self._upstream,
            "breakers": self._breakers,
            "cache": self._cache,
            "models": self._models,
            "store": self._store,
            "event_loop": self._loop,
            "resources": self._resources,
            "refresher": self._refresher,
        }
        return looks[name]()

    def trends(self) -> TrendReport:
        """The ring of minutes."""
        minutes = tuple(self.pulse.minutes)
        return TrendReport(hour=trends(minutes[-60:]), day=trends(minutes), minutes=minutes[-60:])

    def _upstream(self) -> Component:
        titles = self._server.breakers.stopped()
        values = {"errors": self._server.telemetry.total("upstream_error"), "calls_are_stopped": bool(titles)}
        return _component("upstream", values, f"{', '.join(titles)} is not called now" if titles else None)

    def _breakers(self) -> Component:
        values = {name: msgspec.to_builtins(one.metrics()) for name, one in self._server.breakers.all().items()}
        names = self._server.breakers.open()
        return _component("breakers", values, f"{', '.join(names)} open" if names else None)

    def _cache(self) -> Component:
        answers = self._server.answers
        values = {"forecasts": len(self._server.forecasts), "answers": len(answers), "answer_bytes": answers.bytes}
        values |= {"hits": answers.hits, "misses": answers.misses, "evicted": answers.evicted}
        return _component("cache", values | {"computed": self._server.forecasts.computed})

    def _models(self) -> Component:
        newest = self._server.forecasts.newest()
        values = {
            "forecasts": len(newest),
            "baseline": sum(one.model_used == "baseline" for one in newest),
            "fallbacks": sum(one.fallback_reason is not None for one in newest),
        }
        if not newest:
            return _component("models", values, "no forecast has been made yet", status="fail")
        weak = "every forecast is the baseline's" if values["baseline"] == len(newest) else None
        return _component("models", values, "; ".join(self._server.live.degraded()) or weak)

    def _store(self) -> Component:
        newest, now, refusal = (
            self._server.forecasts.newest(),
            self._server.context.wall_clock(),
            self._server.rights.refusal,
        )
        oldest = max((now - one.as_of for one in newest), default=timedelta(0))
        values = {
            "stale": sum(one.stale for one in newest),
            "on_sample": sum(one.source == SAMPLE.name for one in newest),
            "oldest_bar_age_s": int(oldest.total_seconds()),
            "write_refusal": refusal,
        }
        reasons = []
        if refusal is not None:
            reasons.append(f"it cannot be written ({refusal}), so it is served as it is: {FALLS_OUT}")
        if values["stale"] or values["on_sample"]:
            reasons.append("forecasts use stale or sample candles")
        return _component("store", values, "; ".join(reasons) or None)

    def _loop(self) -> Component:
        lag = self._server.telemetry.loop_lag_s
        values = {"lag_s": round(lag, 4), "in_flight": self._server.telemetry.in_flight}
        return _component("event_loop", values, f"the event loop is {lag:.2f} s late" if lag > LAG_WARN_S else None)

    def _resources(self) -> Component:
        process = self.pulse.process
        values = {
            "rss_mb": self.pulse.rss_mb(),
            "cpu_s": round(sum(process.cpu_times()[:2]), 2),
            "threads": process.num_threads(),
            "descriptors": self.pulse.descriptors(),
        }
        return _component("resources", values)

    def _refresher(self) -> Component:
        one = self._server.refresher
        if one is None:
            return _component("refresher", {"runs": False, "last_error": None})
        error, refusal = one.last_error or one.duties.last_error, one.leader.refusal
        values = {
            "runs": True,
            "leads": one.duties.leads,
            "lock_refusal": refusal,
            "rounds": one.rounds,
            "failures": one.failures + one.duties.failures,
            "last_fetch": None if one.last_fetch is None else one.last_fetch.isoformat(),
            "last_error": None if error is None else without_folders(error),
        }
        if refusal is not None:
            return _component("refresher", values, f"no lock can be had in the store ({refusal}): nothing is refreshed")
        return _component("refresher", values, "the last refresh failed" if error else None)

    def samples(self) -> Iterator[Sample]:
        """For `Telemetry.samples`: breakers, caches, forecasts, the process."""
        detail = self.detail()  # looked at once: with many forecasts each look takes milliseconds
        values = {part.name: part.values for part in detail.components}
        for name, breaker in self._server.breakers.all().items():
            one, labels = breaker.metrics(), {"breaker": name}
            text = "1 for the state that the breaker is in."
            for state in BreakerState:
                yield "cryptocast_breaker_state", text, {**labels, "state": str(state)}, float(one.state is state)
            yield "cryptocast_breaker_rejected_total", "Calls that the breaker rejected.", labels, float(one.rejected)
            yield "cryptocast_breaker_opened_total", "How often it opened.", labels, float(one.opened)
            yield "cryptocast_breaker_state_seconds", "How long it is in its state.", labels, one.in_state_s
        for key, value in values["cache"].items():
            yield *CACHE_SERIES[key], {}, float(value)
        for key, value in values["models"].items():
            yield "cryptocast_forecasts", "Forecasts in memory, by what they rest on.", {"what": key}, float(value)
        age_s = float(values["store"]["oldest_bar_age_s"])
        yield "cryptocast_oldest_bar_age_seconds", "Age of the oldest last bar that a forecast rests on.", {}, age_s
        process, text = values["resources"], "1 while requests should be sent here."
        yield "process_resident_memory_bytes", "Resident memory.", {}, process["rss_mb"] * 2**20
        yield "process_open_fds", "Open file descriptors.", {}, float(process["descriptors"])
        yield "process_cpu_seconds_total", "Processor time.", {}, process["cpu_s"]
        yield "cryptocast_ready", text, {}, float(self.ready(detail).status != "fail")


def _component(name: str, values: dict[str, Any], output: str | None = None, *, status: Status = "warn") -> Component:
    """One that passes unless there is something to say."""
    return Component(name=name, status="pass" if output is None else status, values=values, output=output)
