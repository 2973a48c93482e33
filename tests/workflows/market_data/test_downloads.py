"""When it makes sense to ask the upstream again, in which order, and what is noted of an answer."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.data.schema import CANDLE_SCHEMA, SeriesKey
from cryptocast.data.sources.errors import RateLimited
from cryptocast.data.sources.upstream import History, Page, Upstream
from cryptocast.data.store import CandleStore
from cryptocast.errors import UpstreamError
from cryptocast.market import Market
from cryptocast.net import Unreachable
from cryptocast.workflows.market_data.downloads import IN_A_ROW, Downloads, Reach, by_turns


def test_nobody_there_is_asked_so_often_as_was_said_and_one_answer_makes_it_reachable() -> None:
    once, twice, answered = Reach(tries=1), Reach(tries=2), Reach(tries=1)
    once.note(Unreachable("no"))
    twice.note(Unreachable("no"))
    assert once.down is not None
    assert twice.down is None
    answered.note(None)
    answered.note(Unreachable("no"))
    assert (answered.answered, answered.down) == (True, None)


def test_a_limit_ends_it_at_once_and_other_failures_only_in_a_row() -> None:
    limited, failing = Reach(), Reach()
    limited.note(RateLimited("slow down"))
    assert limited.down is not None
    for _ in range(IN_A_ROW - 1):
        failing.note(UpstreamError("broken"))
    failing.note(None)
    assert failing.down is None
    for _ in range(IN_A_ROW):
        failing.note(UpstreamError("broken"))
    assert failing.down is not None


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=5))
def test_every_page_comes_once_and_each_coins_pages_in_their_order(pages: list[list[int]]) -> None:
    tagged: Any = [[(coin, place) for place in range(len(own))] for coin, own in enumerate(pages)]
    turns: Any = by_turns(tagged)
    assert sorted(turns) == sorted(page for own in tagged for page in own)
    assert [place for _, place in turns] == sorted(place for _, place in turns)


class NothingThere(Upstream):
    """An exchange that answers, and has no bar."""

    async def page(self, *_: object, **__: object) -> History:
        return History(pl.DataFrame(schema=CANDLE_SCHEMA))


@pytest.mark.parametrize("ends_now", [True, False])
def test_an_empty_answer_about_the_newest_bars_counts_as_asked_and_one_about_older_bars_does_not(
    tmp_path: Path, ends_now: bool
) -> None:
    last, store = datetime(2026, 1, 2, tzinfo=UTC), CandleStore(tmp_path, lock_timeout_s=5.0)
    key = SeriesKey(Market("bitstamp", "usd", "daily"), "bitcoin")
    frame = pl.DataFrame([("bitcoin", last, *[5.0] * 4, 1.0, None, True)], schema=CANDLE_SCHEMA, orient="row")
    store.write(key, frame, fetched_at=last)
    now = last + timedelta(days=50)
    page = Page(key, last + timedelta(days=10), now if ends_now else last + timedelta(days=20), ends_now=ends_now)
    with NothingThere() as upstream:
        assert list(Downloads(store, lambda: upstream, lambda: now).bring([page])) == [(page, None)]
    stored = store.read(key)
    assert stored is not None
    assert stored.provenance.fetched_at == (now if ends_now else last)
    assert store.covered(key)[0][0] == page.start
