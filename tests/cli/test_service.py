"""serve and doctor: what they refuse before anything is opened."""

import json

import pytest

from tests.cli.commands import Run
from tests.workflows.notices.local_receiver import listening


def test_a_server_for_others_needs_a_token(run: Run) -> None:
    ended = run("serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 it is refused
    assert ended.code == 2
    assert "CRYPTOCAST_SERVE_TOKEN" in ended.err


@pytest.mark.parametrize("url", ["", "nonsense", "http://127.0.0.1:9/s3cret"])
def test_the_doctor_says_whether_a_test_arrives(run: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with listening() as receiver:
        for address, finds in ((url, False), (receiver.url, True)):
            monkeypatch.setenv("CRYPTOCAST_NOTIFY_URL", address)
            document = json.loads(run("doctor", "--offline", "--notify", "--json").out)
            (check,) = [one for one in document["checks"] if one["name"] == "notices"]
            assert (check["status"] == "ok", "s3cret" in check["found"]) == (finds, False)
        assert [body["code"] for body in receiver.bodies] == ["test"]
        assert "accepted with status 200" in check["found"]


def test_a_server_refuses_an_address_that_is_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOCAST_NOTIFY_URL", "s3cret")
    ended = run("serve", "--port", "0")
    assert (ended.code, "CRYPTOCAST_NOTIFY_URL" in ended.err, "s3cret" in ended.err) == (2, True, False)
