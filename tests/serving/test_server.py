import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from cryptocast.errors import UsageError
from cryptocast.serving import run
from cryptocast.serving.server import listen
from cryptocast.workflows.documents import ForecastDocument
from tests.serving.serving_app import config, context

ROOT = Path(__file__).resolve().parents[2]
BITCOIN = "/forecasts?ids=bitcoin"
START_S = 30.0
HOSTILE = (
    b"GARBAGE\r\n\r\n",
    b"GET /forecasts?ids=bit\x00coin HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /forecasts?ids=\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /forecasts?ids=a HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\nHost: x\r\n\r\nabcde",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # somebody speaks TLS
)


@dataclass
class Running:
    process: subprocess.Popen[str]
    address: str
    log: Path

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.address + path, timeout=30, **options)

    def end(self, *numbers: signal.Signals, pause_s: float = 0.2) -> tuple[int, float]:
        """The exit code after these signals, and the seconds that it took from the last of them."""
        for number in numbers:
            time.sleep(pause_s)
            self.process.send_signal(number)
        began = time.monotonic()
        return self.process.wait(timeout=30), time.monotonic() - began


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str, str], Running]]:
    """Starts servers, and ends those that the test left running."""
    with contextlib.ExitStack() as stack:

        def started(kind: str, value: str) -> Running:
            log = tmp_path / "server.log"
            command = [sys.executable, "-m", "tests.serving.server_process", kind, value]
            with log.open("w") as err:
                process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=err, text=True)
            stack.callback(stop, process)
            assert process.stdout is not None
            timer = threading.Timer(START_S, process.kill)
            timer.start()
            address = process.stdout.readline().strip()
            timer.cancel()
            assert address, log.read_text()
            return Running(process, address, log)

        yield started


def stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


Start = Callable[[str, str], Running]


def test_an_empty_machine_without_a_network_answers_with_the_baseline_from_the_sample(
    start: Start, tmp_path: Path
) -> None:
    began = time.monotonic()
    server = start("forecast", str(tmp_path / "data"))
    answer = server.get("/forecasts?ids=bitcoin,atlantis&horizons=1,7&levels=80")
    seconds = time.monotonic() - began

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
    # 3 s are promised. Processor time is what a busy machine does not stretch; the clock may show a multiple of it.
    used = psutil.Process(server.process.pid).cpu_times()
    assert used.user + used.system < 3.0
    assert seconds < START_S
    assert not (tmp_path / "data" / "registry").exists()
    assert server.end(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_with_exit_code_0(start: Start, number: signal.Signals) -> None:
    server = start("fake", "0")

    assert server.get(BITCOIN).status_code == 200
    code, seconds = server.end(number)

    assert code == 0, server.log.read_text()
    assert seconds < 5.0
    assert "Traceback" not in server.log.read_text()


def test_what_was_accepted_is_answered_before_the_end(start: Start) -> None:
    server = start("fake", "2.0")

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.get, BITCOIN) for _ in range(4)]
        code, _ = server.end(signal.SIGTERM, pause_s=0.8)
        assert [answer.result().status_code for answer in asked] == [200] * 4

    assert code == 0


def test_a_second_signal_ends_the_server_at_once(start: Start) -> None:
    server = start("fake", "20.0")

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.get, BITCOIN)
        code, seconds = server.end(signal.SIGTERM, signal.SIGTERM, pause_s=0.5)
        with pytest.raises(httpx.TransportError):
            asked.result()

    assert code == -signal.SIGTERM, server.log.read_text()
    assert seconds < 3.0


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
    }
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


def test_hostile_bytes_get_an_error_or_nothing_and_the_next_client_its_answer(start: Start) -> None:
    server = start("fake", "0")
    port = httpx.URL(server.address).port
    assert port is not None
    for raw in HOSTILE:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
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
