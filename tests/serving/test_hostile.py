"""Clients that mean harm, over real sockets: the server stays up, gives nothing away and answers the next good one."""

import contextlib
import random
import socket
import time
from collections import deque
from collections.abc import Callable

import httpx
import psutil
import pytest

from tests.serving.running import Running, Start, bare_server, eventually

GOOD = b"GET /forecasts?ids=bitcoin HTTP/1.1\r\nHost: x\r\n\r\n"
SMUGGLED = b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n"
MOST_RATIO = 8.0  # of the time of a good answer to that of a bare server: 1.4 at the median, 1.1 at p99
NO_RATE = '{"client_rate_per_s": 0.0}'


def port_of(server: Running) -> int:
    port = httpx.URL(server.address).port
    assert port is not None
    return port


def connected(server: Running, timeout_s: float = 60.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(server)), timeout=timeout_s)


# --- what is sent


def oversized(rng: random.Random) -> bytes:
    size = rng.randrange(8_000, 40_000)
    kind = rng.randrange(4)
    if kind == 0:
        return b"GET /" + b"a" * size + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    if kind == 1:
        return b"GET /forecasts?ids=" + b"b," * size + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    if kind == 2:
        return b"GET / HTTP/1.1\r\n" + b"".join(b"x%d: y\r\n" % number for number in range(size // 50)) + b"\r\n"
    return b"POST /forecasts HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % 10**9 + b"a" * size


def truncated(rng: random.Random) -> bytes:
    return GOOD[: rng.randrange(1, len(GOOD))]


def spoilt(rng: random.Random) -> bytes:
    bytes_ = bytearray(GOOD)
    for _ in range(rng.randrange(1, 6)):
        bytes_[rng.randrange(len(bytes_))] = rng.randrange(256)
    return bytes(bytes_)


def noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(1, 400))


def wrongly_encoded(rng: random.Random) -> bytes:
    ids = rng.choice(
        (
            b"%",
            b"%zz",
            b"%00",
            b"%ff%fe",
            b"%c0%ae%c0%ae",  # dots, written too long
            b"%ed%a0%80",  # half of a surrogate pair
            "битко́йн".encode(),
            "bitcoin".encode("utf-16"),
            b"\xff" * 20,
            b"%25" * 500,
            b"bitcoin%0d%0aX-Injected:%20yes",
            b"../../etc/passwd",
            b"${jndi:ldap://x/a}",
            b"'%20OR%201=1--",
        )
    )
    encoding = rng.choice((b"gzip;q=\xff", b"\x00", b"*;q=1e999", b"zstd;q=nan", b"a" * 3000))
    return b"GET /forecasts?ids=" + ids + b" HTTP/1.1\r\nHost: x\r\nAccept-Encoding: " + encoding + b"\r\n\r\n"


def splitting(rng: random.Random) -> bytes:
    return rng.choice(SPLITTING)


# Where two readers could see two different requests: each must be refused or read as one, and never answered as two.
CHUNKED = b"Transfer-Encoding: chunked\r\n"
BODY = b"0\r\n\r\n" + SMUGGLED
SPLITTING = (
    b"POST /forecasts HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n" + CHUNKED + b"\r\n" + BODY,
    b"POST /forecasts HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"Content-Length: 44\r\n\r\n" + BODY,
    b"POST /forecasts HTTP/1.1\r\nHost: x\r\n" + CHUNKED + CHUNKED + b"\r\n" + BODY,
    b"POST /forecasts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n" + CHUNKED + b"\r\n" + BODY,
    b"POST /forecasts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n" + BODY,
    b"POST /forecasts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n" + BODY,
    b"POST /forecasts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\nContent-Length: 4\r\n\r\n" + BODY,
    b"POST /forecasts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\nContent-Length: 4\r\n\r\n" + BODY,
    b"POST /forecasts HTTP/1.1\r\nHost: x\r\nX: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + BODY,
    b"GET /forecasts HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 38\r\n\r\n" + SMUGGLED,
    b"GET /forecasts HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 38\r\n\r\n" + SMUGGLED,
    b"GET /forecasts HTTP/1.1\r\nHost: x\r\nContent-Length: +38\r\n\r\n" + SMUGGLED,
    b"GET /forecasts HTTP/1.1\r\nHost: x\r\nContent-Length: 0x26\r\n\r\n" + SMUGGLED,
    b"GET /forecasts HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n" + SMUGGLED,
    b"GET /forecasts HTTP/1.1\r\nHost: x\nContent-Length: 38\r\n\r\n" + SMUGGLED,
    b"GET /forecasts HTTP/1.1\r\nHost: x\rContent-Length: 38\r\n\r\n" + SMUGGLED,
    b"GET /forecasts HTTP/1.1\r\nHost: x\r\nX\x00Y: 1\r\nContent-Length: 38\r\n\r\n" + SMUGGLED,
    b"GET /forecasts\x00 HTTP/1.1\r\nHost: x\r\nContent-Length: 38\r\n\r\n" + SMUGGLED,
    b"POST /forecasts HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b'\r\n5;a="\n\r\nabcde\r\n0\r\n\r\n' + SMUGGLED,
    b"POST /forecasts HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\nfffffffffffffffff\r\n" + SMUGGLED,
    b"POST /forecasts HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n-1\r\n" + SMUGGLED,
)
HARMS: tuple[Callable[[random.Random], bytes], ...] = (
    oversized,
    truncated,
    spoilt,
    noise,
    wrongly_encoded,
    splitting,
    lambda rng: GOOD * rng.randrange(2, 20),  # many at once, which is allowed
    lambda rng: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise(rng),
    lambda rng: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise(rng),  # somebody speaks TLS
)


class Dripping:
    """Connections that are held open and get a byte now and then; the oldest is left when there are too many."""

    def __init__(self, server: Running, most: int) -> None:
        self._server, self._most = server, most
        self._held: deque[socket.socket] = deque()

    def one_more(self) -> None:
        self._held.append(connected(self._server))
        if len(self._held) > self._most:
            self._held.popleft().close()

    def drip(self) -> None:
        for connection in self._held:
            with contextlib.suppress(OSError):
                connection.send(b"G")

    def close(self) -> None:
        for connection in self._held:
            connection.close()


def good_one(server: Running) -> float:
    """Seconds until a good request of a new client is answered."""
    began = time.perf_counter()
    with connected(server) as connection:
        connection.sendall(GOOD.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 OK"), answer[:500]
    assert b'"coin":"bitcoin"' in answer
    return time.perf_counter() - began


def bare_one(address: str) -> float:
    """The same of a bare server."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", httpx.URL(address).port or 0), timeout=60.0) as connection:
        connection.sendall(GOOD)
        assert connection.recv(65536)
    return time.perf_counter() - began


def attacked(server: Running, number: int, seed: int, after_each: Callable[[], object] = lambda: None) -> list[float]:
    """The times of the good requests, one after each hostile one."""
    rng, took = random.Random(seed), list[float]()
    dripping = Dripping(server, 50)
    for index in range(number):
        with connected(server) as connection, contextlib.suppress(OSError):
            connection.sendall(HARMS[index % len(HARMS)](rng))
            if index % 3 == 0:
                connection.settimeout(0.02)
                connection.recv(65536)  # refused, reset, silent: all of them are answers to this
        if index % 20 == 0:
            dripping.one_more()
            dripping.drip()
        took.append(good_one(server))
        after_each()
    dripping.close()
    log = server.log.read_text()
    assert "Traceback" not in log, log[-3000:]
    assert server.process.poll() is None
    return sorted(took)


def test_after_each_of_some_hundred_hostile_requests_a_good_one_is_answered(start: Start) -> None:
    assert len(attacked(start("fake", "0", NO_RATE), 500, seed=7)) == 500


@pytest.mark.slow
def test_after_each_of_ten_thousand_hostile_requests_a_good_one_is_answered_soon(start: Start) -> None:
    server = start("fake", "0", NO_RATE)
    good_one(server)
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    bare = list[float]()
    with bare_server() as address:
        took = attacked(server, 10_000, seed=8, after_each=lambda: bare.append(bare_one(address)))
    bare.sort()
    told = f"median {took[5000] * 1e3:.1f} ms, p99 {took[9900] * 1e3:.1f} ms, slowest {took[-1] * 1e3:.1f} ms"
    told += f"; bare server: median {bare[5000] * 1e3:.1f} ms, p99 {bare[9900] * 1e3:.1f} ms"
    print(told)  # noqa: T201 - for `pytest -rP`
    # What a bare server takes is the machine's, and what its other programs leave of it.
    assert took[5000] < MOST_RATIO * bare[5000], told
    assert took[9900] < MOST_RATIO * bare[9900], told
    assert process.memory_info().rss < before + 50e6


def test_no_request_hides_within_another(start: Start) -> None:
    server = start("fake", "0", NO_RATE)
    for raw in SPLITTING:
        with connected(server, timeout_s=60.0) as connection:
            connection.sendall(raw)
            answer = b""
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
                answer = connection.makefile("rb").read()
        assert b"cryptocast.models" not in answer, raw
        assert answer.count(b"HTTP/1.1 ") <= 1, (raw, answer[:1000])
        assert b"HTTP/1.1 200" not in answer, (raw, answer[:1000])
        good_one(server)


def test_a_line_break_in_a_query_makes_no_header(start: Start) -> None:
    server = start("fake", "0")
    answer = server.get("/forecasts?ids=bitcoin%0d%0aX-Injected:%20yes")
    assert answer.status_code == 400
    assert "x-injected" not in answer.headers
    assert server.get("/forecasts?ids=bitcoin", headers={"X-Request-ID": "a b"}).headers["x-request-id"] != "a b"


def trickle(server: Running, clients: int, every_s: float, within_s: float) -> float:
    """Each sends one byte of a header now and then. The time until the last is closed; others are served meanwhile."""
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        slow = {number: stack.enter_context(connected(server)) for number in range(clients)}
        for connection in slow.values():
            connection.sendall(b"GET /forecasts HTTP/1.1\r\nHost: x\r\nX-A: ")
            connection.settimeout(0.0)
        while slow:
            assert time.monotonic() - began < within_s, f"{len(slow)} of {clients} are still open"
            for number, connection in list(slow.items()):
                if is_closed(connection):
                    del slow[number]
            next_byte = time.monotonic() + every_s
            while slow and time.monotonic() < next_byte:
                good_one(server)
                time.sleep(0.05)
        return time.monotonic() - began


def is_closed(connection: socket.socket) -> bool:
    """Send one byte more, and look whether the other side has closed."""
    try:
        connection.send(b"a")
        return connection.recv(10) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_clients_that_trickle_are_closed_and_the_others_are_served(start: Start) -> None:
    server = start("fake", "0", '{"receive_timeout_s": 1.5, "client_rate_per_s": 0.0}')
    silent = [connected(server, timeout_s=60.0) for _ in range(10)]

    assert trickle(server, 50, every_s=0.1, within_s=120.0) > 1.0
    for connection in silent:
        with connection, contextlib.suppress(ConnectionError):
            assert connection.recv(10) == b""
    assert eventually(lambda: psutil.Process(server.process.pid).num_fds() < 40)
    assert 'event="slow_client_closed"' in server.get("/metrics").text


@pytest.mark.slow
def test_two_hundred_clients_that_trickle_are_closed(start: Start) -> None:
    server = start("fake", "0", NO_RATE)
    assert trickle(server, 200, every_s=2.0, within_s=300.0) > 15.0
    assert eventually(lambda: psutil.Process(server.process.pid).num_fds() < 40)


def test_who_reads_no_answer_is_closed_and_who_reads_slowly_is_not(start: Start) -> None:
    server = start("fake", "0", '{"receive_timeout_s": 2.0, "client_rate_per_s": 0.0}')
    many = "/forecasts?ids=" + ",".join(f"coin-{number}" for number in range(50))
    whole = server.get(many)
    assert whole.status_code == 200
    ask = f"GET {many} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        deaf, slow = (stack.enter_context(small_window(server)) for _ in range(2))
        for connection in (deaf, slow):
            connection.sendall(ask * 400)  # far more than the buffers between the two hold
        ends, got = time.monotonic() + 6.0, 0
        while time.monotonic() < ends or got <= 200_000:
            got += len(slow.recv(20_000))
            time.sleep(0.05)
        assert 0 < rest_of(deaf) < 400 * len(whole.content)
    assert server.get("/health").status_code == 200


def small_window(server: Running) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    connection.settimeout(10.0)
    connection.connect(("127.0.0.1", port_of(server)))
    return connection


def rest_of(connection: socket.socket) -> int:
    """Bytes that had arrived before the other side broke off; a connection that goes on is an error."""
    got = 0
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(1 << 20):
            got += len(more)
    return got
