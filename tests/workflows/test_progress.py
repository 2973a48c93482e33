"""How far long work has come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.workflows.context import steps
from cryptocast.workflows.progress import Phase, ProgressCalls, ProgressStep

durations = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=20)


@given(durations, st.integers(0, 5), st.floats(0.0, 1e5))
def test_the_time_left_is_never_below_zero_and_never_rises_while_a_step_lasts(
    taken: list[float], behind: int, waits: float
) -> None:
    phase, now = Phase("work", len(taken) + behind, 0.0), 0.0
    assert phase.seconds_left(now) is None
    for step in taken:
        now += step
        phase.step(now)
    at_once, later = phase.seconds_left(now), phase.seconds_left(now + waits)
    assert at_once is not None
    assert later is not None
    assert 0.0 <= later <= at_once
    later_half = taken[len(taken) // 2 :]
    assert at_once == pytest.approx(behind * sum(later_half) / len(later_half), rel=1e-6)


def test_a_step_that_takes_longer_says_nothing_of_the_ones_behind_it() -> None:
    phase = Phase("work", 4, 100.0)
    phase.step(110.0)
    assert [phase.seconds_left(at) for at in (110.0, 114.0, 120.0, 500.0)] == [30.0, 26.0, 20.0, 20.0]
    assert phase.in_words(114.0, "one") == "work: 1 of 4, 6 a minute, 26 s left (one)"
    for at in (120.0, 130.0, 140.0):
        phase.step(at)
    assert phase.left_in_words(140.0) == "almost done"


def test_a_function_hears_of_each_begin_and_step_of_parts_inside_each_other() -> None:
    told: list[ProgressStep] = []
    now = [0.0]
    progress = ProgressCalls(told.append, clock=lambda: now[0])
    with steps(progress, "outer", 2) as outer:
        with steps(progress, "inner", 1) as inner:
            now[0] += 2.0
            inner("a")
        now[0] += 2.0
        progress.tell("half")
        outer("b")
    progress.step("too late")
    progress.end()
    assert told == [
        ProgressStep("outer", 0, 2, "", None),
        ProgressStep("inner", 0, 1, "", None),
        ProgressStep("inner", 1, 1, "a", 0.0),
        ProgressStep("outer", 0, 2, "half", None),
        ProgressStep("outer", 1, 2, "b", 4.0),
    ]
