import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cryptocast.errors import UpstreamError
from cryptocast.net import Breaker, Breakers, BreakerSettings, BreakerState, CircuitOpen
from cryptocast.net.breaker import Permit


@dataclass(frozen=True)
class Change:
    """A change of state. open_s: how long it will be open, 0 for other states."""

    after: BreakerState
    reason: str
    at: float
    open_s: float


@dataclass
class Bench:
    """A breaker on a clock that the test moves, and its changes of state."""

    now: float = 1000.0
    events: list[Change] = field(default_factory=list)
    chosen: BreakerSettings = field(default_factory=BreakerSettings)

    def breaker(self, rng: random.Random | None = None, **changes: Any) -> Breaker:
        bench = self

        class Watched(Breaker):
            def _change(self, after: BreakerState, reason: str) -> None:
                super()._change(after, reason)
                bench.events.append(Change(after, reason, self._since, self.metrics().retry_after_s))

        self.chosen = BreakerSettings(**{"jitter": 0.0, **changes})
        return Watched("Upstream", self.chosen, clock=lambda: self.now, rng=rng)

    def wait(self, seconds: float) -> None:
        self.now += seconds


def state(breaker: Breaker) -> str:
    return breaker.state.value


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.admit().failed()


def succeed(breaker: Breaker, times: int = 1, took_s: float = 0.0) -> None:
    for _ in range(times):
        breaker.admit().succeeded(took_s)


def opened(bench: Bench, **changes: Any) -> Breaker:
    breaker = bench.breaker(consecutive=3, **changes)
    fail(breaker, 3)
    assert state(breaker) == "open"
    return breaker


def test_it_opens_on_a_failure_rate_with_enough_calls_in_the_window_and_not_before() -> None:
    bench = Bench()
    breaker = bench.breaker(min_calls=10, failure_rate=0.5, consecutive=10)
    for _ in range(4):
        succeed(breaker)
        fail(breaker)
    succeed(breaker)
    assert state(breaker) == "closed"  # 4 of 9
    fail(breaker)
    assert state(breaker) == "open"  # 5 of 10
    assert "5 of 10 calls in 60 s failed" in bench.events[-1].reason


def test_failures_that_left_the_window_do_not_count() -> None:
    bench = Bench()
    breaker = bench.breaker(min_calls=4, failure_rate=0.5, consecutive=4, window_s=60.0)
    succeed(breaker)
    fail(breaker)
    bench.now = 1053.9  # the window slides in tenths: it began at 996
    assert breaker.metrics().window_calls == 2
    bench.now = 1056.0
    assert breaker.metrics().window_calls == 0
    succeed(breaker, 3)
    fail(breaker)
    assert (state(breaker), breaker.metrics().window_calls) == ("closed", 4)


def test_at_low_traffic_it_opens_on_failures_in_a_row() -> None:
    bench = Bench()
    breaker = bench.breaker(min_calls=10, consecutive=3)
    fail(breaker, 2)
    succeed(breaker)
    fail(breaker, 2)
    assert state(breaker) == "closed"
    bench.wait(3600.0)
    fail(breaker)
    assert state(breaker) == "open"
    assert "3 calls in a row" in bench.events[-1].reason


def test_at_high_traffic_a_few_failures_in_a_row_are_no_rate() -> None:
    breaker = Bench().breaker(min_calls=10, consecutive=3, failure_rate=0.5)
    succeed(breaker, 20)
    fail(breaker, 5)
    assert state(breaker) == "closed"


def test_an_open_breaker_rejects_with_the_time_left() -> None:
    bench = Bench()
    breaker = opened(bench, open_s=30.0)
    bench.wait(12.0)
    with pytest.raises(CircuitOpen, match=r"3 calls in a row failed\. Next attempt in 18 s") as caught:
        breaker.admit()
    assert caught.value.retry_after_s == pytest.approx(18.0)
    assert isinstance(caught.value, UpstreamError)
    with pytest.raises(CircuitOpen):
        breaker.check()
    assert breaker.metrics().rejected == 2


