"""registry list, history and promote where there is nothing yet."""

import json
from pathlib import Path

import pytest

from cryptocast.registry import Registry
from tests.cli.commands import Run
from tests.workflows.notices.local_receiver import listening


def test_an_empty_folder_has_nothing_and_says_what_to_do(run: Run, tmp_path: Path) -> None:
    assert "cryptocast train" in run("registry", "list").out
    assert "cryptocast fetch" in run("data", "ls").out
    assert "The registry has no history yet" in run("registry", "history").out
    promoted = run("registry", "promote")
    assert promoted.code == 0
    assert "Nothing to promote" in promoted.out
    assert list(tmp_path.iterdir()) == []


def test_a_promotion_is_told_at_its_end_and_a_refusal_too(run: Run, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as receiver:
        monkeypatch.setenv("CRYPTOCAST_NOTIFY_URL", receiver.url)
        forced = run("registry", "promote", "bitcoin", "lightgbm", "2", "--force", "--reason", "new fees", folder=own)
        assert (forced.code, forced.err) == (0, "")
        assert (receiver.bodies[-1]["code"], receiver.bodies[-1]["facts"]["number"]) == ("promoted", 2)
        number = len(receiver.bodies)
        assert run("registry", "promote", "bitcoin", "lightgbm", "1", folder=own).code == 6
        assert run("registry", "promote", "bitcoin", "lightgbm", "1", folder=own).code == 6
        assert [body["code"] for body in receiver.bodies[number:]] == ["refused"]
        assert run("registry", "rollback", "bitcoin", "lightgbm", "--to", "1", "--dry-run", folder=own).code == 0
        assert run("registry", "rollback", "bitcoin", "lightgbm", "--to", "1", folder=own).code == 0
        assert receiver.bodies[-1]["facts"]["action"] == "rollback"
        assert len(receiver.bodies) == number + 2


def test_a_receiver_that_takes_nothing_fails_no_command_and_is_not_named(
    run: Run, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as receiver:
        receiver.status = 500
        monkeypatch.setenv("CRYPTOCAST_NOTIFY_URL", receiver.url)
        words = ("registry", "promote", "bitcoin", "lightgbm", "2", "--force", "--reason", "new fees", "--json")
        ended = run(*words, folder=own)
    assert ended.code == 0
    assert json.loads(ended.out)["rows"][0]["action"] == "promoted"
    assert "not sent, to be tried again" in ended.err
    assert "s3cret" not in ended.out + ended.err
    waiting = [entry.state for entry in Registry.open(own / "data").outbox() if entry.notice.facts["number"] == 2]
    assert waiting == ["waiting"]
