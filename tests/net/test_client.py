import asyncio
import logging
import random
import socket
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from cryptocast.errors import ConfigError, UpstreamError
from cryptocast.net import Answer, ApiClient, Limiter, NetSettings, Unreachable

Step = httpx.Response | Exception


class Upstream:
    """Plays one step for each request, the last one again and again; its clock moves when somebody sleeps."""

    def __init__(self, steps: Sequence[Step], *, seconds_a_call: float = 0.0) -> None:
        self.steps, self.requests = list(steps), list[httpx.Request]()
        self.now, self.slept, self.seconds_a_call = 0.0, list[float](), seconds_a_call

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.now += self.seconds_a_call
        step = self.steps[min(len(self.requests), len(self.steps)) - 1]
        if isinstance(step, Exception):
            raise step
        return httpx.Response(step.status_code, headers=step.headers, content=step.content)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def get(self, **settings: Any) -> Answer:
        async def work() -> Answer:
            limiter = Limiter(1000, clock=lambda: self.now, sleep=self.sleep)
            async with ApiClient(
                "https://api.example/v3",
                name="Example",
                limiter=limiter,
                settings=NetSettings(**settings),
                headers={"x-key": "SECRET"},
                transport=httpx.MockTransport(self),
                clock=lambda: self.now,
                sleep=self.sleep,
                rng=random.Random(1),
            ) as client:
                return await client.get("/ping", {"a": "b"})

        return asyncio.run(work())


OK = httpx.Response(200, content=b"{}")


def test_an_answer_comes_back_with_status_body_and_headers() -> None:
    upstream = Upstream([httpx.Response(200, content=b'{"a":1}', headers={"X-Request-Id": "7"})])
    answer = upstream.get()
    assert (answer.status, answer.body, answer.headers["x-request-id"]) == (200, b'{"a":1}', "7")
    assert str(upstream.requests[0].url) == "https://api.example/v3/ping?a=b"
    assert upstream.requests[0].headers["x-key"] == "SECRET"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
def test_passing_failures_are_tried_again(status: int) -> None:
    upstream = Upstream([httpx.Response(status), OK])
    assert upstream.get().status == 200
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 414, 422])
def test_refusals_are_not_tried_again(status: int) -> None:
    upstream = Upstream([httpx.Response(status, content=b"why"), OK])
    answer = upstream.get()
    assert (answer.status, answer.body, len(upstream.requests)) == (status, b"why", 1)


@pytest.mark.parametrize(
    "error",
    [httpx.ReadError("gone"), httpx.RemoteProtocolError("cut"), httpx.ReadTimeout(""), httpx.ConnectError("no")],
)
def test_lost_connections_are_tried_again(error: Exception) -> None:
    upstream = Upstream([error, error, OK])
    assert upstream.get(max_retries=2).status == 200
    assert len(upstream.requests) == 3


def test_the_last_answer_is_returned_when_the_tries_are_used_up() -> None:
    upstream = Upstream([httpx.ReadError("gone"), httpx.Response(503, content=b"busy")])
    answer = upstream.get(max_retries=2)
    assert (answer.status, answer.body, len(upstream.requests)) == (503, b"busy", 3)


def test_no_answer_at_all_is_an_error_that_says_what_to_do_and_keeps_the_key() -> None:
    upstream = Upstream([httpx.ReadError("connection reset")])
    with pytest.raises(Unreachable) as caught:
        upstream.get(max_retries=1)
    message = str(caught.value)
    assert "Example could not be reached at api.example (tried 2 times: connection reset)" in message
    assert message.endswith("Check the network.")
    assert "SECRET" not in message
    assert isinstance(caught.value, UpstreamError)


def unknown_name() -> Exception:
    error = httpx.ConnectError("[Errno -2] Name or service not known")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    return error


@pytest.mark.parametrize("error", [unknown_name(), httpx.ConnectTimeout("")])
def test_a_machine_without_a_network_is_not_made_to_wait(error: Exception) -> None:
    upstream = Upstream([error, OK])
    with pytest.raises(Unreachable, match="tried once"):
        upstream.get(max_retries=5)
    assert (len(upstream.requests), upstream.slept) == (1, [])


def test_the_pauses_are_jittered_fully_and_grow() -> None:
    longest: list[float] = [0.0, 0.0, 0.0]
    for seed in range(200):
        upstream = Upstream([httpx.Response(500)])

        async def work(seed: int = seed, upstream: Upstream = upstream) -> None:
            async with ApiClient(
                "https://api.example",
                name="Example",
                limiter=Limiter(1000),
                settings=NetSettings(max_retries=3),
                transport=httpx.MockTransport(upstream),
                clock=lambda: upstream.now,
                sleep=upstream.sleep,
                rng=random.Random(seed),
            ) as client:
                await client.get("/")

        asyncio.run(work())
        longest = [max(pair) for pair in zip(longest, upstream.slept, strict=True)]
        assert min(upstream.slept) >= 0.0
    assert 0.45 < longest[0] <= 0.5
    assert 0.9 < longest[1] <= 1.0
    assert 1.8 < longest[2] <= 2.0


def test_retry_after_is_waited_for_and_pauses_the_limiter() -> None:
    upstream = Upstream([httpx.Response(429, headers={"retry-after": "7"}), OK])
    assert upstream.get().status == 200
    assert 7.0 <= sum(upstream.slept) < 7.6


def test_a_429_without_retry_after_is_not_hammered() -> None:
    upstream = Upstream([httpx.Response(429, content=b"<html>"), OK])
    assert upstream.get().status == 200
    assert sum(upstream.slept) >= 20.0


def test_a_wait_beyond_the_deadline_is_not_started() -> None:
    upstream = Upstream([httpx.Response(429, headers={"retry-after": "119"}), OK])
    assert upstream.get(deadline_s=60).status == 429
    assert upstream.slept == []


def test_the_deadline_bounds_the_tries() -> None:
    upstream = Upstream([httpx.Response(500)], seconds_a_call=10.0)
    upstream.get(deadline_s=25.0, max_retries=5)
    assert len(upstream.requests) == 3


def test_a_server_that_drips_is_cut_off_at_the_deadline() -> None:
    async def drip() -> Any:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    async def work() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=drip()))
        settings = NetSettings(deadline_s=0.15, max_retries=0)
        async with ApiClient(
            "https://api.example", name="Example", limiter=Limiter(10), settings=settings, transport=transport
        ) as client:
            await client.get("/")

    with pytest.raises(Unreachable, match="no answer in time"):
        asyncio.run(asyncio.wait_for(work(), timeout=60))


@pytest.mark.parametrize("url", ["ftp://api.example", "api.example", "https://", "http://a:port", ""])
def test_an_address_that_is_none_is_a_mistake_of_the_settings(url: str) -> None:
    with pytest.raises(ConfigError, match="upstream address"):
        ApiClient(url, name="Example", limiter=Limiter(1))


def test_the_key_stands_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    upstream = Upstream([httpx.Response(500), httpx.ReadError("gone"), OK])
    upstream.get()
    assert "attempt 1 of 3" in caplog.text
    assert "SECRET" not in caplog.text