def test_of_fifty_waiting_calls_only_the_probes_get_through() -> None:
    for probes in (1, 2, 3):
        bench = Bench()
        breaker = opened(bench, open_s=5.0, probes=probes)
        bench.wait(5.0)
        permits = []
        for _ in range(50):
            try:
                permits.append(breaker.admit())
            except CircuitOpen:
                continue
        assert [permit.is_probe for permit in permits] == [True] * probes


def test_enough_good_probes_close_it_and_one_bad_probe_opens_it_again() -> None:
    bench = Bench()
    breaker = opened(bench, open_s=5.0, probes=2, successes=2)
    bench.wait(4.9)
    assert state(breaker) == "open"
    bench.wait(0.2)
    succeed(breaker)
    assert state(breaker) == "half_open"
    fail(breaker)
    assert state(breaker) == "open"
    bench.wait(10.0)
    succeed(breaker, 2)
    assert [event.after.value for event in bench.events] == [
        "open",
        "half_open",
        "open",
        "half_open",
        "closed",
    ]
    assert [event.at for event in bench.events][-1] == bench.now


def test_a_slow_probe_is_a_bad_one() -> None:
    bench = Bench()
    breaker = opened(bench, slow_call_s=2.0)
    bench.wait(5.0)
    succeed(breaker, took_s=2.0)
    assert state(breaker) == "open"


@pytest.mark.parametrize("leave", [Permit.ignored, lambda permit: permit.__exit__(None, None, None)])
def test_a_probe_without_a_verdict_gives_its_place_back(leave: Callable[[Permit], None]) -> None:
    bench = Bench()
    breaker = opened(bench, probes=1, successes=1)
    bench.wait(5.0)
    leave(breaker.admit())
    assert state(breaker) == "half_open"
    succeed(breaker)
    assert state(breaker) == "closed"


def test_a_hung_probe_gives_its_place_back_at_its_deadline_and_its_late_verdict_is_dropped() -> None:
    bench = Bench()
    breaker = opened(bench, probes=1, successes=1, probe_deadline_s=20.0)
    bench.wait(5.0)
    hung = breaker.admit()
    bench.wait(19.9)
    with pytest.raises(CircuitOpen, match="being tried with 1 calls"):
        breaker.admit()
    bench.wait(0.2)
    second = breaker.admit()
    hung.failed()
    assert state(breaker) == "half_open"
    second.succeeded()
    assert state(breaker) == "closed"


def test_verdicts_about_calls_that_began_before_a_change_of_state_do_not_count() -> None:
    bench = Bench()
    breaker = bench.breaker(consecutive=3, open_s=5.0, probes=1, successes=1)
    early = [breaker.admit() for _ in range(4)]
    fail(breaker, 3)
    early[0].succeeded()  # while open: wipes out nothing
    assert breaker.metrics().retry_after_s == 5.0
    bench.wait(5.0)
    assert state(breaker) == "half_open"
    early[1].succeeded()
    early[2].failed()
    assert state(breaker) == "half_open"
    succeed(breaker)
    early[3].failed()
    assert breaker.metrics().window_failures == 0


def test_each_opening_in_a_row_lasts_twice_as_long_to_a_cap_and_a_recovery_resets_it() -> None:
    bench = Bench()
    breaker = opened(bench, open_s=5.0, open_cap_s=30.0, successes=1)
    for _ in range(4):
        bench.wait(breaker.metrics().retry_after_s)
        fail(breaker)
    assert [event.open_s for event in bench.events if event.after is BreakerState.OPEN] == [5.0, 10.0, 20.0, 30.0, 30.0]
    bench.wait(30.0)
    succeed(breaker)
    fail(breaker, 3)
    assert bench.events[-1].open_s == 5.0


def test_the_wait_is_jittered_and_never_above_the_cap() -> None:
    waits = set()
    for seed in range(100):
        bench = Bench()
        breaker = bench.breaker(random.Random(seed), jitter=0.2, open_s=10.0, open_cap_s=10.0, consecutive=1)
        fail(breaker)
        waits.add(bench.events[-1].open_s)
    assert len(waits) > 90
    assert 8.0 <= min(waits) < 8.3
    assert 9.7 < max(waits) <= 10.0


