"""What people see, at 80 and at 140 columns."""

import json
import re
from pathlib import Path

import pytest

from cryptocast.market import Market
from cryptocast.registry import Registry, VersionKey
from tests.cli.commands import Run

SCREENS = {
    "fetch": ("fetch", "bitcoin", "ethereum"),
    "data ls": ("data", "ls"),
    "data verify": ("data", "verify"),
    "features": ("features",),
    "features --list": ("features", "--list"),
    "features --list --family": ("features", "--list", "--family", "volatility"),
    "features --audit": ("features", "bitcoin", "--audit"),
    "features --importance": ("features", "--importance"),
    "forecast": ("forecast", "bitcoin", "ethereum"),
    "forecast, many levels": ("forecast", "bitcoin", "--levels", "20,40,60,80,90,95"),
    "backtest": ("backtest", "bitcoin", "ethereum", "--model", "baseline", "--walk-forward", "--from", "2019-01-01"),
    "registry list": ("registry", "list"),
    "registry show": ("registry", "show", "bitcoin/lightgbm"),
    "registry history": ("registry", "history", "--at", "2100-01-01"),
    "registry promote": ("registry", "promote"),
    "registry ab start": ("registry", "ab", "start", "bitcoin", "lightgbm", "--challenger", "2"),
    "registry ab status": ("registry", "ab", "status"),
    "registry best": ("registry", "best", "bitcoin"),
    "registry card": ("registry", "card", "bitcoin/lightgbm"),
    "registry compare": ("registry", "compare", "bitcoin/lightgbm:2", "bitcoin/lightgbm@production"),
    "registry export": ("registry", "export", "bitcoin/lightgbm", "bitcoin.zip"),
    "registry gc": ("registry", "gc", "--keep", "1", "--dry-run"),
    "registry rollback": ("registry", "rollback", "bitcoin", "lightgbm", "--to", "2"),
    "registry score": ("registry", "score", "bitcoin"),
    "registry verify": ("registry", "verify"),
    "doctor": ("doctor", "--offline"),
}


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_fits_and_cuts_nothing(run: Run, own: Path, screen: str, columns: int) -> None:
    ended = run(*SCREENS[screen], folder=own, columns=columns)
    assert ended.code == 0, ended.err
    assert max(map(len, ended.out.splitlines())) <= columns
    assert "…" not in ended.out
    assert "\x1b" not in ended.out + ended.err


def test_a_wider_terminal_shows_more_and_a_narrow_one_says_what_is_missing(run: Run, trained: Path) -> None:
    narrow, wide = (run("registry", "list", folder=trained, columns=columns).out for columns in (80, 140))
    assert "registered" in wide
    assert "A wider terminal" in narrow
    assert "A wider terminal" not in wide


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


def test_a_training_ends_with_its_data_scores_versions_forecast_and_what_to_do_next(run: Run, own: Path) -> None:
    ended = run("train", "bitcoin", "--horizons", "1,7", folder=own)
    assert ended.code == 0, ended.err
    parts = [
        "Rests on daily bars in USD",
        "bitcoin, baseline: hold-out",
        "bitcoin, lightgbm: hold-out",
        "MAPE",
        "Versions",
        "bitcoin/lightgbm:3",
        "cryptocast registry promote bitcoin lightgbm",
        "bitcoin: 8,710.1 USD",
        "░░░ 95 %",
        "cryptocast backtest --walk-forward",
    ]
    said = " ".join(ended.out.split())
    at = 0
    for part in parts:
        at = said.find(part, at)
        assert at >= 0, f"{part} does not stand where it should"
    assert max(map(len, ended.out.splitlines())) <= 80


def test_a_training_of_the_baseline_registers_nothing_and_one_that_is_not_due_says_so(run: Run, own: Path) -> None:
    baseline = run("train", "bitcoin", "--model", "baseline", folder=own)
    assert baseline.code == 0
    assert "the baseline needs no version" in " ".join(baseline.out.split())
    fresh = run("train", "bitcoin", "--if-older-than", "7d", folder=own)
    assert fresh.code == 0
    assert "bitcoin was left alone" in " ".join(fresh.out.split())
    assert len(json.loads(run("registry", "list", "--json", folder=own).out)["versions"]) == 2


