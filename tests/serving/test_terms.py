"""How long an answer holds."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from cryptocast.serving.terms import Term, shortest
from tests.serving.serving_app import NOON

seconds = st.integers(-100_000, 100_000)


terms = st.builds(
    lambda since, lasts, expires: Term(
        NOON + timedelta(seconds=since), NOON + timedelta(seconds=since + lasts), float(expires)
    ),
    seconds,
    st.integers(0, 100_000),
    seconds,
)


@given(st.lists(terms, min_size=1, max_size=4), seconds, seconds)
def test_several_hold_together_only_while_each_of_them_holds(found: list[Term], now: int, monotonic: int) -> None:
    moment = NOON + timedelta(seconds=now)
    both = shortest(found)
    assert both.holds(moment, monotonic) == all(one.holds(moment, monotonic) for one in found)
    assert both.left_s(moment, monotonic) == min(one.left_s(moment, monotonic) for one in found) or not both.holds(
        moment, monotonic
    )


@given(terms, seconds, seconds)
def test_what_is_left_is_positive_exactly_while_it_holds(term: Term, now: int, monotonic: int) -> None:
    moment = NOON + timedelta(seconds=now)
    left = term.left_s(moment, monotonic)
    assert (left > 0.0) == term.holds(moment, monotonic)
    assert not term.holds(moment + timedelta(seconds=left), monotonic + left)


def test_what_was_made_under_a_clock_that_ran_ahead_does_not_hold_once_it_came_back() -> None:
    term = Term(NOON + timedelta(days=3), NOON + timedelta(days=4))
    assert term.holds(NOON + timedelta(days=3), 0.0)
    assert not term.holds(NOON, 0.0)
    assert term.is_ahead(NOON)


def test_a_clock_that_is_slewed_by_a_second_ends_nothing() -> None:
    assert Term(NOON, NOON + timedelta(hours=1)).holds(NOON - timedelta(seconds=1), 0.0)
