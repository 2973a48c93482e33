import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import httpx
import msgspec
import psutil
import pytest

from cryptocast.errors import UsageError
from cryptocast.rehearsal import DEMO_KEY, FakeUpstream
from cryptocast.serving import run
from cryptocast.serving.openapi import PATHS
from cryptocast.serving.server import listen
from cryptocast.workflows.documents import ForecastDocument
from tests.serving.running import Running, Start, eventually, servers
from tests.serving.serving_app import config, context

BITCOIN = "/forecasts?ids=bitcoin"
HOSTILE = (
    b"GARBAGE\r\n\r\n",
    b"GET /forecasts?ids=bit\x00coin HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /forecasts?ids=\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /forecasts?ids=a HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\nHost: x\r\n\r\nabcde",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # somebody speaks TLS
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that the tests of this file share which only ask."""
    with servers(tmp_path_factory.mktemp("small")) as start:
        yield start("fake", "0", '{"client_rate_per_s": 0.0}')


def test_an_empty_machine_without_a_network_answers_with_the_baseline_from_the_sample(
    start: Start, tmp_path: Path
) -> None:
    server = start("forecast", str(tmp_path / "data"))
    answer = server.get("/forecasts?ids=bitcoin,atlantis&horizons=1,7&levels=80")

    assert answer.status_code == 200, answer.text
    document = msgspec.json.decode(answer.content, type=ForecastDocument)
    (made,) = document.forecasts
    assert (made.coin, made.source, made.model_used, made.version) == ("bitcoin", "sample", "baseline", None)
    assert made.fallback_reason is not None
    assert "sample" in made.notices[0]
    assert [horizon.horizon for horizon in made.horizons] == [1, 7]
    for horizon in made.horizons:
        (interval,) = horizon.intervals
        assert 0 < interval.lower < horizon.median < interval.upper
    assert [error.coin for error in document.errors] == ["atlantis"]
    assert not (tmp_path / "data" / "registry").exists()
    assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_with_exit_code_0(start: Start, number: signal.Signals) -> None:
    server = start("fake", "0")

    assert server.get(BITCOIN).status_code == 200
    code = server.end(number)

    assert code == 0, server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def test_what_was_accepted_is_answered_before_the_end(start: Start) -> None:
    server = start("fake", "2.0")

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.get, BITCOIN) for _ in range(4)]
        # This question is one more; on a machine that is very busy the answers may be there already.
        assert eventually(lambda: under_way(server) == 5 or all(one.done() for one in asked))
        code = server.end(signal.SIGTERM)
        assert [answer.result().status_code for answer in asked] == [200] * 4

    assert code == 0


def test_a_second_signal_ends_the_server_at_once(start: Start) -> None:
    server = start("fake", "20.0")

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.get, BITCOIN)
        assert eventually(lambda: under_way(server) == 2)
        server.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: "not ready from now on" in server.log.read_text())
        code = server.end(signal.SIGTERM)
        with pytest.raises(httpx.TransportError):
            asked.result()  # so it did not wait for the answer

    assert code == -signal.SIGTERM, server.log.read_text()


def test_over_a_real_socket_the_answer_says_no_more_than_it_must(start: Start) -> None:
    server = start("fake", "0")
    whole, head = server.get(BITCOIN), httpx.head(server.address + BITCOIN)

    assert set(whole.headers) == {
        "date",
        "content-type",
        "content-length",
        "cache-control",
        "x-content-type-options",
        "content-security-policy",
        "referrer-policy",
        "age",
        "etag",
        "vary",
        "content-encoding",
        "x-request-id",
    }
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_hostile_bytes_get_an_error_or_nothing_and_the_next_client_its_answer(start: Start) -> None:
    server = start("fake", "0")
    port = httpx.URL(server.address).port
    assert port is not None
    for raw in HOSTILE:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            said = connection.makefile("rb").read()
        assert not said or b" 40" in said.split(b"\r\n")[0], raw
        assert server.get(BITCOIN).status_code == 200
    assert "Traceback" not in server.log.read_text()


def test_an_address_that_is_taken_is_one_clear_line() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"^Port {port} of 127\.0\.0\.1 is in use [^\n]*--port 0[^\n]*$"):
            run(context(), host="127.0.0.1", port=port)


@pytest.mark.parametrize("host", ["203.0.113.7", "a" * 80, "host\x00"])
def test_an_address_that_is_not_ours_is_one_clear_line(host: str) -> None:
    with pytest.raises(UsageError, match=r"^This machine has no address [ -~]*$"):
        run(context(), host=host, port=0, insecure=True)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_is_none_is_one_clear_line(port: int) -> None:
    with pytest.raises(UsageError, match="There is no port"):
        run(context(), port=port)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may listen anywhere")
def test_a_port_that_needs_rights_is_one_clear_line() -> None:
    with pytest.raises(UsageError, match="needs rights"):
        run(context(), port=81)


def test_nothing_listens_beyond_this_machine_without_a_token() -> None:
    with pytest.raises(UsageError, match="CRYPTOCAST_SERVE_TOKEN"):
        run(context(), host="0.0.0.0", port=0)  # noqa: S104


def test_host_and_port_come_from_the_settings() -> None:
    with listen("127.0.0.1", 0) as taken:
        settings = config()
        serve = msgspec.structs.replace(settings.serve, port=taken.getsockname()[1])
        with pytest.raises(UsageError, match="in use"):
            run(context(msgspec.structs.replace(settings, serve=serve)))


def test_localhost_means_the_address_that_clients_try() -> None:
    with listen("localhost", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_an_address_of_version_6_is_listened_on() -> None:
    with listen("::1", 0) as listener:
        assert listener.getsockname()[0] == "::1"


def test_at_a_signal_the_server_says_that_it_leaves_and_goes_on_for_a_while(start: Start) -> None:
    server = start("fake", "0", '{"lame_duck_s": 4.0}')
    assert server.get(BITCOIN).status_code == 200

    assert server.get("/ready").status_code == 200
    server.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: server.get("/ready").status_code == 503)
    ready, good = server.get("/ready"), server.get(BITCOIN)

    assert (ready.status_code, ready.json()["status"]) == (503, "fail")
    assert (good.status_code, good.headers["connection"]) == (200, "close")
    assert server.process.wait(timeout=120) == 0


def test_a_request_without_end_is_cut_off(start: Start) -> None:
    server = start("fake", "0")
    port = httpx.URL(server.address).port
    assert port is not None
    for begin, more in (
        (b"GET /", b"a" * 65536),
        (b"GET / HTTP/1.1\r\n", b"x: " + b"a" * 1000 + b"\r\n"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", b"ffff\r\n" + b"a" * 65535 + b"\r\n"),
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            sent = 0
            with contextlib.suppress(OSError):
                connection.sendall(begin)
                while sent < 200_000_000:
                    connection.sendall(more)
                    sent += len(more)
            assert sent < 50_000_000, begin
    assert server.get(BITCOIN).status_code == 200
    assert psutil.Process(server.process.pid).memory_info().rss < 400 * 2**20


def test_a_thousand_first_questions_for_a_bar_are_one_computation(start: Start, tmp_path: Path) -> None:
    server = start("fake", "0.5")
    port = httpx.URL(server.address).port
    assert port is not None
    with contextlib.ExitStack() as stack:
        asking = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(1000)]
        for connection in asking:
            connection.sendall(b"GET /forecasts?ids=bitcoin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        first = [connection.makefile("rb").readline() for connection in asking]
    assert set(first) == {b"HTTP/1.1 200 OK\r\n"}
    cache = server.get("/health/components/cache").json()
    assert cache["values"]["computed"] == 1


def test_a_connection_that_idles_is_kept_as_long_as_the_settings_say(start: Start) -> None:
    server = start("fake", "0", '{"keep_alive_s": 1.0}')
    patient = start("fake", "0")
    with contextlib.ExitStack() as stack:
        open_ = []
        for one in (server, patient):
            port = httpx.URL(one.address).port
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port or 0), timeout=60))
            assert is_alive(connection)
            open_.append(connection)
        assert open_[0].recv(10) == b""
        time.sleep(5.5)  # what clients and servers mostly take by default, so that they meet
        assert is_alive(open_[1])


def is_alive(connection: socket.socket) -> bool:
    """Whether `/health` answers 200; all of the answer is read, in however many pieces it comes."""
    connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    received = b""
    while not received.endswith(b"}"):
        piece = connection.recv(4096)
        if not piece:
            return False
        received += piece
    return received.startswith(b"HTTP/1.1 200")


def test_with_a_dead_upstream_the_server_is_ready_and_warns(start: Start, tmp_path: Path) -> None:
    server = start("forecast", str(tmp_path / "data"))
    assert eventually(lambda: server.get("/ready").status_code == 200)
    ready = server.get("/ready").json()
    assert ready["status"] == "warn"
    assert "baseline" in ready["output"]
    assert server.get("/health").json() == {"status": "pass"}


def test_no_secret_stands_in_a_log_a_metric_or_an_answer(start: Start, tmp_path: Path) -> None:
    secrets = {"TOKEN": "planted-token", "ADMIN_TOKEN": "planted-admin", "API_KEY": DEMO_KEY}
    guess = "planted-guess-of-a-stranger"
    with FakeUpstream(coins=3, plan="demo", faults=["too_many"]) as fake:
        hasty = '{"request_timeout_s": 0.3}'
        server = start("upstream", str(tmp_path / "data"), hasty, UPSTREAM=fake.url, LOG_LEVEL="DEBUG", **secrets)
        said = []
        paths = (*PATHS, "/forecasts?ids=planted-in-a-query", "/planted-in-a-path", "/prices?ids=bitcoin")
        for path in paths:
            for token in (*secrets.values(), guess, ""):
                answer = server.get(path, headers={"Authorization": f"Bearer {token}"} if token else {})
                said.append(f"{answer.headers}{answer.text}")
        said.append(server.get("/metrics", headers={"Authorization": f"Bearer {secrets['ADMIN_TOKEN']}"}).text)
        assert server.end(signal.SIGTERM) == 0
    everything = "\n".join([*said, server.log.read_text()])
    for secret in (*secrets.values(), guess):
        assert secret not in everything
    assert "planted-in-a-query" not in said[-1]  # metrics know configured coins only


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /forecasts?ids=" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 150 + b"\r\n", 431),
        (b"POST /forecasts HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + b"a" * 70_000, 413),
        (b"POST /forecasts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 411),
        (b"DELETE /forecasts HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ],
)
def test_what_is_too_much_is_refused_over_a_real_socket(small: Running, raw: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(small.address).port or 0), timeout=60) as connection:
        connection.sendall(raw)
        answer = connection.recv(65536)
    assert answer.split(b"\r\n")[0].split()[1] == str(status).encode(), answer[:200]
    assert b"application/problem+json" in answer


def test_too_many_at_once_and_too_often_over_a_real_socket(start: Start) -> None:
    server = start("fake", "0.5", '{"max_concurrency": 3, "client_rate_per_s": 0.0}')
    answers = list[httpx.Response]()
    with ThreadPoolExecutor(10) as pool:
        # On a machine that is busy with other things they may come one after the other: then once more.
        while len(answers) < 200 and not any(answer.status_code == 503 for answer in answers):
            numbers = range(len(answers), len(answers) + 10)
            asked = [pool.submit(server.get, f"/forecasts?ids=coin-{number}") for number in numbers]
            answers += [one.result() for one in asked]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert {answer.headers["retry-after"] for answer in answers if answer.status_code == 503} == {"5"}
    rare = start("fake", "0", '{"client_rate_per_s": 0.01}')
    refused = [rare.get(BITCOIN) for _ in range(2)][-1]
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1


def test_a_client_holds_so_many_connections_and_no_more(start: Start) -> None:
    server = start("fake", "0", '{"client_connections": 20}')
    port = httpx.URL(server.address).port
    assert port is not None
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(60)]
        answered = 0
        for connection in held:
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /forecasts?ids=bitcoin HTTP/1.1\r\nHost: x\r\n\r\n")
                answered += connection.recv(100).startswith(b"HTTP/1.1 200")
        assert answered == 20
    assert eventually(lambda: server.get("/health").status_code == 200)
    assert 'event="connection_refused"' in server.get("/metrics").text


def test_without_descriptors_the_server_waits_and_goes_on(start: Start) -> None:
    server = start("fake", "0")
    process = psutil.Process(server.process.pid)
    port = httpx.URL(server.address).port
    assert port is not None
    assert server.get(BITCOIN).status_code == 200
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 20, 8192))
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        time.sleep(1.0)
        before, began = process.cpu_times(), time.monotonic()
        time.sleep(1.0)
        after, passed_s = process.cpu_times(), time.monotonic() - began
    assert after.user + after.system - before.user - before.system < 0.8 * passed_s  # it does not spin
    assert eventually(lambda: server.get(BITCOIN).status_code == 200)


def under_way(server: Running) -> int:
    """The requests that the server has not answered, this one among them; as they were up to a second ago."""
    text = server.get("/metrics").text
    return int(float(next(line for line in text.splitlines() if line.startswith("http_server_active_")).split()[1]))


@dataclass
class Load:
    """Clients that ask as fast as they are answered, over connections that are kept for some requests.

    A request that was sent whole on a connection that the server had accepted, and that got no whole answer, is lost.
    """

    port: int
    good: int = 0
    lost: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self) -> None:
        while not self.stop.is_set():
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
            except ConnectionRefusedError:
                return  # the listener is closed: nothing was accepted
            with connection, connection.makefile("rb") as answers:
                for _ in range(20):
                    kept = self.ask(connection, answers)
                    if not kept:
                        break

    def ask(self, connection: socket.socket, answers: BinaryIO) -> bool:
        """One request. Whether the connection may be used again."""
        try:
            connection.sendall(b"GET /forecasts?ids=bitcoin HTTP/1.1\r\nHost: x\r\n\r\n")
            status, headers = answers.readline(), {}
            while (line := answers.readline()) not in (b"\r\n", b""):
                name, _, value = line.decode().partition(": ")
                headers[name.lower()] = value.strip()
            body = answers.read(int(headers.get("content-length", 0)))
        except OSError as error:
            status, headers, body = repr(error).encode(), {}, b""
        whole = status == b"HTTP/1.1 200 OK\r\n" and body.endswith(b"}")
        with self.lock:
            if whole:
                self.good += 1
            else:
                self.lost.append(f"{status!r} {headers}")
        return whole and headers.get("connection") != "close"


def ends_under_load(start: Start, times: int, *, pause_s: float) -> None:
    for _ in range(times):
        server = start("fake", "0", '{"lame_duck_s": 0.5, "client_rate_per_s": 0.0}')
        load = Load(httpx.URL(server.address).port or 0)
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(load.client) for _ in range(8)]
            assert eventually(lambda load=load: load.good > 50)  # type: ignore[misc]
            code = server.end(signal.SIGTERM, pause_s=pause_s)
            load.stop.set()
            for one in asked:
                one.result()
        assert load.lost == []
        assert code == 0, server.log.read_text()


def test_at_a_signal_under_load_no_request_is_lost_that_was_accepted(start: Start) -> None:
    ends_under_load(start, 2, pause_s=0.3)


@pytest.mark.slow
def test_under_load_twenty_ends_lose_no_request_that_was_accepted(start: Start) -> None:
    ends_under_load(start, 20, pause_s=1.0)
