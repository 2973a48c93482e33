"""Every fault over a real socket, as a client meets it."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from cryptocast.rehearsal import FAULTS, FakeUpstream, Rule
from cryptocast.rehearsal.faults import Fault
from tests.rehearsal.conftest import NOW

CHART = "/coins/bitcoin/market_chart?vs_currency=usd&days=91"


@contextmanager
def connected(fake: FakeUpstream) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", fake.port), timeout=60) as raw:
        yield raw


def ask(raw: socket.socket, path: str = "/api/v3/ping", *headers: str) -> None:
    raw.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: fake", *headers, "", ""]).encode())


def until_closed(raw: socket.socket) -> bytes:
    received = b""
    while piece := raw.recv(65_536):
        received += piece
    return received


def all_closed(fake: FakeUpstream, *, within_s: float = 60.0) -> bool:
    """Whether no connection is left, now or soon."""
    end = time.monotonic() + within_s
    while fake.connections.open and time.monotonic() < end:
        time.sleep(0.01)
    return fake.connections.open == 0


def test_two_requests_share_a_connection(fake: FakeUpstream, client: httpx.Client) -> None:
    assert [client.get("/ping").status_code for _ in range(3)] == [200] * 3
    assert fake.connections.accepted == 1
    assert {call.connection for call in fake.calls.log} == {1}


def test_a_request_in_pieces_and_two_at_once_are_understood(fake: FakeUpstream) -> None:
    with connected(fake) as raw:
        for piece in (b"GET /api/v3/pi", b"ng HTTP/1.1\r\nHo", b"st: fake\r\n\r"):
            raw.sendall(piece)
            time.sleep(0.01)
        raw.sendall(b"\nGET /api/v3/ping HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert until_closed(raw).count(b"To the Moon") == 2


@pytest.mark.parametrize("junk", [b"\x00\x01\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\nbad\r\n\r\n"])
def test_what_is_no_request_is_400(fake: FakeUpstream, junk: bytes) -> None:
    with connected(fake) as raw:
        raw.sendall(junk)
        assert until_closed(raw).startswith(b"HTTP/1.1 400 ")


def test_large_answers_are_compressed_for_those_who_take_it(fake: FakeUpstream) -> None:
    plain = httpx.get(fake.url + CHART, headers={"accept-encoding": "identity"})
    packed = httpx.get(fake.url + CHART, headers={"accept-encoding": "gzip, br"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < 0.7 * int(plain.headers["content-length"])
    assert packed.content == plain.content


def test_ids_can_be_dropped_from_a_batch(fake: FakeUpstream, client: httpx.Client) -> None:
    fake.script([Rule(fault="drop_ids", ids=("ethereum",), times=1), Rule(fault="drop_ids")])
    params = {"ids": "bitcoin,ethereum,litecoin", "vs_currencies": "usd"}
    assert client.get("/simple/price", params=params).json().keys() == {"bitcoin", "litecoin"}
    assert client.get("/simple/price", params=params).json().keys() == {"bitcoin", "litecoin"}
    assert client.get("/coins/bitcoin").status_code == 404


def test_a_truncated_body_ends_before_its_length(fake: FakeUpstream, client: httpx.Client) -> None:
    fake.script([Rule(fault="truncated", times=1)])
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        client.get(CHART)
    assert client.get(CHART).status_code == 200


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("close", httpx.RemoteProtocolError),
        ("reset", httpx.ReadError),
        ("reset_body", httpx.ReadError),
        ("garbage", httpx.RemoteProtocolError),
    ],
)
def test_a_connection_that_breaks_is_an_error_and_the_next_call_is_good(
    fake: FakeUpstream, client: httpx.Client, fault: Fault, error: type[Exception]
) -> None:
    fake.script([Rule(fault=fault, times=1)])
    with pytest.raises(error):
        client.get(CHART)
    assert client.get(CHART).status_code == 200
    assert [call.fault for call in fake.calls.log] == [fault, None]


def test_a_reset_is_a_reset_and_a_close_is_not(fake: FakeUpstream) -> None:
    fake.script([Rule(fault="reset", times=1), Rule(fault="close", times=1)])
    with connected(fake) as raw:
        ask(raw)
        with pytest.raises(ConnectionResetError):
            raw.recv(1)
    with connected(fake) as raw:
        ask(raw)
        assert raw.recv(1) == b""


def test_the_connection_may_end_right_after_an_answer_that_promised_to_keep_it(fake: FakeUpstream) -> None:
    fake.script(["close_after"])
    with connected(fake) as raw:
        ask(raw)
        answer = until_closed(raw)
    assert b"connection: keep-alive" in answer
    assert answer.endswith(b'{"gecko_says":"(V3) To the Moon!"}')


@pytest.mark.parametrize("fault", ["hang", "hang_body"])
def test_a_hang_sends_nothing_more_until_its_end(fake: FakeUpstream, fault: Fault) -> None:
    fake.script([fault])
    with httpx.Client(timeout=httpx.Timeout(60, read=0.15)) as client, pytest.raises(httpx.ReadTimeout):
        client.get(fake.url + CHART)
    fake.script([Rule(fault=fault, seconds=0.4)])
    began = time.monotonic()
    with connected(fake) as raw:
        ask(raw)
        until_closed(raw)
    assert time.monotonic() - began >= 0.39


def test_a_client_that_leaves_a_hang_frees_its_connection(fake: FakeUpstream) -> None:
    fake.script(["hang"])
    with connected(fake) as raw:
        ask(raw)
        assert fake.calls.wait(1, timeout_s=60)
        assert fake.connections.open == 1
    assert all_closed(fake)


def test_a_dripping_answer_is_good_but_takes_its_time(fake: FakeUpstream) -> None:
    fake.script([Rule(fault="drip", seconds=1.0)])
    began = time.monotonic()
    with connected(fake) as raw:
        ask(raw, "/api/v3/ping", "Connection: close")
        first = raw.recv(65_536)
        rest = until_closed(raw)
    assert rest  # the first piece is not all
    assert (first + rest).endswith(b'Moon!"}')
    assert time.monotonic() - began > 0.9


def test_a_chunked_answer_is_good_and_tells_no_length(fake: FakeUpstream, client: httpx.Client) -> None:
    good = client.get(CHART)
    fake.script(["chunked"])
    told = client.get(CHART)
    assert told.json() == good.json()
    assert "content-length" not in told.headers
    assert told.headers["transfer-encoding"] == "chunked"
    assert fake.connections.accepted == 1  # it stays


def test_a_slow_answer_comes_late_and_whole(fake: FakeUpstream, client: httpx.Client) -> None:
    fake.script([Rule(fault="slow", seconds=0.2)])
    began = time.monotonic()
    assert client.get("/ping").status_code == 200
    assert time.monotonic() - began > 0.19


def test_latency_delays_every_answer_but_not_one_after_the_other(fake: FakeUpstream) -> None:
    fake.set_latency(1.0)
    began = time.monotonic()
    with ExitStack() as stack:
        raws = [stack.enter_context(connected(fake)) for _ in range(5)]
        for raw in raws:
            ask(raw, "/api/v3/ping", "Connection: close")
        assert fake.calls.wait(5, timeout_s=60)
        assert fake.connections.open == 5  # all of them wait for their answers at once
        assert all(until_closed(raw).endswith(b'Moon!"}') for raw in raws)
    assert time.monotonic() - began >= 0.99


def test_idle_connections_end_after_their_time(fake: FakeUpstream) -> None:
    fake.script([Rule(fault="idle_close", seconds=0.15)])
    began = time.monotonic()
    with connected(fake) as raw:
        ask(raw)
        assert raw.recv(65_536).endswith(b"}")
        assert raw.recv(1) == b""
    assert time.monotonic() - began >= 0.14


def test_every_idle_connection_can_be_set_to_end_by_itself() -> None:
    with FakeUpstream(now=NOW, coins=0, idle_timeout_s=0.1) as fake, connected(fake) as raw:
        assert raw.recv(1) == b""


def test_idle_connections_end_on_demand_and_busy_ones_stay(fake: FakeUpstream) -> None:
    fake.script([Rule(fault="slow", seconds=2.0, calls=(4,))])
    with connected(fake) as a, connected(fake) as b, connected(fake) as c, connected(fake) as busy:
        for raw in (a, b, c):
            ask(raw)
            assert raw.recv(65_536)
        ask(busy)
        assert fake.calls.wait(4, timeout_s=60)
        assert (fake.connections.open, fake.connections.idle) == (4, 3)
        assert fake.close_idle() == 3
        assert [raw.recv(1) for raw in (a, b, c)] == [b""] * 3
        assert busy.recv(65_536).endswith(b"}")


@pytest.mark.parametrize("fault", FAULTS)
def test_after_any_fault_nothing_is_left_open_and_the_server_still_answers(fault: Fault) -> None:
    with FakeUpstream(now=NOW, coins=0) as fake:
        fake.script([Rule(fault=fault, seconds=0.05, size=100_000)])
        for _ in range(3):
            with httpx.Client(timeout=2) as client, suppress(httpx.TransportError):
                client.get(f"{fake.url}/simple/price?ids=bitcoin&vs_currencies=usd")
        assert all_closed(fake)
        assert [call.fault for call in fake.calls.log] == [fault] * 3
        fake.script()
        assert httpx.get(f"{fake.url}/ping").status_code == 200
