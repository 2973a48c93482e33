"""What a forecast shows."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from cryptocast.data.schema import SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.market import Market
from tests.cli.commands import Run, check_fit
from tests.conftest import simulated_candles


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "words",
    [
        "forecast bitcoin ethereum",
        "forecast bitcoin --levels 20,40,60,80,90,95",
        "forecast bitcoin --touch 9500",
        "forecast bitcoin ethereum --position 0.5,-10",
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


def test_bars_that_ended_say_so_first(run: Run, trained: Path) -> None:
    said = " ".join(run("forecast", "bitcoin", folder=trained).out.split())
    first = r"for: auto\) Note: the daily bars of bitcoin from the sample end 2020-01-17, [0-9,]+ days"
    assert re.search(first, said)
    made = json.loads(run("forecast", "bitcoin", "--json", folder=trained).out)["forecasts"][0]
    assert made["stale"] is True
    assert made["notices"][0].endswith("days ago: horizons count from there, and all target dates have passed.")
    assert made["horizons"][0]["target_time"] == "2020-01-18T00:00:00Z"


def test_what_is_true_of_several_coins_is_said_once_and_the_conclusion_comes_last(run: Run, trained: Path) -> None:
    ended = run("forecast", "bitcoin", "ethereum", folder=trained)
    documents = json.loads(run("forecast", "bitcoin", "ethereum", "--json", folder=trained).out)["forecasts"]
    said = " ".join(ended.out.split())
    shared = set(documents[0]["notices"]) & set(documents[1]["notices"])
    assert all(said.count(notice) == 1 for notice in shared)
    box = ended.out[ended.out.index("╭") :].splitlines()
    assert len(box) <= 8, "six lines in a frame"
    assert "Served now: bitcoin/lightgbm:1 for bitcoin, baseline for ethereum." in box[-3]
    assert "Next: cryptocast " in box[-2]


def test_the_numbers_behind_the_answers_are_shown_on_demand(run: Run, trained: Path) -> None:
    said = " ".join(run("forecast", "bitcoin", "--verbose", folder=trained, columns=300).out.split())
    made = json.loads(run("forecast", "bitcoin", "--json", folder=trained).out)["forecasts"][0]
    for horizon in made["horizons"]:
        assert len(horizon["answers"]) == 4
        assert f"{horizon['horizon']} d: Width better than naive? " in said
    assert "Intervals right?" in said


def test_late_bars_say_where_the_horizons_count_from(run: Run, tmp_path: Path) -> None:
    frame = simulated_candles(("bitcoin",), 300)
    key = SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin")
    end = frame["close_time"][-1]
    CandleStore(tmp_path / "data", lock_timeout_s=5.0).write(key, frame, fetched_at=end)
    due = f"{end + timedelta(days=5):%Y-%m-%d}"
    then = ("--source", "coingecko", "--as-of", due)
    said = " ".join(run("forecast", "bitcoin", *then, folder=tmp_path).out.split())
    assert f"CoinGecko's newest daily candle of bitcoin closed {end:%Y-%m-%d}" in said
    assert f"5 bars are missing since the last one known: horizons count from {due}" in said
    made = json.loads(run("forecast", "bitcoin", *then, "--json", folder=tmp_path).out)["forecasts"][0]
    assert (made["stale"], made["horizons"][0]["target_time"][:10]) == (True, f"{end + timedelta(days=6):%Y-%m-%d}")


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


def test_a_price_and_a_position_are_judged_by_sample_paths(run: Run, trained: Path) -> None:
    said = " ".join(run("forecast", "bitcoin", "--touch", "9500", folder=trained, columns=140).out.split())
    assert re.search(r"touches % ahead \(UTC\) USD .* 9,500\.0 USD ", said)
    assert "a high or low of a bar reaches the price by then, from 1,000 sample paths." in said
    risk = ("--position", "0.5,-10", "--paths", "200")
    said = " ".join(run("forecast", "bitcoin", "ethereum", *risk, folder=trained, columns=140).out.split())
    assert re.search(r"Position of 0\.5 bitcoin, -10 ethereum, worth [0-9,.]+ USD: losses on 200 sample paths", said)
    assert re.search(r"VaR 95 % shortfall VaR 99 % shortfall ahead USD 95 % USD 99 %", said)
