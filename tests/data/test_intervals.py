from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cryptocast.data.intervals import Span, merged, missing

START = datetime(2026, 1, 1, tzinfo=UTC)


def span(begin: int, end: int) -> Span:
    return START + timedelta(hours=begin), START + timedelta(hours=end)


def hours(*spans: Span) -> set[int]:
    """The slow way: each hour by itself."""
    return {h for start, end in spans for h in range(60) if start <= START + timedelta(hours=h) < end}


spans = st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda pair: span(*pair))


@given(st.lists(spans, max_size=8))
def test_merged_spans_hold_the_same_time_apart_and_in_order(given_spans: list[Span]) -> None:
    found = merged(given_spans)
    assert hours(*found) == hours(*given_spans)
    assert all(a[1] < b[0] for a, b in pairwise(found))
    assert all(start < end for start, end in found)


@given(spans, st.lists(spans, max_size=8))
def test_what_is_missing_is_what_nobody_covers(wanted: Span, covered: list[Span]) -> None:
    found = missing(wanted, covered)
    assert hours(*found) == hours(wanted) - hours(*covered)
    assert merged(found) == found
