import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.errors import DataError, UpstreamError
from cryptocast.net import Batcher, CircuitOpen, Limiter, Overloaded, Place, Unreachable
from cryptocast.net.tasks import Tasks
from tests.net.local_upstream import until


@dataclass
class Upstream:
    """Answers the id in capitals; knows nothing of ids that begin with `no`. Calls wait until they may `go`, and then
    for the delay."""

    delay_s: float = 0.03
    go: asyncio.Event | None = None
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    open: int = 0
    failing: Exception | None = None

    async def __call__(self, key: str, ids: Sequence[str], place: Place | None) -> Mapping[str, str]:
        self.calls.append((key, tuple(ids)))
        self.open += 1
        if self.go is not None:
            await self.go.wait()
        await asyncio.sleep(self.delay_s)
        self.open -= 1
        if self.failing is not None:
            raise self.failing
        return {name: f"{key}:{name.upper()}" for name in ids if not name.startswith("no")}

    @property
    def asked(self) -> list[list[str]]:
        return [list(ids) for _, ids in self.calls]


def run(work: Callable[[Batcher[str, str]], Coroutine[Any, Any, None]], upstream: Upstream, **options: Any) -> None:
    async def main() -> None:
        tasks = Tasks(1000)
        batcher: Batcher[str, str] = Batcher(upstream, tasks=tasks, **options)
        await work(batcher)
        assert await until(lambda: not batcher._groups)  # nothing is left behind
        await tasks.close()

    asyncio.run(main())


def test_a_burst_of_callers_of_the_same_and_of_other_ids_is_one_call() -> None:
    upstream = Upstream()

    async def work(batcher: Batcher[str, str]) -> None:
        asked = [batcher.get("usd", [f"coin-{n % 30}"]) for n in range(100)]
        answers = [parts.only() for parts in await asyncio.gather(*asked)]
        assert answers == [f"usd:COIN-{n % 30}" for n in range(100)]

    run(work, upstream)
    assert upstream.asked == [[f"coin-{n}" for n in range(30)]]


def test_the_first_call_goes_at_once_and_what_comes_while_it_is_under_way_is_one_call_more() -> None:
    upstream = Upstream(go=asyncio.Event())

    async def work(batcher: Batcher[str, str]) -> None:
        assert upstream.go is not None
        first = asyncio.ensure_future(batcher.get("usd", ["a"]))
        assert await until(lambda: upstream.open == 1)
        rest = [asyncio.ensure_future(batcher.get("usd", [name])) for name in "bcd"]
        await asyncio.sleep(0.02)
        assert len(upstream.calls) == 1
        upstream.go.set()
        await asyncio.gather(first, *rest)

    run(work, upstream, window_s=3600.0)
    assert upstream.asked == [["a"], ["b", "c", "d"]]


def test_nobody_waits_longer_than_the_window_for_a_slow_call_before() -> None:
    upstream = Upstream(go=asyncio.Event())

    async def work(batcher: Batcher[str, str]) -> None:
        assert upstream.go is not None
        first = asyncio.ensure_future(batcher.get("usd", ["a"]))
        assert await until(lambda: upstream.open == 1)
        second = asyncio.ensure_future(batcher.get("usd", ["b"]))
        assert await until(lambda: upstream.open == 2)
        upstream.go.set()
        await asyncio.gather(first, second)

    run(work, upstream, window_s=0.05)


def test_a_full_call_goes_before_the_window_is_over() -> None:
    upstream = Upstream(go=asyncio.Event())

    async def work(batcher: Batcher[str, str]) -> None:
        assert upstream.go is not None
        first = asyncio.ensure_future(batcher.get("usd", ["a"]))
        assert await until(lambda: upstream.open == 1)
        rest = [asyncio.ensure_future(batcher.get("usd", [f"b{n}"])) for n in range(10)]
        assert await until(lambda: upstream.open == 2)
        upstream.go.set()
        await asyncio.gather(first, *rest)

    run(work, upstream, window_s=3600.0, max_ids=10)


def test_an_id_that_is_under_way_is_not_asked_again() -> None:
    upstream = Upstream(go=asyncio.Event())

    async def work(batcher: Batcher[str, str]) -> None:
        assert upstream.go is not None
        first = asyncio.ensure_future(batcher.get("usd", ["a", "a", "b"]))
        assert await until(lambda: upstream.open == 1)
        second = asyncio.ensure_future(batcher.get("usd", ["b", "c", "a"]))
        await asyncio.sleep(0)
        upstream.go.set()
        assert list((await second).values) == ["b", "c", "a"]
        assert (await first).values == {"a": "usd:A", "b": "usd:B"}

    run(work, upstream)
    assert upstream.asked == [["a", "b"], ["c"]]


