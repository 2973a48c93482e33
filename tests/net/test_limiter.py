import asyncio
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.net import Limiter, Overloaded, Priority


@dataclass
class FakeTime:
    """A clock that only sleeping moves."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def limiter(calls_per_minute: int, time: FakeTime) -> Limiter:
    return Limiter(calls_per_minute, clock=time.clock, sleep=time.sleep)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.lists(st.floats(0, 40), max_size=25))
def test_no_minute_ever_holds_more_calls_than_allowed(limit: int, idle: list[float]) -> None:
    time = FakeTime()
    calls: list[float] = []

    async def work() -> None:
        gate = limiter(limit, time)
        for seconds in idle:
            time.now += seconds
            await gate.acquire()
            calls.append(time.now)

    asyncio.run(work())
    for number, at in enumerate(calls[limit:], start=limit):
        assert at - calls[number - limit] >= 60.0 - 1e-6


def test_the_first_calls_of_a_minute_do_not_wait() -> None:
    time = FakeTime()

    async def work() -> None:
        gate = limiter(5, time)
        for _ in range(5):
            await gate.acquire()

    asyncio.run(work())
    assert time.slept == []


def test_a_pause_holds_for_everybody_and_the_longest_counts() -> None:
    time = FakeTime()
    passed: list[float] = []

    async def work() -> None:
        gate = limiter(50, time)
        gate.pause(30.0)
        gate.pause(10.0)

        async def caller() -> None:
            await gate.acquire()
            passed.append(time.now)

        await asyncio.gather(*(caller() for _ in range(4)))

    asyncio.run(work())
    assert passed == [1030.0] * 4


def test_a_limit_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="calls_per_minute is 0"):
        Limiter(0)


def test_who_is_more_important_goes_first_and_among_equals_who_came_first() -> None:
    time = FakeTime()
    passed: list[str] = []

    async def work() -> None:
        gate = limiter(1, time)
        await gate.acquire()

        async def caller(name: str, priority: Priority) -> None:
            await gate.acquire(priority)
            passed.append(name)

        arrivals = [("b1", 2), ("r1", 1), ("u1", 0), ("b2", 2), ("u2", 0), ("r2", 1)]
        callers = [asyncio.ensure_future(caller(name, Priority(rank))) for name, rank in arrivals]
        await asyncio.sleep(0)
        assert gate.waiting == 6
        await asyncio.gather(*callers)

    asyncio.run(work())
    assert passed == ["u1", "u2", "r1", "r2", "b1", "b2"]
    assert time.now == 1000.0 + 6 * 60.0


def test_a_turn_that_cannot_come_in_time_is_refused_at_once_and_says_when_to_return() -> None:
    time = FakeTime()

    async def work() -> None:
        gate = limiter(2, time)
        for _ in range(2):
            await gate.acquire()
        time.now += 10.0
        with pytest.raises(Overloaded, match=r"the next call in 50 s, the caller has 49\.0 s") as caught:
            await gate.acquire(deadline_s=49.0)
        assert caught.value.retry_after_s == 50.0
        others = [asyncio.ensure_future(gate.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="the next call in 110 s"):
            await gate.acquire(deadline_s=100.0)
        assert time.slept[:-1] == []
        await asyncio.gather(*others)

    asyncio.run(work())


def test_a_turn_that_others_overtake_is_refused_at_its_deadline() -> None:
    time = FakeTime()

    async def work() -> None:
        gate = limiter(1, time)
        await gate.acquire()
        late = asyncio.ensure_future(gate.acquire(Priority.BACKFILL, deadline_s=90.0))
        await asyncio.sleep(0)
        user = asyncio.ensure_future(gate.acquire(Priority.USER))
        await user
        with pytest.raises(Overloaded):
            await late
        assert time.now == 1000.0 + 90.0
        assert gate.waiting == 0

    asyncio.run(work())


def test_the_queue_is_bounded() -> None:
    time = FakeTime()

    async def work() -> None:
        gate = Limiter(1, clock=time.clock, sleep=time.sleep, max_waiting=2)
        await gate.acquire()
        waiting = [asyncio.ensure_future(gate.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="2 calls are already waiting"):
            await gate.acquire()
        await asyncio.gather(*waiting)

    asyncio.run(work())


def test_callers_who_leave_take_no_place_and_stop_nobody() -> None:
    time = FakeTime()

    async def work() -> None:
        gate = limiter(1, time)
        await gate.acquire()
        callers = [asyncio.ensure_future(gate.acquire()) for _ in range(200)]
        await asyncio.sleep(0)
        for caller in callers[:-1]:
            caller.cancel()
        await callers[-1]
        assert time.now == 1060.0
        assert gate.waiting == 0
        alone = asyncio.ensure_future(gate.acquire())
        await asyncio.sleep(0)
        alone.cancel()
        await asyncio.gather(alone, return_exceptions=True)
        time.now += 60.0
        await gate.acquire()  # nothing is left of those who went
        assert gate._doorman is None

    asyncio.run(work())


def test_a_caller_who_leaves_in_the_moment_of_the_turn_gives_the_place_back() -> None:
    time = FakeTime()

    async def work() -> None:
        gate = limiter(1, time)
        await gate.acquire()
        caller = asyncio.ensure_future(gate.acquire())
        await asyncio.sleep(0)
        (waiter,) = gate._queue
        while not waiter.turn.done():
            await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert (time.now, gate.wait_s() <= 0) == (1060.0, True)

    asyncio.run(work())


def test_a_place_that_was_not_used_is_free_again_once() -> None:
    time = FakeTime()

    async def work() -> None:
        gate = limiter(2, time)
        place = await gate.acquire()
        await gate.acquire()
        place.give_back()
        place.give_back()
        await gate.acquire()
        assert time.slept == []
        assert gate.wait_s() == 60.0

    asyncio.run(work())


def test_a_pause_of_days_is_asked_about_again_after_an_hour() -> None:
    time = FakeTime()
    gate = limiter(5, time)
    gate.pause(7 * 86400.0)
    assert gate.wait_s() == 3600.0


@dataclass
class Machine:
    """Two clocks, and limiters that stand for processes which share a file."""

    folder: Path
    time: FakeTime = field(default_factory=FakeTime)
    wall_ahead: float = 1_700_000_000.0

    def process(self, calls_per_minute: int = 3) -> Limiter:
        return Limiter(
            calls_per_minute,
            clock=self.time.clock,
            sleep=self.time.sleep,
            wall=lambda: self.time.now + self.wall_ahead,
            state_file=self.folder / "limit.json",
        )


async def waited(machine: Machine, gate: Limiter) -> float:
    before = machine.time.now
    await gate.acquire()
    return machine.time.now - before


def test_processes_that_name_the_same_file_share_the_window_and_the_pause(tmp_path: Path) -> None:
    machine = Machine(tmp_path)

    async def work() -> None:
        one, two = machine.process(), machine.process()
        await one.acquire()
        machine.time.now += 10.0
        await two.acquire()
        await one.acquire()
        assert await waited(machine, two) == pytest.approx(50.0, abs=0.1)
        machine.time.now += 100.0
        one.pause(25.0)
        assert await waited(machine, two) == pytest.approx(25.0, abs=0.1)
        assert await waited(machine, machine.process()) == 0.0

    asyncio.run(work())


def test_a_new_process_sees_the_calls_of_one_that_crashed(tmp_path: Path) -> None:
    machine = Machine(tmp_path)

    async def work() -> None:
        gate = machine.process()
        for _ in range(3):
            await gate.acquire()
        del gate
        assert await waited(machine, machine.process()) == pytest.approx(60.0, abs=0.1)

    asyncio.run(work())


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_jump_of_the_wall_clock_makes_nobody_wait_longer_than_the_window(tmp_path: Path, jump: float) -> None:
    machine = Machine(tmp_path)

    async def work() -> None:
        one, two = machine.process(), machine.process()
        for _ in range(3):
            await one.acquire()
        one.pause(20.0)
        machine.wall_ahead += jump
        assert await waited(machine, one) == pytest.approx(60.0, abs=0.1)  # its own calls, it never forgets
        assert await waited(machine, two) <= 60.1

    asyncio.run(work())


@pytest.mark.parametrize("damage", [b"", b"{", b"\x00" * 50, b'{"calls": "many"}', b"[1, 2]", b'{"calls": [null]}'])
def test_a_damaged_file_counts_as_empty_and_is_replaced(tmp_path: Path, damage: bytes) -> None:
    machine = Machine(tmp_path)
    (tmp_path / "limit.json").write_bytes(damage)

    async def work() -> None:
        gate = machine.process()
        for _ in range(3):
            assert await waited(machine, gate) == 0.0
        assert await waited(machine, machine.process()) == pytest.approx(60.0, abs=0.1)

    asyncio.run(work())


def test_a_place_given_back_is_free_for_other_processes_too(tmp_path: Path) -> None:
    machine = Machine(tmp_path)

    async def work() -> None:
        one, two = machine.process(1), machine.process(1)
        (await one.acquire()).give_back()
        assert await waited(machine, two) == 0.0

    asyncio.run(work())


def test_who_waits_for_the_own_window_counts_no_call_for_the_others(tmp_path: Path) -> None:
    machine = Machine(tmp_path)

    async def work() -> None:
        one, two = machine.process(1), machine.process(2)
        await one.acquire()
        machine.time.now += 30.0
        (tmp_path / "limit.json").unlink()
        assert await waited(machine, one) == pytest.approx(30.0, abs=0.1)
        assert await waited(machine, two) == 0.0

    asyncio.run(work())


def test_a_folder_that_cannot_be_written_leaves_the_own_window(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(tmp_path / "file" / "below")
    (tmp_path / "file").write_text("in the way")

    async def work() -> None:
        gate = machine.process()
        gate.pause(5.0)
        assert await waited(machine, gate) == 5.0
        for _ in range(2):
            await gate.acquire()
        assert await waited(machine, gate) == pytest.approx(60.0, abs=0.1)

    asyncio.run(work())
    assert caplog.text.count("cannot be used, only this process is limited") == 1


def test_a_lock_that_nobody_lets_go_is_waited_for_for_seconds_and_not_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(tmp_path)

    async def work() -> None:
        with FileLock(tmp_path / "limit.json.lock"):
            gate = machine.process()
            assert 4.9 < await waited(machine, gate) < 6.0
            assert await waited(machine, gate) == 0.0  # asked in vain once, not each time

    asyncio.run(work())
    assert "was not let go" in caplog.text


CALLER = """
import asyncio, sys
from pathlib import Path
from cryptocast.net import Limiter

async def main():
    gate = Limiter(5, window_s=0.5, state_file=Path(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        place = await gate.acquire()
        print(place.shared_at, flush=True)

asyncio.run(main())
"""


def test_real_processes_keep_to_one_window_though_one_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CALLER, str(tmp_path / "limit.json")]
    callers = [subprocess.Popen([*command, number], stdout=subprocess.PIPE, text=True) for number in ("8", "8", "500")]
    assert callers[2].stdout is not None
    first = [float(callers[2].stdout.readline())]
    callers[2].kill()
    outputs = [caller.communicate(timeout=120)[0] for caller in callers]
    times = sorted([*first, *(float(line) for output in outputs for line in output.split())])
    assert [caller.returncode for caller in callers[:2]] == [0, 0]
    assert len(times) >= 17
    assert all(later - earlier > 0.5 - 1e-6 for earlier, later in zip(times, times[5:], strict=False))
