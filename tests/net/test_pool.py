import asyncio
import gc
import gzip
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpcore
import httpx
import pytest

from cryptocast.errors import ConfigError
from cryptocast.net import Answer, ApiClient, Limiter, NetSettings, Overloaded, Try, Unreachable
from cryptocast.net.answer import CallFailed
from cryptocast.net.pool import MAX_BODY_BYTES, Pool, _pools, _unusable
from tests.net.local_upstream import LocalUpstream, client_sockets, descriptors, serving, until

needs_proc = pytest.mark.skipif(sys.platform == "win32", reason="counts descriptors")


@asynccontextmanager
async def pooled(settings: NetSettings | None = None) -> AsyncIterator[Pool]:
    pool = Pool(settings, trust_env=False)
    try:
        yield pool
    finally:
        await pool.close()


def client(upstream: LocalUpstream, pool: Pool, **settings: float) -> ApiClient:
    chosen = NetSettings(max_retries=0, **settings)  # type: ignore[arg-type]
    return ApiClient(upstream.url, name="Local", limiter=Limiter(10**6), pool=pool, settings=chosen)


async def fetch(pool: Pool, url: str, deadline_s: float = 5.0) -> Answer:
    return await pool.tasks.result(pool.tasks.start(pool.get(url, None, {}, deadline_s=deadline_s)))


async def outcome(pool: Pool, url: str, deadline_s: float = 5.0) -> int | str:
    try:
        return (await fetch(pool, url, deadline_s)).status
    except CallFailed as failure:
        return failure.reason


def test_a_post_carries_its_body_over_the_same_connections() -> None:
    def received(request: httpx.Request) -> httpx.Response:
        return httpx.Response(201, json=[request.method, request.content.decode(), request.headers["a"]])

    async def work() -> None:
        pool = Pool(transport=httpx.MockTransport(received))
        sent = pool.post("https://example.org/hook", b'{"a": 1}', {"a": "b"}, deadline_s=5.0)
        answer = await pool.tasks.result(pool.tasks.start(sent))
        assert (answer.status, json.loads(answer.body)) == (201, ["POST", '{"a": 1}', "b"])
        await pool.close()
        with pytest.raises(Unreachable):
            await pool.post("https://example.org/hook", b"", {}, deadline_s=5.0)

    asyncio.run(work())


@pytest.mark.parametrize("path", ["/hang", "/reset", "/silent"])
def test_a_post_that_nobody_answers_ends_at_its_deadline(path: str) -> None:
    async def work() -> None:
        async with serving(LocalUpstream()) as upstream, pooled() as pool:
            with pytest.raises(CallFailed):
                await pool.tasks.result(pool.tasks.start(pool.post(upstream.url + path, b"{}", {}, deadline_s=0.5)))
            assert upstream.hits[path] == 1

    asyncio.run(work())


def test_no_connection_stays_in_close_wait_when_the_upstream_closes_a_hundred_idle_ones() -> None:
    async def work() -> None:
        async with serving(LocalUpstream(delay_s=0.1)) as upstream, pooled() as pool:
            await asyncio.gather(*(fetch(pool, upstream.url + "/ok") for _ in range(100)))
            assert pool.metrics().idle == 100
            assert client_sockets(upstream.port) == {"ESTABLISHED": 100}
            upstream.close_idle()
            assert await until(lambda: client_sockets(upstream.port)["ESTABLISHED"] == 0)
            assert await until(lambda: client_sockets(upstream.port)["CLOSE_WAIT"] == 0)
            assert pool.metrics().open == 0
            assert (pool.metrics().reaped, sum(upstream.hits.values())) == (100, 100)
            assert await outcome(pool, upstream.url + "/ok") == 200

    asyncio.run(work())


