"""What a forecast shows."""

import re
from pathlib import Path

import pytest

from tests.cli.commands import Run, check_fit


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "words",
    [
        "forecast bitcoin ethereum",
        "forecast bitcoin --levels 20,40,60,80,90,95",
    ],
)
def test_it_fits_and_cuts_nothing(run: Run, own: Path, words: str, columns: int) -> None:
    check_fit(run(*words.split(), folder=own, columns=columns), columns)


def test_a_forecast_says_what_answers_what_it_rests_on_and_shows_the_fan(run: Run, trained: Path) -> None:
    ended = run("forecast", "bitcoin", folder=trained)
    said = " ".join(ended.out.split())
    assert "bitcoin: 8,710.1 USD at 2020-01-17 00:00 UTC (sample bars), forecast by lightgbm, version 1" in said
    assert re.search(r"7 d 2020-01-24 8,710 [0-9,]+ to [0-9,]+ [0-9,]+ to [0-9,]+", said)
    assert "░░░ 95 %" in ended.out
    assert "⣀⠤⠒ closes" in ended.out


def test_a_coin_without_a_version_is_answered_by_the_baseline_and_one_without_candles_is_named(
    run: Run, trained: Path
) -> None:
    ended = run("forecast", "ethereum", "dogecoin", folder=trained)
    said = " ".join(ended.out.split())
    assert ended.code == 0
    assert "The baseline answers: no version of ethereum is in production on sample bars." in said
    assert "dogecoin: " in said


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_a_forecast_is_written_where_it_was_asked_for(run: Run, trained: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"forecast{suffix}"
    ended = run("forecast", "bitcoin", "--out", str(file), folder=trained)
    assert ended.code == 0
    assert file.stat().st_size > 100
    assert "Written to" in ended.out
