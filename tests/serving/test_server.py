import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
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
from cryptocast.serving.endpoints import PATHS
from cryptocast.serving.server import listen
from cryptocast.workflows.reports import ForecastDocument
from tests.serving.running import NO_TLS, ROOT, START_S, Running, Start, eventually, servers, stop
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


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no socket for both versions here")
def test_all_addresses_means_those_of_both_versions_and_one_is_told_that_can_be_asked(start: Start) -> None:
    server = start("fake", "0", HOST="::")
    port = httpx.URL(server.address).port

    assert server.address == f"http://localhost:{port}"
    for address in ("127.0.0.1", "[::1]", "localhost"):
        assert httpx.get(f"http://{address}:{port}/health", verify=NO_TLS).status_code == 200


def test_an_address_of_a_listener_on_all_of_version_4_can_be_asked(start: Start) -> None:
    server = start("fake", "0", HOST="0.0.0.0")  # noqa: S104

    assert server.address.startswith("http://127.0.0.1:")
    assert server.get("/health").status_code == 200


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_signals_that_mean_nothing_to_it_are_logged_and_ignored(start: Start) -> None:
    server = start("fake", "0", stdin=subprocess.DEVNULL)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        server.process.send_signal(number)
        assert eventually(lambda: f"{number.name} is ignored" in server.log.read_text())  # noqa: B023 - at once

    assert server.get(BITCOIN).status_code == 200
    assert server.end(signal.SIGTERM) == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such terminals")
def test_when_its_terminal_closes_the_server_ends_in_order(start: Start) -> None:
    ours, theirs = os.openpty()
    server = start("fake", "1.0", stdin=theirs)
    os.close(theirs)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.get, BITCOIN)
        time.sleep(0.3)
        os.close(ours)
        code = server.end(signal.SIGHUP, signal.SIGHUP)
        assert asked.result().status_code == 200

    assert code == 0, server.log.read_text()


def asked_and_half_closed(server: Running, sent: bytes) -> bytes:
    """All that comes back to a client that has closed its side."""
    with socket.create_connection(("127.0.0.1", httpx.URL(server.address).port or 0), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()


def test_a_client_that_closes_its_side_gets_every_answer_that_it_has_asked_for(start: Start) -> None:
    server = start("fake", "0.3")
    one, two = (f"GET /forecasts?ids={coin} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for coin in ("first", "two"))

    computed = asked_and_half_closed(server, one)
    in_a_row = asked_and_half_closed(server, one + two)
    and_a_half = asked_and_half_closed(server, one.replace(b"first", b"three") + two[:20])

    assert computed.startswith(b"HTTP/1.1 200 OK")
    assert b'"coin":"first"' in computed
    assert in_a_row.count(b"HTTP/1.1 200 OK") == 2
    assert b'"coin":"two"' in in_a_row
    assert and_a_half.count(b"HTTP/1.1 ") == 1
    assert b'"coin":"three"' in and_a_half


@pytest.mark.parametrize(
    "sent", [b"", b"GET /health HTTP/1.1\r\nHo", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab"]
)
def test_a_client_that_closes_its_side_before_it_has_asked_is_let_go(small: Running, sent: bytes) -> None:
    assert b"200 OK" not in asked_and_half_closed(small, sent)
    assert eventually(lambda: len(psutil.Process(small.process.pid).net_connections()) == 1)


UPGRADES = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
)


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_who_asks_for_another_protocol_is_answered_in_this_one_and_may_go_on(small: Running, upgrade: bytes) -> None:
    plain = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    asks = plain.replace(b"\r\n\r\n", b"\r\n" + upgrade + b"\r\n")
    before = small.log.read_text()

    answers = asked_and_half_closed(small, asks + plain + asks * 100 + plain)

    assert answers.count(b"HTTP/1.1 200 OK") == 103
    assert small.log.read_text() == before


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_the_body_of_an_upgrade_is_not_taken_for_a_request(small: Running, upgrade: bytes) -> None:
    hidden = b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (len(hidden), upgrade)
    with socket.create_connection(("127.0.0.1", httpx.URL(small.address).port or 0), timeout=10) as connection:
        connection.sendall(head)
        time.sleep(0.2)
        with contextlib.suppress(OSError):
            connection.sendall(hidden)
        answers = connection.makefile("rb").read()

    assert answers.count(b"HTTP/1.1 ") == 1
    assert asked_and_half_closed(small, head + hidden).count(b"HTTP/1.1 ") == 1


def test_what_is_no_http_fills_a_counter_and_not_the_log(small: Running) -> None:
    before = small.log.read_text()
    for _ in range(20):
        assert b" 400 " in asked_and_half_closed(small, b"GARBAGE\r\n\r\n").split(b"\r\n")[0]

    assert small.log.read_text() == before
    assert 'event="malformed_request"' in small.get("/metrics").text


def test_the_connections_of_a_trusted_proxy_are_not_counted(start: Start) -> None:
    server = start("fake", "0", '{"client_connections": 2, "trusted_proxies": ["127.0.0.0/8"]}')
    port = httpx.URL(server.address).port or 0
    with contextlib.ExitStack() as stack:
        open_ = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5)) for _ in range(10)]
        assert all(is_alive(connection) for connection in open_)