def test_a_connection_that_idles_too_long_is_closed_without_traffic_and_then_nothing_runs() -> None:
    async def work() -> None:
        settings = NetSettings(keepalive_s=0.2, reap_every_s=0.1)
        async with serving(LocalUpstream()) as upstream, pooled(settings) as pool:
            await fetch(pool, upstream.url + "/ok")
            assert pool.metrics().open == 1
            assert await until(lambda: not upstream.open)
            assert pool.metrics().open == 0
            assert pool._reaper is not None
            assert await until(pool._reaper.done)

    asyncio.run(work())


def test_a_connection_in_use_is_not_reaped_however_long_the_answer_takes() -> None:
    async def work() -> None:
        settings = NetSettings(keepalive_s=0.05, reap_every_s=0.02)
        async with serving(LocalUpstream()) as upstream, pooled(settings) as pool:
            await fetch(pool, upstream.url + "/ok")
            answers = await asyncio.gather(*(fetch(pool, upstream.url + "/later/0.4") for _ in range(5)))
            assert [answer.status for answer in answers] == [200] * 5
            assert pool.metrics().reclaimed == 0

    asyncio.run(work())


def test_requests_one_after_the_other_use_one_connection_and_http_1_1() -> None:
    async def work() -> None:
        async with serving(LocalUpstream()) as upstream, pooled() as pool:
            for _ in range(10):
                await fetch(pool, upstream.url + "/ok")
            assert upstream.connections == 1
            assert all(line.endswith("HTTP/1.1") for line in upstream.request_lines)

    asyncio.run(work())


def test_every_place_is_back_after_two_thousand_requests_of_which_three_in_ten_are_cancelled() -> None:
    rng = random.Random(5)

    async def work() -> None:
        async with serving(LocalUpstream()) as upstream, pooled(NetSettings(max_connections=10)) as pool:
            api = client(upstream, pool)
            statuses: list[int] = []

            async def one() -> None:
                statuses.append((await api.get("/ok")).status)

            cancelled = 0
            for _ in range(40):
                requests = [asyncio.ensure_future(one()) for _ in range(50)]
                for _ in range(rng.randint(0, 12)):
                    await asyncio.sleep(0)
                for request in rng.sample(requests, 15):
                    cancelled += request.cancel()
                await asyncio.gather(*requests, return_exceptions=True)
            assert len(statuses) + cancelled == 2_000
            assert 500 < cancelled <= 600
            assert await until(lambda: pool.metrics().running == 0)
            seen = pool.metrics()
            assert (seen.open, seen.open - seen.idle, seen.waiting, seen.reclaimed) == (seen.open, 0, 0, 0)
            # Nobody who was cancelled took the call with him: all that went out were answered.
            answers = await asyncio.gather(*(fetch(pool, upstream.url + "/later/0.5") for _ in range(10)))
            assert [answer.status for answer in answers] == [200] * 10
            assert pool.metrics().open == 10

    asyncio.run(work())


def test_places_that_the_library_loses_when_its_own_task_is_cancelled_are_reclaimed() -> None:
    # encode/httpcore#1093: what `tasks` protects from, done on purpose, as a deadline may do it.
    rng = random.Random(7)

    async def work() -> None:
        settings = NetSettings(max_connections=10, reap_every_s=0.1)
        async with serving(LocalUpstream()) as upstream, pooled(settings) as pool:
            for _ in range(150):
                calls = [
                    asyncio.ensure_future(pool.get(upstream.url + "/ok", None, {}, deadline_s=5.0)) for _ in range(20)
                ]
                for _ in range(rng.randint(0, 12)):
                    await asyncio.sleep(0)
                for call in calls:
                    if rng.random() < 0.7:
                        call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
            assert await until(lambda: pool.metrics().open == pool.metrics().idle)
            answers = await asyncio.gather(*(fetch(pool, upstream.url + "/ok") for _ in range(20)))
            assert [answer.status for answer in answers] == [200] * 20
            assert pool.metrics().reclaimed > 0  # otherwise this test would prove nothing

    asyncio.run(work())


