"""When it makes sense to ask the upstream again, and in which order."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cryptocast.data.sources.errors import RateLimited
from cryptocast.errors import UpstreamError
from cryptocast.net import Unreachable
from cryptocast.workflows.market_data.downloads import IN_A_ROW, Reach, by_turns


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
