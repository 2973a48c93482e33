"""Notices over real sockets: once, by one of several processes, and again where nobody took them."""

import multiprocessing
import os
import signal
import socket
from pathlib import Path

import pytest

from cryptocast.errors import ConfigError
from cryptocast.registry import Condition, NoticeCode, Registry
from cryptocast.workflows.notices.sending import NotAcceptedError, send_now, send_test
from tests.registry.registry_fits import NOW
from tests.workflows.notices.local_receiver import listening, sender


def filled(folder: Path, number: int = 1) -> Registry:
    registry = Registry.open(folder / "data")
    facts = {"source": "bitstamp", "last": NOW.isoformat()}
    conditions = [Condition(NoticeCode.STALE, f"c{n}", {"coin": f"c{n}", **facts}) for n in range(number)]
    registry.observe(conditions, NOW)
    return registry


def states(registry: Registry) -> set[str]:
    return {entry.state for entry in registry.outbox()}


def test_what_is_due_is_posted_once_with_its_key(tmp_path: Path) -> None:
    registry = filled(tmp_path, 3)
    with listening() as receiver:
        for minutes in (0, 5, 500):
            send_now(sender(tmp_path, receiver.url, minutes))
    assert sorted(body["facts"]["coin"] for body in receiver.bodies) == ["c0", "c1", "c2"]
    assert states(registry) == {"sent"}
    keys = {entry.notice.id for entry in registry.outbox()}
    assert {body["id"] for body in receiver.bodies} == keys == {h["idempotency-key"] for h in receiver.headers}
    assert set(receiver.paths) == {"/hook/s3cret?token=s3cret"}


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500])
def test_what_is_not_taken_is_posted_again_later(tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture) -> None:
    registry = filled(tmp_path)
    with listening() as receiver:
        receiver.status = status
        send_now(sender(tmp_path, receiver.url))
        send_now(sender(tmp_path, receiver.url, 0.5))  # too early
        assert (len(receiver.bodies), states(registry)) == (1, {"waiting"})
        assert f"status {status}" in caplog.text
        receiver.status = 204
        send_now(sender(tmp_path, receiver.url, 2))
    assert (len(receiver.bodies), states(registry)) == (2, {"sent"})
    assert receiver.bodies[0] == receiver.bodies[1]
    assert "s3cret" not in caplog.text


def test_nobody_there_costs_a_line_and_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry = filled(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        send_now(sender(tmp_path, f"http://ann:s3cret@127.0.0.1:{taken.getsockname()[1]}/s3cret"))
    assert states(registry) == {"waiting"}
    assert "1 notice not sent, to be tried again" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_receiver_that_hangs_is_given_up_on_and_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry = filled(tmp_path, 2)
    with listening() as receiver:
        receiver.goes_on.clear()
        send_now(sender(tmp_path, receiver.url))
        assert len(receiver.bodies) == 1  # the second need not wait for that too
        assert states(registry) == {"waiting"}
        assert "2 notices not sent" in caplog.text
        assert "no answer in time" in caplog.text
        receiver.goes_on.set()
        send_now(sender(tmp_path, receiver.url, 2))
    assert states(registry) == {"sent"}


def test_one_that_is_refused_does_not_keep_the_others_back(tmp_path: Path) -> None:
    registry = filled(tmp_path, 3)
    with listening() as receiver:
        receiver.refuses = "c1"
        send_now(sender(tmp_path, receiver.url))
    assert [entry.state for entry in registry.outbox()] == ["sent", "waiting", "sent"]
    assert [body["facts"]["coin"] for body in receiver.bodies] == ["c0", "c1", "c2"]


@pytest.mark.parametrize("url", ["s3cret", "ftp://s3cret/x", "http://", "http://[s3cret", "http://h:99999/s3cret"])
def test_what_is_no_address_fails_no_command(tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture) -> None:
    registry = filled(tmp_path)
    send_now(sender(tmp_path, url))
    assert "CRYPTOCAST_NOTIFY_URL" in caplog.text
    assert "s3cret" not in caplog.text
    assert registry.outbox()[0].tries == 0


def test_without_an_address_or_a_registry_nothing_happens(tmp_path: Path) -> None:
    with listening() as receiver:
        send_now(sender(tmp_path, receiver.url))
        send_now(sender(tmp_path, None))
    assert (receiver.bodies, list(tmp_path.iterdir())) == ([], [])


def test_a_test_is_posted_and_its_fate_is_told(tmp_path: Path) -> None:
    with listening() as receiver:
        assert send_test(receiver.url, sender(tmp_path, None)) == 200
        receiver.status = 403
        with pytest.raises(NotAcceptedError, match=r"http://127\.0\.0\.1:\d+/\*\*\* answered with status 403"):
            send_test(receiver.url, sender(tmp_path, None))
    assert [body["code"] for body in receiver.bodies] == ["test", "test"]
    with pytest.raises(ConfigError):
        send_test("nonsense", sender(tmp_path, None))


def _send(folder: str, url: str) -> None:
    for _ in range(5):
        send_now(sender(Path(folder), url))


def test_two_processes_at_the_same_time_send_each_notice_once(tmp_path: Path) -> None:
    registry = filled(tmp_path, 50)
    spawn = multiprocessing.get_context("spawn")
    with listening() as receiver:
        processes = [spawn.Process(target=_send, args=(str(tmp_path), receiver.url)) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
    assert len(receiver.bodies) == 50
    assert len({body["id"] for body in receiver.bodies}) == 50
    assert states(registry) == {"sent"}


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_sender_that_is_killed_half_way_is_followed_by_one_more_post_with_the_same_key(tmp_path: Path) -> None:
    registry = filled(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    with listening() as receiver:
        receiver.goes_on.clear()
        process = spawn.Process(target=_send, args=(str(tmp_path), receiver.url))
        process.start()
        receiver.wait_for(1)  # it has come, and the sender does not know
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(120)
        receiver.goes_on.set()
        assert states(registry) == {"waiting"}
        for minutes in (0.5, 2, 10, 100):
            send_now(sender(tmp_path, receiver.url, minutes))
    assert len(receiver.bodies) == 2
    assert receiver.bodies[0] == receiver.bodies[1]
    assert states(registry) == {"sent"}