def test_who_queues_behind_a_lost_place_gets_it_when_it_is_reclaimed() -> None:
    async def work() -> None:
        async with serving(LocalUpstream()) as upstream, pooled(NetSettings(max_connections=1)) as pool:
            (inner,) = _pools(pool._http)
            inner._connections.append(inner.create_connection(httpcore.URL(upstream.url).origin))  # of nobody
            call = asyncio.ensure_future(fetch(pool, upstream.url + "/ok"))
            assert await until(lambda: len(inner._requests) == 1)
            assert inner._requests[0].connection is None
            await pool.reap()
            assert (await call).status == 200
            assert pool.metrics().reclaimed == 1

    asyncio.run(work())


@needs_proc
def test_after_hundreds_of_requests_with_every_fault_no_descriptor_is_left_and_a_good_request_succeeds() -> None:
    # In a process of its own, where every descriptor can be counted and none belongs to other tests.
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, "-m", "tests.net.many_faults"], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert (run.returncode, run.stderr) == (0, "")
    told = json.loads(run.stdout)
    assert told["after"] == told["before"]
    assert told["after_close"] == told["at_start"]
    assert {"200", "302", "404", "408", "429", "500", "503", "no answer in time"} <= set(told["outcomes"])
    assert set(told["unplayed"]) == set()
    assert told["good"] == 200
    assert told["connections"] == [1, 1, 0]  # open, idle, running


@needs_proc
def test_a_request_that_is_cancelled_while_it_closes_expired_connections_loses_none_of_them() -> None:
    # What the library takes out of its list and then closes one by one, when the next request passes.
    async def work() -> None:
        settings = NetSettings(keepalive_s=0.05, reap_every_s=60.0)
        async with serving(LocalUpstream(delay_s=0.05)) as upstream, pooled(settings) as pool:
            before = descriptors()
            gc.disable()
            try:
                for turns in range(3, 12):
                    await asyncio.gather(*(fetch(pool, upstream.url + "/ok") for _ in range(10)))
                    await asyncio.sleep(0.06)
                    call = asyncio.ensure_future(pool.get(upstream.url + "/ok", None, {}, deadline_s=5.0))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    call.cancel()
                    await asyncio.gather(call, return_exceptions=True)
                await pool.close()
                assert await until(lambda: descriptors() <= before)
            finally:
                gc.enable()

    asyncio.run(work())


@needs_proc
def test_a_handshake_that_never_ends_leaves_no_descriptor_though_nobody_collects_garbage() -> None:
    async def work() -> None:
        async with serving(LocalUpstream()) as upstream, pooled() as pool:
            before = descriptors()
            gc.disable()
            try:
                for _ in range(3):
                    url = upstream.url.replace("http:", "https:")
                    assert await outcome(pool, url + "/ok", deadline_s=0.15) == "no answer in time"
                assert await until(lambda: descriptors() <= before)
            finally:
                gc.enable()

    asyncio.run(work())


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd", "rot13"])
def test_a_body_packed_in_a_way_without_a_bound_is_refused_before_it_is_unpacked(coding: str) -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["accept-encoding"])
        packed = gzip.compress(gzip.compress(b"[" + b" " * 10_000_000))
        return httpx.Response(200, headers={"content-encoding": coding}, stream=httpx.ByteStream(packed))

    async def work() -> None:
        pool = Pool(transport=httpx.MockTransport(answer))
        assert await outcome(pool, "http://x/") == f"the answer is packed as {coding!r}, asked for was gzip"
        await pool.close()

    asyncio.run(work())
    assert sent == ["gzip"]


def test_a_bomb_of_one_layer_ends_at_the_bound_of_a_body() -> None:
    bomb = gzip.compress(b"[" + b" " * (2 * MAX_BODY_BYTES))
    assert len(bomb) < 100_000

    async def work() -> None:
        def answer(_: httpx.Request) -> httpx.Response:
            return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(bomb))

        pool = Pool(transport=httpx.MockTransport(answer))
        assert await outcome(pool, "http://x/") == f"the answer is longer than {MAX_BODY_BYTES} bytes"
        await pool.close()

    asyncio.run(work())