def test_long_work_is_told_in_lines_when_asked_for(run: Run, trained: Path) -> None:
    ended = run("features", "bitcoin", "--log-level", "info", folder=trained)
    assert re.search(r"info cryptocast\.cli\.progress: features: done in", ended.err)
    as_json = run("features", "bitcoin", "--log-level", "info", "--log-format", "json", folder=trained)
    assert {json.loads(line)["level"] for line in as_json.err.splitlines()} == {"info"}
    assert run("features", "bitcoin", folder=trained).err == ""


def test_a_refused_promotion_is_told_and_ends_in_6_only_if_it_was_named(run: Run, own: Path) -> None:
    unnamed = run("registry", "promote", folder=own)
    assert (unnamed.code, unnamed.err) == (0, "")
    assert "refused" in unnamed.out
    named = run("registry", "promote", "bitcoin", "lightgbm", folder=own)
    assert named.code == 6
    assert "refused" in named.out, "the report comes first"
    assert named.err.startswith("The gate refused bitcoin/lightgbm:2")
    as_json = run("registry", "promote", "bitcoin", "lightgbm", "--json", folder=own)
    assert as_json.code == 6
    assert json.loads(as_json.out)["rows"][0]["action"] == "refused"


def test_a_dry_run_changes_nothing_and_a_forced_promotion_is_recorded(run: Run, own: Path) -> None:
    command = ("registry", "promote", "bitcoin", "lightgbm", "2", "--force", "--reason", "a [test]")
    dry = run(*command, "--dry-run", folder=own)
    assert dry.code == 0
    assert "nothing was changed" in dry.out
    key = VersionKey("bitcoin", Market("sample", "usd", "daily"), "lightgbm")
    registry = Registry.open(own / "data")
    assert registry.production_at(key, registry.history()[-1].at) == 1
    assert run(*command, folder=own).code == 0
    assert registry.history()[-1].number == 2
    assert "forced: a [test]" in run("registry", "history", folder=own, columns=140).out
    again = run("registry", "promote", "bitcoin", "lightgbm", folder=own)
    assert (again.code, again.err) == (0, "")
    assert "Nothing to promote" in again.out


def test_an_empty_folder_has_nothing_and_says_what_to_do(run: Run, tmp_path: Path) -> None:
    assert "cryptocast train" in run("registry", "list").out
    assert "cryptocast fetch" in run("data", "ls").out
    assert "Nothing has happened yet" in run("registry", "history").out
    promoted = run("registry", "promote")
    assert promoted.code == 0
    assert "Nothing to promote" in promoted.out
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_imported_even_where_the_settings_name_another_source(run: Run, own: Path) -> None:
    rows = "\n".join(f"2020-01-{day:02d},{day}e-8,{day + 1}e-8,{day}e-8,{day}.5e-8,{day},100" for day in range(1, 32))
    (own / "tiny.csv").write_text(f"Date,Open,High,Low,Close,Adj Close,Volume\n{rows}\n", encoding="utf-8")
    fetched = run("fetch", "tiny-coin", "--file", "tiny.csv", folder=own)
    assert fetched.code == 0, fetched.err + fetched.out
    ended = run("forecast", "tiny-coin", "--source", "file", "--horizons", "1,2", folder=own)
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "tiny-coin: 3.1500e-07 USD" in said
    assert "median 1e-0" in said or "1e-07 USD" in said
    assert max(map(len, ended.out.splitlines())) <= 80


def test_damage_in_the_store_ends_in_3_and_is_named(run: Run, own: Path) -> None:
    (file,) = (own / "data" / "candles").rglob("bitcoin.parquet")
    file.write_bytes(file.read_bytes()[:-20])
    checked = run("data", "verify", folder=own)
    assert checked.code == 3
    assert "bitcoin.parquet" in checked.out
    assert run("doctor", "--offline", folder=own).code == 3


def test_the_doctor_leaves_with_2_where_the_settings_are_broken(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[data]\ncions = 3\n", encoding="utf-8")
    ended = run("doctor", "--offline")
    assert ended.code == 2
    assert "cions" in ended.out
    assert ended.err == ""


def test_after_an_upgrade_what_is_outdated_is_trained_and_else_it_is_said_that_nothing_is(
    run: Run, trained: Path
) -> None:
    ended = run("train", "--outdated", folder=trained)
    assert ended.code == 0
    assert "nothing is outdated" in " ".join(ended.out.split())
    refused = run("train", "bitcoin", "--outdated", folder=trained)
    assert (refused.code, "name no coins" in refused.err) == (2, True)