def test_slow_calls_open_it_too() -> None:
    bench = Bench()
    breaker = bench.breaker(min_calls=10, slow_call_s=5.0, slow_rate=0.8)
    succeed(breaker, 2, took_s=0.1)
    succeed(breaker, 7, took_s=5.0)
    assert state(breaker) == "closed"
    succeed(breaker, 1, took_s=5.0)
    assert state(breaker) == "open"
    assert "8 of 10 calls took 5.0 s or more" in bench.events[-1].reason


def test_without_a_stated_time_the_time_since_the_permit_counts() -> None:
    bench = Bench()
    breaker = bench.breaker(slow_call_s=5.0)
    permit = breaker.admit()
    bench.wait(6.0)
    permit.succeeded()
    assert breaker.metrics().window_slow == 1


def test_calls_without_a_verdict_count_for_nothing() -> None:
    breaker = Bench().breaker(min_calls=1, failure_rate=0.01)
    for _ in range(100):
        with breaker.admit():
            pass
    assert breaker.metrics().window_calls == 0


def test_a_permit_has_one_verdict() -> None:
    breaker = Bench().breaker(consecutive=2)
    permit = breaker.admit()
    permit.failed()
    permit.failed()
    assert breaker.metrics().window_failures == 1


def test_forced_states_hold_until_they_are_reset() -> None:
    bench = Bench()
    breaker = bench.breaker(consecutive=1)
    breaker.force_open()
    bench.wait(1e6)
    with pytest.raises(CircuitOpen, match="switched off by hand"):
        breaker.admit()
    breaker.force_closed()
    fail(breaker, 100)
    assert state(breaker) == "forced_closed"
    breaker.reset()
    assert breaker.metrics().window_failures == 0
    fail(breaker)
    assert state(breaker) == "open"
    breaker.reset()
    assert state(breaker) == "closed"
    fail(breaker)
    assert bench.events[-1].open_s == 5.0


def test_the_wall_clock_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = Breaker("Upstream", BreakerSettings(consecutive=1, open_s=600.0, open_cap_s=600.0, jitter=0.0))
    fail(breaker)
    later = time.time() + 3600.0
    monkeypatch.setattr(time, "time", lambda: later)
    assert state(breaker) == "open"
    assert 590.0 < breaker.metrics().retry_after_s <= 600.0


def test_each_name_has_a_breaker_of_its_own() -> None:
    breakers = Breakers(lambda name: Breaker(f"Upstream {name}", BreakerSettings(consecutive=1)))
    fail(breakers("history"))
    assert state(breakers("history")) == "open"
    assert state(breakers("price")) == "closed"
    assert {name: breaker.name for name, breaker in breakers.all().items()} == {
        "history": "Upstream history",
        "price": "Upstream price",
    }


def test_metrics_tell_state_time_in_it_rejections_and_openings() -> None:
    bench = Bench()
    breaker = opened(bench, open_s=5.0)
    with pytest.raises(CircuitOpen):
        breaker.admit()
    bench.wait(2.0)
    metrics = breaker.metrics()
    assert (metrics.state, metrics.in_state_s, metrics.retry_after_s) == (BreakerState.OPEN, 2.0, 3.0)
    assert (metrics.rejected, metrics.opened, metrics.window_calls) == (1, 1, 0)


def test_changes_are_logged_once_with_their_numbers(caplog: pytest.LogCaptureFixture) -> None:
    breaker = opened(Bench())
    for _ in range(10):
        with pytest.raises(CircuitOpen):
            breaker.admit()
    assert [record.getMessage() for record in caplog.records] == [
        "breaker Upstream: closed -> open: 3 calls in a row failed"
    ]


SETTINGS = BreakerSettings(
    window_s=10.0,
    min_calls=4,
    failure_rate=0.5,
    slow_call_s=2.0,
    slow_rate=0.75,
    consecutive=3,
    open_s=4.0,
    open_cap_s=16.0,
    jitter=0.0,
    probes=2,
    successes=2,
    probe_deadline_s=6.0,
)