def test_other_currencies_and_options_never_share_a_call() -> None:
    upstream = Upstream()

    async def work(batcher: Batcher[str, str]) -> None:
        usd, eur = await asyncio.gather(batcher.get("usd", ["a"]), batcher.get("eur", ["a"]))
        assert (usd.only(), eur.only()) == ("usd:A", "eur:A")

    run(work, upstream)
    assert sorted(upstream.calls) == [("eur", ("a",)), ("usd", ("a",))]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(st.text("abcdefgh-é", min_size=1, max_size=12), max_size=12),
        max_size=12,
    ),
    st.integers(1, 9),
)
def test_every_caller_gets_exactly_its_own_ids_in_calls_of_legal_size(asked: list[list[str]], max_ids: int) -> None:
    upstream = Upstream(delay_s=0.0)

    async def work(batcher: Batcher[str, str]) -> None:
        answers = await asyncio.gather(*(batcher.get("usd", ids) for ids in asked))
        for ids, parts in zip(asked, answers, strict=True):
            assert parts.values == {name: f"usd:{name.upper()}" for name in ids}
            assert parts.errors == {}

    run(work, upstream, max_ids=max_ids, max_chars=100, other_chars=40)
    for ids in upstream.asked:
        assert len(ids) <= max_ids
        assert len(set(ids)) == len(ids)
        assert len(quote(",".join(ids), safe="")) <= 60 or len(ids) == 1


def test_two_hundred_and_fifty_ids_are_three_calls() -> None:
    upstream = Upstream()

    async def work(batcher: Batcher[str, str]) -> None:
        parts = await batcher.get("usd", [f"coin-{n}" for n in range(250)])
        assert len(parts.values) == 250

    run(work, upstream)
    assert [len(ids) for ids in upstream.asked] == [100, 100, 50]


def test_an_unknown_id_fails_for_those_who_asked_for_it_only() -> None:
    async def work(batcher: Batcher[str, str]) -> None:
        good, unknown, both = await asyncio.gather(
            batcher.get("usd", ["a"]), batcher.get("usd", ["nothing"]), batcher.get("usd", ["a", "nothing"])
        )
        assert good.only() == "usd:A"
        with pytest.raises(DataError, match="'nothing'"):
            unknown.only()
        assert (both.values, list(both.errors)) == ({"a": "usd:A"}, ["nothing"])

    run(work, Upstream())


def test_a_failed_call_is_told_to_each_of_its_callers_and_not_to_the_next() -> None:
    upstream = Upstream(failing=UpstreamError("down"))

    async def work(batcher: Batcher[str, str]) -> None:
        for parts in await asyncio.gather(*(batcher.get("usd", [name]) for name in "ab")):
            with pytest.raises(UpstreamError, match="down"):
                parts.only()
        upstream.failing = None
        assert (await batcher.get("usd", ["a"])).only() == "usd:A"

    run(work, upstream)


def test_a_mistake_in_the_fetching_reaches_the_callers() -> None:
    async def work(batcher: Batcher[str, str]) -> None:
        with pytest.raises(KeyError):
            await batcher.get("usd", ["a"])

    run(work, Upstream(failing=KeyError("x")))


def test_a_caller_who_leaves_ends_nothing_for_the_others_even_if_all_leave() -> None:
    upstream = Upstream(delay_s=0.1)

    async def work(batcher: Batcher[str, str]) -> None:
        callers = [asyncio.ensure_future(batcher.get("usd", [name])) for name in ("a", "a", "b")]
        assert await until(lambda: upstream.open == 1)
        callers[0].cancel()
        assert (await callers[1]).only() == "usd:A"
        lonely = asyncio.ensure_future(batcher.get("usd", ["z"]))
        assert await until(lambda: upstream.open == 1)
        lonely.cancel()
        assert await until(lambda: upstream.open == 0)
        assert (await callers[2]).only() == "usd:B"

    run(work, upstream)
    assert upstream.asked == [["a", "b"], ["z"]]