def test_a_reset_of_a_reused_connection_before_the_first_byte_is_repeated_once() -> None:
    async def work(fault: str) -> None:
        plays = iter(["/ok", fault, "/ok"])
        async with serving(LocalUpstream(lambda _: next(plays))) as upstream, pooled() as pool:
            assert await outcome(pool, upstream.url + "/ok") == 200
            assert await outcome(pool, upstream.url + "/ok") == 200
            assert (upstream.hits[fault], pool.metrics().repeated, upstream.connections) == (1, 1, 2)

    for fault in ("/silent", "/reset"):
        asyncio.run(work(fault))


def test_a_reset_of_a_new_connection_or_within_the_answer_is_not_repeated() -> None:
    async def work(fault: str, first: list[str]) -> None:
        plays = iter([*first, fault])
        async with serving(LocalUpstream(lambda _: next(plays))) as upstream, pooled() as pool:
            for _ in first:
                await fetch(pool, upstream.url + "/ok")
            assert isinstance(await outcome(pool, upstream.url + "/ok"), str)
            assert pool.metrics().repeated == 0

    asyncio.run(work("/silent", []))
    asyncio.run(work("/reset", []))
    asyncio.run(work("/cut", ["/ok"]))


def test_a_second_reset_is_an_error() -> None:
    async def work() -> None:
        plays = iter(["/ok", "/silent", "/silent"])
        async with serving(LocalUpstream(lambda _: next(plays))) as upstream, pooled() as pool:
            await fetch(pool, upstream.url + "/ok")
            assert isinstance(await outcome(pool, upstream.url + "/ok"), str)
            assert sum(upstream.hits.values()) == 3

    asyncio.run(work())


@pytest.mark.parametrize("path", ["/drip", "/drip-head", "/hang"])
def test_the_total_deadline_ends_an_answer_that_never_ends(path: str) -> None:
    async def work() -> None:
        patient = NetSettings(read_timeout_s=3600.0)
        async with serving(LocalUpstream()) as upstream, pooled(patient) as pool, asyncio.timeout(120):
            assert await outcome(pool, upstream.url + path, deadline_s=0.3) == "no answer in time"
            assert pool.metrics().open == 0

    asyncio.run(work())


