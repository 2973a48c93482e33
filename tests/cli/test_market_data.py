"""fetch and --as-of on the command line: the upstream is a stand-in on a real socket, the files are real files."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from cryptocast.rehearsal import FakeUpstream
from tests.cli.commands import ROOT, Run

SPARSE = ("--source", "coingecko", "--since", str(datetime.now(UTC).date() - timedelta(days=120)))


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch, run: Run) -> FakeUpstream:
    """A stand-in that the settings of this process point at; `run` is there first, since it clears the environment."""
    fake = FakeUpstream(coins=3)
    monkeypatch.setenv("CRYPTOCAST_COINGECKO__CALLS_PER_MINUTE", "6000")
    return fake


def rows(closes: list[float]) -> str:
    lines = [f"2020-01-{day:02d},{c},{c},{c},{c},{c},100" for day, c in enumerate(closes, start=1)]
    return "\n".join(["Date,Open,High,Low,Close,Adj Close,Volume", *lines]) + "\n"


def test_a_fetch_says_what_came_and_at_what_price(
    run: Run, monkeypatch: pytest.MonkeyPatch, upstream: FakeUpstream
) -> None:
    with upstream:
        monkeypatch.setenv("CRYPTOCAST_COINGECKO__BASE_URL", upstream.url)
        ended = run("fetch", "bitcoin", "no-such-coin", *SPARSE, columns=140)
    assert ended.code == 3, "one coin came, and the name of the other is a mistake"
    assert "refined" in ended.out
    assert "no-such-coin: CoinGecko has no coin 'no-such-coin'" in ended.out
    assert "1 of 2 coins came, 1 could not be had; " in ended.out
    words = " ".join(ended.out.split())
    # Just after midnight the last hour of the newest day is not there yet.
    assert re.search("hours came, and (119|120) days have their highs and lows now", words)


def test_without_hours_no_page_of_hours_is_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, upstream: FakeUpstream
) -> None:
    with upstream:
        monkeypatch.setenv("CRYPTOCAST_COINGECKO__BASE_URL", upstream.url)
        ended = run("fetch", "bitcoin", "--no-hours", "--json", *SPARSE)
        asked = [call.path for call in upstream.calls.log if "/range" in call.path]
        summary = json.loads(ended.out)["summary"]
        again = json.loads(run("fetch", "bitcoin", "--hours", "--json", *SPARSE).out)["summary"]
    assert (ended.code, asked) == (0, [])
    assert (summary["calls"], summary["hours"], summary["refined"]) == (1, 0, 0)
    assert again["hours"] > 2_000


def test_a_fetch_that_pretends_a_date_still_stores_when_the_bars_truly_came(
    run: Run, monkeypatch: pytest.MonkeyPatch, upstream: FakeUpstream
) -> None:
    before = datetime.now(UTC)
    with upstream:
        monkeypatch.setenv("CRYPTOCAST_COINGECKO__BASE_URL", upstream.url)
        assert run("fetch", "bitcoin", "--no-hours", "--now", f"{before.year - 1}-12-31", *SPARSE).code in (0, 3)
    (series,) = json.loads(run("data", "ls", "--json").out)["series"]
    assert datetime.fromisoformat(series["fetched_at"]) >= before.replace(microsecond=0)


def test_as_of_rests_on_what_was_known_before_a_correction_and_now_does_not(run: Run, tmp_path: Path) -> None:
    closes = [100.0 + day for day in range(31)]
    file = tmp_path / "prices.csv"
    file.write_text(rows(closes), encoding="utf-8")
    assert run("fetch", "my-coin", "--file", "prices.csv").code == 0
    between = datetime.now(UTC).isoformat()
    file.write_text(rows([*closes[:-1], 500.0]), encoding="utf-8")
    assert run("fetch", "my-coin", "--file", "prices.csv").code == 0

    def price(*options: str) -> float:
        ended = run("forecast", "my-coin", "--source", "file", "--horizons", "1", "--json", *options)
        assert ended.code == 0, ended.err
        return float(json.loads(ended.out)["forecasts"][0]["price"])

    assert price("--as-of", between) == 130.0
    assert price() == 500.0


def test_as_of_before_anything_was_known_ends_in_3_and_names_the_first_moment(run: Run, tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text(rows([100.0 + day for day in range(31)]), encoding="utf-8")
    assert run("fetch", "my-coin", "--file", "prices.csv").code == 0
    ended = run("forecast", "my-coin", "--source", "file", "--as-of", "2020-03-01")
    assert ended.code == 3
    assert "it knows some since" in ended.err
    assert "Traceback" not in ended.err


def stored(run: Run, tmp_path: Path) -> pl.DataFrame:
    (path,) = (tmp_path / "data/candles").rglob("bitcoin.parquet")
    return pl.read_parquet(path).drop("known_from")


def test_monthly_files_in_any_order_and_two_at_once_give_the_store_of_one(run: Run, tmp_path: Path) -> None:
    closes = [100.0 + day for day in range(30)]
    lines = rows(closes).splitlines(keepends=True)
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text("".join([lines[0], *lines[1 + 10 * number : 11 + 10 * number]]))
    (tmp_path / "whole.csv").write_text("".join(lines))
    assert run("fetch", "bitcoin", "--file", "whole.csv").code == 0
    expected = stored(run, tmp_path)
    for order in (("2", "0", "1"), ("1", "2", "0")):
        assert run("fetch", "bitcoin", "--file", f"{order[0]}.csv", "--replace").code == 0
        ended = run("fetch", "bitcoin", *(part for number in order[1:] for part in ("--file", f"{number}.csv")))
        assert ended.code == 0, ended.err
        assert stored(run, tmp_path).equals(expected)


def test_a_second_import_changes_nothing_and_bars_that_differ_are_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text(rows([100.0 + day for day in range(30)]))
    run("fetch", "bitcoin", "--file", "prices.csv")
    before = stored(run, tmp_path)
    again = json.loads(run("fetch", "bitcoin", "--file", "prices.csv", "--json").out)["coins"][0]
    assert (again["added"], again["revised"], again["removed"]) == (0, 0, 0)
    assert stored(run, tmp_path).equals(before)
    file.write_text(rows([100.0 + day + (day > 26) for day in range(30)]))
    said = " ".join(run("fetch", "bitcoin", "--file", "prices.csv").out.split())
    assert "3 bars differ from those stored earlier and were revised" in said
    file.write_text(rows([100.0 + day + (day > 26) for day in range(20)]))
    said = " ".join(run("fetch", "bitcoin", "--file", "prices.csv", "--replace").out.split())
    assert "10 bars that were stored earlier did not come again and were removed" in said


def test_how_a_file_is_written_can_be_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("Date;Close\n01/02/2020 00:00;60,001\n01/02/2020 01:00;60,002\n")
    assert "--decimal" in run("fetch", "bitcoin", "--file", "f.csv").out
    told = ("--decimal", ",", "--dates", "dmy", "--timezone", "Europe/Berlin", "--granularity", "hourly")
    ended = run("fetch", "bitcoin", "--file", "f.csv", *told, "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["coins"][0]["first"] == "2020-02-01T00:00:00Z"
    assert run("fetch", "bitcoin", "--file", "f.csv", "--timezone", "Nowhere").code == 2
    assert run("fetch", "bitcoin", "--source", "sample", "--replace").code == 2


def test_a_series_is_exported_and_imported_into_another_store_as_it_was(run: Run, own: Path) -> None:
    before = json.loads(run("data", "show", "bitcoin", "--json", folder=own).out)["series"][0]
    assert run("data", "export", "bitcoin", "--out", "b.csv", folder=own).code == 0
    assert run("fetch", "bitcoin", "--file", "b.csv", folder=own).code == 0
    ended = run("data", "show", "bitcoin#daily", "--source", "file", "--json", folder=own)
    after = json.loads(ended.out)["series"][0]
    assert after["content_hash"] == before["content_hash"]
    several = run("data", "export", "bitcoin", "--out", "b.csv", folder=own)
    assert several.code == 2
    assert "Name one with --source, --vs or --granularity" in several.err
    listed = run("data", "show", "bitcoin", folder=own)
    assert (listed.code, "2 series in" in listed.out) == (0, True)


def test_a_removal_says_what_goes_and_needs_a_yes_where_nobody_can_be_asked(run: Run, own: Path) -> None:
    for words in ((), ("--json",)):
        refused = run("data", "rm", "bitcoin", *words, folder=own)
        assert refused.code == 2
        assert "Nothing was removed: add --yes" in refused.err
    ended = run("data", "rm", "bitcoin", "--yes", folder=own, columns=140)
    assert ended.code == 0
    assert "Removed: bitcoin (sample, usd, daily), 1,864 bars from 2014-11-29 to 2020-01-17, 0 revisions." in ended.out
    assert "These versions in production need it to forecast: bitcoin/lightgbm:" in ended.out
    assert run("data", "show", "bitcoin", folder=own).code == 3
    assert run("registry", "show", "bitcoin/lightgbm", folder=own).code == 0
    assert run("data", "rm", "bitcoin/lightgbm:1", "--yes", folder=own).code == 2


@pytest.mark.skipif(os.name != "posix", reason="terminals are made by pty, which Windows lacks")
@pytest.mark.parametrize(("answer", "is_gone"), [("y", True), ("n", False)])
def test_at_a_terminal_the_user_is_asked(own: Path, answer: str, *, is_gone: bool) -> None:
    import pty

    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "cryptocast", "data", "rm", "bitcoin"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "dumb"}
    with subprocess.Popen(command, cwd=own, env=environment, stdin=end, stdout=end, stderr=end) as process:
        os.close(end)
        os.write(terminal, f"{answer}\n".encode())
        assert process.wait(timeout=300) == 0
    said = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert "To be removed: bitcoin (sample, usd, daily)" in said
    assert "Remove it?" in said
    assert (
        list((own / "data/candles").rglob("bitcoin.parquet")) == [] if is_gone else "Nothing has been removed" in said
    )
