from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.data.intervals import merged, missing
from cryptocast.data.schema import Provenance, SeriesKey
from cryptocast.data.sources.base import TOLERANCE, missing_spans
from cryptocast.market import Market

NOW = datetime(2026, 1, 2, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
START = NOW - 9000 * HOUR
KEY = SeriesKey(Market("coingecko", "usd", "hourly"), "bitcoin")

spans = st.lists(
    st.tuples(st.integers(0, 8000), st.integers(1, 900)).map(
        lambda pair: (NOW - (pair[0] + pair[1]) * HOUR, NOW - pair[0] * HOUR)
    ),
    min_size=1,
    max_size=6,
)


def stored(first: datetime, last: datetime) -> Provenance:
    return Provenance(KEY, fetched_at=last, content_hash="", rows=2, first=first, last=last)


@settings(max_examples=50, deadline=None)
@given(spans)
def test_what_is_covered_and_what_is_missing_make_the_whole_history(covered: list[tuple[datetime, datetime]]) -> None:
    known = merged(covered)
    series = stored(known[0][0] + HOUR, known[-1][1])
    wanted = missing_spans(series, covered, NOW, start=START, fresh=False, whole=True)
    assert missing((START + TOLERANCE, NOW), [*covered, *wanted]) == ()


@settings(max_examples=50, deadline=None)
@given(spans)
def test_of_a_fresh_series_only_the_gaps_inside_are_missing(covered: list[tuple[datetime, datetime]]) -> None:
    known = merged(covered)
    series = stored(known[0][0] + HOUR, known[-1][1])
    wanted = missing_spans(series, covered, NOW, start=START, fresh=True)
    assert tuple(wanted) == missing((known[0][0], known[-1][1]), known)


def test_all_of_it_is_missing_from_an_empty_store_and_on_request() -> None:
    assert missing_spans(None, (), NOW, start=START, fresh=True) == [(START, NOW)]
    series = stored(START + HOUR, NOW - HOUR)
    assert missing_spans(series, ((START, NOW),), NOW, start=START, fresh=True, refresh=True) == [(START, NOW)]
