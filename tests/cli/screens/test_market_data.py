"""What fetch and data show."""

from pathlib import Path

import pytest

from tests.cli.commands import Run, check_fit


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "words",
    [
        "fetch bitcoin ethereum",
        "data ls",
        "data show",
        "data show bitcoin",
        "data export bitcoin --out bitcoin.csv",
        "data rm bitcoin --dry-run",
        "data verify",
    ],
)
def test_it_fits_and_cuts_nothing(run: Run, own: Path, words: str, columns: int) -> None:
    check_fit(run(*words.split(), folder=own, columns=columns), columns)


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