def test_an_id_that_nobody_waits_for_any_more_is_not_asked() -> None:
    upstream = Upstream(go=asyncio.Event())

    async def work(batcher: Batcher[str, str]) -> None:
        assert upstream.go is not None
        first = asyncio.ensure_future(batcher.get("usd", ["a"]))
        assert await until(lambda: upstream.open == 1)
        gone = asyncio.ensure_future(batcher.get("usd", ["b"]))
        stays = asyncio.ensure_future(batcher.get("usd", ["c"]))
        await asyncio.sleep(0)
        gone.cancel()
        upstream.go.set()
        await asyncio.gather(first, stays)

    run(work, upstream, window_s=3600.0)
    assert upstream.asked == [["a"], ["c"]]


def test_the_shortest_deadline_does_not_end_the_longer_ones() -> None:
    upstream = Upstream(go=asyncio.Event())

    async def work(batcher: Batcher[str, str]) -> None:
        assert upstream.go is not None
        long = asyncio.ensure_future(batcher.get("usd", ["a", "b"], deadline_s=60.0))
        short = await batcher.get("usd", ["a"], deadline_s=0.02)
        upstream.go.set()
        with pytest.raises(Unreachable, match=r"No answer for 'a' in 0\.02 s"):
            short.only()
        assert (await long).values == {"a": "usd:A", "b": "usd:B"}

    run(work, upstream)


def test_while_the_limiter_holds_a_call_back_more_ids_join_it() -> None:
    upstream = Upstream(delay_s=0.0)

    async def work(batcher: Batcher[str, str]) -> None:
        turn.set()
        await batcher.get("usd", ["a"])
        turn.clear()
        callers = []
        for n in range(10):
            callers.append(asyncio.ensure_future(batcher.get("usd", [f"b{n}"])))
            await asyncio.sleep(0.002)
        turn.set()
        await asyncio.gather(*callers)

    limiter, turn = Limiter(100), asyncio.Event()

    async def admit(_: str) -> Place:
        await turn.wait()
        return await limiter.acquire()

    run(work, upstream, admit=admit, window_s=0.001)
    assert upstream.asked == [["a"], [f"b{n}" for n in range(10)]]


def test_when_no_call_is_admitted_all_who_wait_hear_why_and_no_place_is_lost() -> None:
    upstream = Upstream()

    async def closed(_: str) -> Place:
        raise CircuitOpen("open", retry_after_s=3.0)

    async def work(batcher: Batcher[str, str]) -> None:
        for parts in await asyncio.gather(*(batcher.get("usd", [name]) for name in "ab")):
            with pytest.raises(CircuitOpen):
                parts.only()

    run(work, upstream, admit=closed)
    assert upstream.calls == []


def test_a_place_for_a_call_that_nobody_wants_any_more_is_given_back() -> None:
    limiter = Limiter(1)
    ready = asyncio.Event()

    async def admit(_: str) -> Place:
        await ready.wait()
        return await limiter.acquire()

    async def work(batcher: Batcher[str, str]) -> None:
        caller = asyncio.ensure_future(batcher.get("usd", ["a"]))
        for _ in range(5):
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.sleep(0)
        ready.set()

    upstream = Upstream()
    run(work, upstream, admit=admit)
    assert (upstream.calls, limiter.wait_s() <= 0) == ([], True)


def test_there_is_a_bound_on_ids_that_wait() -> None:
    async def work(batcher: Batcher[str, str]) -> None:
        first = asyncio.ensure_future(batcher.get("usd", ["a", "b"]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="2 ids are already waiting"):
            await batcher.get("usd", ["c"])
        assert len((await first).values) == 2

    run(work, Upstream(), max_open=2)


def test_closing_tells_those_who_wait() -> None:
    async def work() -> None:
        tasks = Tasks(100)
        upstream = Upstream(delay_s=3600)
        batcher: Batcher[str, str] = Batcher(upstream, tasks=tasks)
        sent = asyncio.ensure_future(batcher.get("usd", ["a"]))
        assert await until(lambda: upstream.open == 1)
        waiting = asyncio.ensure_future(batcher.get("usd", ["b"]))
        await asyncio.sleep(0)
        await tasks.close(grace_s=0.01)
        later: Awaitable[Any] = batcher.get("usd", ["c"])
        for caller in (sent, waiting, later):
            with pytest.raises(Unreachable, match="clos"):
                (await caller).only()
        assert batcher._groups == {}

    asyncio.run(work())
