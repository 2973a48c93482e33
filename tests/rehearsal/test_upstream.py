"""The stand-in as a whole: its clock, its limits, its counts, its controls, its deaths."""

import socket
import time

import httpx
import pytest

from cryptocast.errors import UsageError
from cryptocast.rehearsal import FakeUpstream
from tests.rehearsal.conftest import NOW


def test_the_same_seed_answers_byte_for_byte_the_same() -> None:
    bodies = []
    for seed in (7, 7, 8):
        with FakeUpstream(now=NOW, seed=seed, coins=3) as fake, httpx.Client(base_url=fake.url) as client:
            chart = client.get("/coins/coin-001/market_chart?vs_currency=usd&days=90").content
            bodies.append((chart, client.get("/simple/price?ids=coin-001&vs_currencies=usd").content))
    assert bodies[0] == bodies[1]
    assert bodies[0][0] != bodies[2][0]


def test_killed_it_refuses_connections_and_drops_those_it_has_and_comes_back_on_its_port(
    fake: FakeUpstream, client: httpx.Client
) -> None:
    client.get("/ping")
    port = fake.port
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        end = time.monotonic() + 60  # connected, but perhaps not yet accepted
        while fake.connections.open < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert fake.connections.open == 2
        fake.kill()
        assert raw.recv(1) == b""
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{fake.url}/ping")
    fake.restart()
    assert fake.port == port
    assert client.get("/ping").status_code == 200
    assert fake.calls.total == 2


def test_it_can_be_killed_in_the_middle_of_everything(fake: FakeUpstream) -> None:
    fake.script(["hang"])
    with socket.create_connection(("127.0.0.1", fake.port), timeout=60) as raw:
        raw.sendall(b"GET /api/v3/ping HTTP/1.1\r\n\r\n")
        assert fake.calls.wait(1, timeout_s=60)
        fake.kill()
        assert raw.recv(1) == b""


def test_a_port_that_is_taken_is_said_so(fake: FakeUpstream) -> None:
    with pytest.raises(UsageError, match=f"Port {fake.port} "):
        FakeUpstream(port=fake.port).start()


def test_closed_it_is_gone_and_closing_twice_does_no_harm() -> None:
    fake = FakeUpstream(coins=0)
    fake.start()
    fake.close()
    fake.close()
    with pytest.raises(RuntimeError, match="not running"):
        fake.close_idle()


def test_it_listens_on_the_loopback_only(fake: FakeUpstream) -> None:
    assert fake.url.startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match=r"."), socket.create_connection(("127.0.0.2", fake.port), timeout=1):
        raise AssertionError("another address answers")
