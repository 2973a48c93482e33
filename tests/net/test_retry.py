import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.net.answer import Answer, CallFailed
from cryptocast.net.retry import RetryBudget, RetryPolicy, full_jitter

NOW = datetime(2020, 1, 1, tzinfo=UTC)
LOST = CallFailed("connection reset")


def policy(budget: RetryBudget | None = None, max_retries: int = 2) -> RetryPolicy:
    return RetryPolicy(max_retries=max_retries, budget=budget, rng=random.Random(1), now=lambda: NOW)


def answer(status: int, retry_after: str | None = None) -> Answer:
    return Answer(status, b"", {} if retry_after is None else {"retry-after": retry_after})


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520, 524])
def test_what_may_pass_by_itself_is_tried_again(status: int) -> None:
    assert policy().pause_s(1, answer(status), left_s=60.0) is not None


@pytest.mark.parametrize("status", [200, 204, 301, 304, 400, 401, 403, 404, 414, 422])
def test_answers_that_would_stay_the_same_are_not(status: int) -> None:
    assert policy().pause_s(1, answer(status), left_s=60.0) is None


def test_a_lost_connection_is_tried_again_and_a_missing_network_is_not() -> None:
    assert policy().pause_s(1, LOST, left_s=60.0) is not None
    assert policy().pause_s(1, CallFailed("no name", hopeless=True), left_s=60.0) is None


def test_there_are_at_most_so_many_retries() -> None:
    pauses = [policy().pause_s(attempt, LOST, left_s=60.0) for attempt in (1, 2, 3)]
    assert [pause is None for pause in pauses] == [False, False, True]


@given(st.integers(1, 200), st.integers(0, 2**32))
def test_the_jitter_is_between_nothing_and_the_doubled_step(attempt: int, seed: int) -> None:
    assert 0.0 <= full_jitter(attempt, random.Random(seed)) <= min(8.0, 0.5 * 2.0 ** (attempt - 1))


@pytest.mark.parametrize(
    ("status", "stated", "least"),
    [
        (429, "7", 7.0),
        (503, "7", 7.0),
        (429, "Wed, 01 Jan 2020 00:00:30 GMT", 30.0),
        (429, None, 20.0),
        (429, "soon", 20.0),
        (503, None, 0.0),
        (500, "7", 0.0),
    ],
)
def test_the_pause_is_what_the_upstream_asks_for_and_the_jitter(status: int, stated: str | None, least: float) -> None:
    pause = policy().pause_s(1, answer(status, stated), left_s=60.0)
    assert pause is not None
    assert least <= pause <= least + 0.5


def test_a_wait_that_reaches_the_deadline_is_not_begun() -> None:
    assert policy().pause_s(1, answer(429, "30"), left_s=30.0) is None
    assert policy().pause_s(1, LOST, left_s=0.0) is None


@given(st.lists(st.integers(0, 3), max_size=300))
def test_retries_are_at_most_a_reserve_and_a_fifth_of_the_calls(wishes: list[int]) -> None:
    budget = RetryBudget(ratio=0.2, reserve=10.0)
    retries = 0
    for wish in wishes:
        budget.called()
        retries += sum(budget.withdraw() for _ in range(wish))
    assert retries <= 10 + 0.2 * len(wishes) + 1e-6


def test_while_everything_fails_retries_fall_to_the_ratio() -> None:
    budget = RetryBudget(ratio=0.2, reserve=10.0)
    chosen = policy(budget)
    retries = []
    for _ in range(200):
        budget.called()
        retries.append(sum(chosen.pause_s(attempt, LOST, left_s=60.0) is not None for attempt in (1, 2)))
    assert sum(retries[:5]) >= 8
    assert sum(retries[100:]) == 20


def test_a_refusal_for_the_rate_does_not_draw_on_the_budget() -> None:
    budget = RetryBudget(ratio=0.0, reserve=1.0)
    chosen = policy(budget)
    assert all(chosen.pause_s(1, answer(429, "1"), left_s=60.0) is not None for _ in range(20))
    assert budget.withdraw()
