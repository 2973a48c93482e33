"""registry best, score and ab: a name that means another thing is refused with the command that was meant."""

from pathlib import Path

from tests.cli.commands import Run


def test_best_is_of_a_coin_and_not_of_a_kind(run: Run, trained: Path) -> None:
    ended = run("registry", "best", "bitcoin/lightgbm", folder=trained)
    assert ended.code == 2
    assert "cryptocast registry best bitcoin" in ended.err


def test_a_file_is_exported_once_unless_it_may_be_replaced(run: Run, own: Path) -> None:
    words = ("registry", "export", "bitcoin/lightgbm:1", "one.zip")
    assert [run(*words, *more, folder=own).code for more in ((), (), ("--overwrite",))] == [0, 2, 0]