class Model:
    """The same, written down plainly: lists that are counted anew each time."""

    def __init__(self) -> None:
        self.state, self.era, self.openings, self.until = "closed", 0, 0, 0.0
        self.calls: list[tuple[int, bool, bool]] = []  # second, failed, slow
        self.row = self.good = 0
        self.probes: dict[int, float] = {}

    def turn(self, state: str) -> None:
        self.state, self.calls, self.row, self.good, self.probes = state, [], 0, 0, {}
        self.era += 1

    def open(self, now: float) -> None:
        self.until = now + min(16.0, 4.0 * 2**self.openings)
        self.openings += 1
        self.turn("open")

    def look(self, now: float) -> None:
        if self.state == "open" and now >= self.until:
            self.turn("half_open")

    def admits(self, now: float) -> bool:
        self.look(now)
        if self.state == "half_open":
            self.probes = {number: began for number, began in self.probes.items() if now - began < 6.0}
            return len(self.probes) < 2
        return self.state in ("closed", "forced_closed")

    def verdict(self, now: float, number: int, ok: bool | None, slow: bool) -> None:
        if self.state == "half_open":
            began = self.probes.pop(number, None)
            if began is None or now - began >= 6.0 or ok is None:
                return
            if not ok or slow:
                self.open(now)
            else:
                self.good += 1
                if self.good == 2:
                    self.openings = 0
                    self.turn("closed")
        elif self.state == "closed" and ok is not None:
            self.count(now, ok, slow)

    def count(self, now: float, ok: bool, slow: bool) -> None:
        self.calls.append((int(now), not ok, slow))
        recent = [call for call in self.calls if call[0] > int(now) - 10]
        self.row = 0 if ok else self.row + 1
        if len(recent) < 4:
            must = not ok and self.row >= 3
        else:
            bad, late = sum(call[1] for call in recent), sum(call[2] for call in recent)
            must = (not ok or slow) and (bad / len(recent) >= 0.5 or late / len(recent) >= 0.75)
        if must:
            self.open(now)


class BreakerAgainstModel(RuleBasedStateMachine):
    """Calls begin, end in any order and late; time passes; states are forced."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.model = Model()
        self.breaker = Breaker("Upstream", SETTINGS, clock=lambda: self.now)
        self.running: list[tuple[int, int, float, Permit]] = []
        self.begun = 0

    @rule()
    def begin(self) -> None:
        if not self.model.admits(self.now):
            with pytest.raises(CircuitOpen) as caught:
                self.breaker.admit()
            assert caught.value.retry_after_s > 0
            return
        self.begun += 1
        if self.model.state == "half_open":
            self.model.probes[self.begun] = self.now
        self.running.append((self.begun, self.model.era, self.now, self.breaker.admit()))

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 1000), ok=st.sampled_from([True, True, False, False, None]))
    def end(self, which: int, ok: bool | None) -> None:
        number, era, began, permit = self.running.pop(which % len(self.running))
        if era == self.model.era:
            self.model.verdict(self.now, number, ok, slow=ok is True and self.now - began >= 2.0)
        if ok is None:
            permit.ignored()
        elif ok:
            permit.succeeded()
        else:
            permit.failed()

    @rule(ok=st.booleans(), times=st.integers(1, 5))
    def quick_calls(self, ok: bool, times: int) -> None:
        for _ in range(times):
            before = len(self.running)
            self.begin()
            if len(self.running) > before:
                self.end(before, ok)

    @rule(seconds=st.sampled_from([0.25, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 11.0, 16.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(state=st.sampled_from(["forced_open", "forced_closed", "closed"]), sure=st.integers(0, 9))
    def force(self, state: str, sure: int) -> None:
        if sure:  # seldom, or nothing else would be seen
            return
        {"forced_open": self.breaker.force_open, "forced_closed": self.breaker.force_closed}.get(
            state, self.breaker.reset
        )()
        self.model.openings = 0 if state == "closed" else self.model.openings
        self.model.turn(state)

    @invariant()
    def states_agree(self) -> None:
        self.model.look(self.now)
        metrics = self.breaker.metrics()
        assert metrics.state == self.model.state  # told without a change
        assert self.breaker.state == self.model.state
        assert self.breaker.generation == self.model.era
        assert metrics.retry_after_s == (self.model.until - self.now if self.model.state == "open" else 0.0)
        if self.model.state == "closed":
            recent = [call for call in self.model.calls if call[0] > int(self.now) - 10]
            assert metrics.window_calls == len(recent)
            assert metrics.window_failures == sum(call[1] for call in recent)


TestBreakerAgainstModel = BreakerAgainstModel.TestCase
TestBreakerAgainstModel.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)
