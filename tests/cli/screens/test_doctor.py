"""What the doctor shows."""

from pathlib import Path

import pytest

from tests.cli.commands import Run, check_fit


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "words",
    [
        "doctor --offline",
    ],
)
def test_it_fits_and_cuts_nothing(run: Run, own: Path, words: str, columns: int) -> None:
    check_fit(run(*words.split(), folder=own, columns=columns), columns)


def test_the_doctor_leaves_with_2_where_the_settings_are_broken(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[data]\ncions = 3\n", encoding="utf-8")
    ended = run("doctor", "--offline")
    assert ended.code == 2
    assert "cions" in ended.out
    assert ended.err == ""