# --- as a user starts it, from the first moment on

SERVE = (sys.executable, "-m", "cryptocast", "serve", "--port", "0")
CONTAINED = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def has_namespaces() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run([*CONTAINED, "true"], capture_output=True).returncode == 0


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `cryptocast serve` in an empty folder, without a network; ends what the test left running."""
    given = {**os.environ, "PYTHONPATH": str(ROOT), "CRYPTOCAST_COINGECKO__BASE_URL": "http://127.0.0.1:9/api/v3"}
    with contextlib.ExitStack() as stack:

        def started(*before: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [*before, *SERVE],
                cwd=tmp_path,
                env=given,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(stop, process)
            return process

        yield started


def heeds(process: psutil.Process, number: signal.Signals) -> bool:
    """Whether the process has said what it does at the signal."""
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def first_of(container: subprocess.Popen[str]) -> psutil.Process:
    """The process that is number 1 in there, once it is cryptocast."""
    found: list[psutil.Process] = []

    def there() -> bool:
        found[:] = psutil.Process(container.pid).children()
        return bool(found) and "cryptocast" in found[0].cmdline()

    assert eventually(there)
    return found[0]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 0.6, 1.0])
def test_told_to_stop_while_it_starts_it_leaves_with_exit_code_0(
    command: Callable[..., subprocess.Popen[str]], after_s: float
) -> None:
    process = command()
    assert eventually(lambda: heeds(psutil.Process(process.pid), signal.SIGTERM))
    time.sleep(after_s)
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM):
        process.send_signal(number)
    _, said = process.communicate(timeout=30)

    assert process.returncode == 0, said
    assert "Traceback" not in said


def serving(process: subprocess.Popen[str]) -> None:
    """Wait until it says that it serves."""
    assert process.stderr is not None
    timer = threading.Timer(START_S, process.kill)
    timer.start()
    said = ""
    while "Serving http" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    timer.cancel()


@pytest.mark.skipif(not has_namespaces(), reason="no process namespaces here")
def test_as_the_first_process_of_a_container_it_hears_when_it_is_told_to_stop(
    command: Callable[..., subprocess.Popen[str]],
) -> None:
    early, late = command(*CONTAINED), command(*CONTAINED)
    first = first_of(early)
    assert eventually(lambda: heeds(first, signal.SIGTERM))
    first.send_signal(signal.SIGTERM)
    assert early.wait(timeout=30) == 0

    serving(late)
    first_of(late).send_signal(signal.SIGTERM)
    assert late.wait(timeout=30) == 0


@pytest.mark.skipif(not has_namespaces(), reason="no process namespaces here")
def test_as_the_first_process_of_a_container_it_ends_at_once_at_the_second_signal(
    command: Callable[..., subprocess.Popen[str]],
) -> None:
    process = command(*CONTAINED)
    serving(process)
    first = first_of(process)
    first.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    first.send_signal(signal.SIGTERM)

    assert process.wait(timeout=30) == 128 + signal.SIGTERM


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
        time.sleep(1.0)
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

    A request that was sent whole on a connection that the server had taken, and that got no whole answer, is lost. One
    whose connection was made and never taken is reset; it has reached nobody, and may be sent again.
    """

    port: int
    good: int = 0
    lost: list[str] = field(default_factory=list)
    untaken: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self) -> None:
        while not self.stop.is_set():
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
            except (ConnectionRefusedError, ConnectionResetError):
                return  # the listener is closed, or was while the connection was made: nothing was accepted
            with connection, connection.makefile("rb") as answers:
                for number in range(20):
                    if not self.ask(connection, answers, is_first=number == 0):
                        break

    def ask(self, connection: socket.socket, answers: BinaryIO, *, is_first: bool) -> bool:
        """One request. Whether the connection may be used again."""
        try:
            connection.sendall(b"GET /forecasts?ids=bitcoin HTTP/1.1\r\nHost: x\r\n\r\n")
            status, headers = answers.readline(), {}
            while (line := answers.readline()) not in (b"\r\n", b""):
                name, _, value = line.decode().partition(": ")
                headers[name.lower()] = value.strip()
            body = answers.read(int(headers.get("content-length", 0)))
        except ConnectionError as error:
            if is_first:
                self.untaken += 1
                return False
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
        assert load.untaken <= 8  # once for each client at most: the next connection is refused
        assert code == 0, server.log.read_text()


def test_at_a_signal_under_load_no_request_is_lost_that_was_accepted(start: Start) -> None:
    ends_under_load(start, 2, pause_s=0.3)


@pytest.mark.slow
def test_under_load_twenty_ends_lose_no_request_that_was_accepted(start: Start) -> None:
    ends_under_load(start, 20, pause_s=1.0)
