"""registry list, history and promote where there is nothing yet."""

from pathlib import Path

from tests.cli.commands import Run


def test_an_empty_folder_has_nothing_and_says_what_to_do(run: Run, tmp_path: Path) -> None:
    assert "cryptocast train" in run("registry", "list").out
    assert "cryptocast fetch" in run("data", "ls").out
    assert "The registry has no history yet" in run("registry", "history").out
    promoted = run("registry", "promote")
    assert promoted.code == 0
    assert "Nothing to promote" in promoted.out
    assert list(tmp_path.iterdir()) == []