def test_each_phase_has_its_own_timeout_and_none_is_longer_than_the_deadline() -> None:
    seen: list[dict[str, float]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"])
        return httpx.Response(200)

    async def work() -> None:
        settings = NetSettings(connect_timeout_s=1.0, read_timeout_s=2.0, write_timeout_s=3.0, pool_timeout_s=4.0)
        pool = Pool(settings, transport=httpx.MockTransport(answer))
        await pool.get("http://x/", None, {}, deadline_s=60.0)
        await pool.get("http://x/", None, {}, deadline_s=2.5)
        await pool.close()

    asyncio.run(work())
    assert seen == [
        {"connect": 1.0, "read": 2.0, "write": 3.0, "pool": 4.0},
        {"connect": 1.0, "read": 2.0, "write": 2.5, "pool": 2.5},
    ]


def test_who_finds_the_queue_full_or_waits_too_long_for_a_connection_is_turned_away() -> None:
    async def work() -> None:
        settings = NetSettings(max_connections=2, max_waiting=1, pool_timeout_s=0.2)
        async with serving(LocalUpstream()) as upstream, pooled(settings) as pool:
            hanging = [
                asyncio.ensure_future(pool.get(upstream.url + "/hang", None, {}, deadline_s=3600.0)) for _ in "ab"
            ]
            assert await until(lambda: upstream.hits["/hang"] == 2)
            third = asyncio.ensure_future(pool.get(upstream.url + "/ok", None, {}, deadline_s=5.0))
            await asyncio.sleep(0)
            assert pool.metrics().waiting == 1
            with pytest.raises(Overloaded, match="1 calls are already waiting"):
                await pool.get(upstream.url + "/ok", None, {}, deadline_s=5.0)
            with pytest.raises(Overloaded, match=r"No connection became free in 0\.2 s"):
                await third
            metrics = pool.metrics()
            assert (metrics.turned_away, metrics.waiting, upstream.hits["/ok"]) == (2, 0, 0)
            assert metrics.longest_wait_s >= 0.2
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
            assert await outcome(pool, upstream.url + "/ok") == 200

    asyncio.run(work())


def test_a_caller_who_leaves_does_not_end_the_call() -> None:
    tries: list[Try] = []

    async def work() -> None:
        async with serving(LocalUpstream()) as upstream, pooled() as pool:
            api = ApiClient(upstream.url, name="Local", limiter=Limiter(100), pool=pool, on_try=tries.append)
            caller = asyncio.ensure_future(api.get("/later/0.2"))
            assert await until(lambda: upstream.hits["/later/0.2"] == 1)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert tries == []
            assert await until(lambda: bool(tries))

    asyncio.run(work())
    assert [(each.status, each.attempt) for each in tries] == [(200, 1)]


@needs_proc
def test_closing_does_not_wait_for_calls_that_hang_and_leaves_no_descriptor() -> None:
    async def work() -> None:
        async with serving(LocalUpstream()) as upstream:
            before = descriptors()
            pool = Pool(trust_env=False)
            api = client(upstream, pool)
            callers = [asyncio.ensure_future(api.get("/hang")) for _ in range(20)]
            assert await until(lambda: upstream.hits["/hang"] == 20)
            await pool.close()
            for caller in callers:
                with pytest.raises(Unreachable, match="being closed"):
                    await caller
            assert await until(lambda: descriptors() <= before)
            with pytest.raises(Unreachable, match="already closed"):
                await api.get("/ok")

    asyncio.run(work())


def test_closing_lets_a_call_that_is_nearly_done_end_by_itself() -> None:
    async def work() -> None:
        async with serving(LocalUpstream()) as upstream:
            pool = Pool(trust_env=False)
            caller = asyncio.ensure_future(client(upstream, pool).get("/later/0.1"))
            assert await until(lambda: upstream.hits["/later/0.1"] == 1)
            await pool.close()
            assert (await caller).status == 200

    asyncio.run(work())


def test_a_shared_pool_outlives_the_client_that_used_it() -> None:
    async def work() -> None:
        async with serving(LocalUpstream()) as upstream, pooled() as pool:
            for _ in range(2):
                async with client(upstream, pool) as api:
                    assert (await api.get("/ok")).status == 200
            assert upstream.connections == 1

    asyncio.run(work())


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTP_PROXY", "nonsense://x"), ("HTTPS_PROXY", "http://[::1"), ("SSL_CERT_FILE", "/no/such/file")],
)
def test_a_proxy_or_certificates_that_are_none_are_a_mistake_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"HTTP_PROXY.*SSL_CERT_FILE") as caught:
        Pool()
    assert str(caught.value).isprintable()
    asyncio.run(Pool(trust_env=False).close())


def test_the_parts_of_the_library_that_are_looked_into_are_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    proxied = httpx.AsyncClient()
    assert len(_pools(proxied)) == 2  # direct, and by the proxy

    async def work() -> None:
        async with serving(LocalUpstream()) as upstream, pooled() as pool:
            (inner,) = _pools(pool._http)
            assert inner._close_connections == pool._close_apart
            hanging = asyncio.ensure_future(fetch(pool, upstream.url + "/later/0.2"))
            assert await until(lambda: upstream.hits["/later/0.2"] == 1)
            (request,) = inner._requests
            (connection,) = inner.connections
            assert request.connection is connection
            assert inner._connections == [connection]
            assert [connection.is_idle(), connection.is_closed(), connection.has_expired()] == [False] * 3
            assert request.request.extensions["trace"] in pool._live
            assert _unusable(inner, pool._live) == []
            await hanging
            assert connection.is_idle()
            assert (inner._requests, pool._live) == ([], set())

    asyncio.run(work())
