from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from cryptocast.data.sources.file.layouts import VolumeUnit
from cryptocast.data.sources.file.reader import FileOptions, read_file
from cryptocast.data.tables import write_table
from cryptocast.errors import DataError, UsageError
from tests.data.sources.file.texts import NOW, days, read, row, simple


@pytest.mark.parametrize(("unit", "expected"), [(None, 5.0), ("quote", 5.0), ("coin", 500.0)])
def test_volume_in_coins_is_converted_at_the_close_and_noted(
    tmp_path: Path, unit: VolumeUnit | None, expected: float
) -> None:
    found = read(tmp_path / "f.csv", simple(row(1), row(2)), volume_unit=unit)
    assert found.frame["volume"].to_list() == [expected, expected]
    assert any("converted from coins" in note for note in found.notes) == (unit == "coin")


def test_a_range_that_contradicts_the_close_makes_the_bar_close_only(tmp_path: Path) -> None:
    found = read(tmp_path / "f.csv", simple(row(1), "2020-01-02,100,101,99,150,5", row(3)))
    assert found.frame["range_known"].to_list() == [True, False, True]
    assert found.frame.select("open", "high", "low", "close").row(1) == (150.0, 150.0, 150.0, 150.0)
    assert any("1 bar whose high and low" in note for note in found.notes)


def test_unknown_volumes_are_unknown_and_not_zero(tmp_path: Path) -> None:
    found = read(tmp_path / "f.csv", simple(row(1, volume=""), row(2, volume="null"), row(3, volume=0)))
    assert found.frame["volume"].to_list() == [None, None, 0.0]


def test_a_file_of_several_coins_gives_the_one_asked_for(tmp_path: Path) -> None:
    rows = ["bitcoin,2020-01-01,5", "ethereum,2020-01-01,6", "bitcoin,2020-01-02,7", "ethereum,2020-01-02,8"]
    found = read(tmp_path / "f.csv", simple(*rows, header="coin,date,close"))
    assert found.frame["close"].to_list() == [5.0, 7.0]
    with pytest.raises(DataError, match="coin is 'ethereum', not bitcoin"):
        read(tmp_path / "f.csv", simple("ethereum,2020-01-01,6", header="coin,date,close"))


def test_rows_without_a_price_are_left_out_and_those_with_half_a_range_are_close_only(tmp_path: Path) -> None:
    text = simple(row(1), row(2, close=""), row(3, close="NaN"), "2020-01-04,100,,50,100,5", row(5), row(6))
    found = read(tmp_path / "f.csv", text)
    assert days(found) == ["2020-01-02T00:00", "2020-01-05T00:00", "2020-01-06T00:00", "2020-01-07T00:00"]
    assert found.frame["range_known"].to_list() == [True, False, True, True]
    assert "2 rows without a price left out" in found.notes
    assert "1 bar without open, high or low made close-only" in found.notes


def test_a_time_beside_the_date_is_not_ignored(tmp_path: Path) -> None:
    rows = [f"2020-01-01,{hour:02}:00,5" for hour in range(5)]
    for name in ("Date", "Day", "ds"):
        assert read(tmp_path / "f.csv", simple(*rows, header=f"{name},Time,Close")).granularity == "hourly"
    epochs = [f"2020-01-01,{1577836800 + 3600 * hour},5" for hour in range(5)]
    assert read(tmp_path / "f.csv", simple(*epochs, header="Date,Time,Close")).granularity == "hourly"


def test_a_decimal_comma_is_seen_noted_and_asked_for_where_it_may_be_either(tmp_path: Path) -> None:
    def text(close: str) -> str:
        return f"Datum;Close\n2020-01-01;{close}\n2020-01-02;{close}\n".replace("Datum", "Date")

    found = read(tmp_path / "f.csv", text("60.001,5"))
    assert found.frame["close"][0] == 60001.5
    assert "numbers read with a decimal comma" in found.notes
    with pytest.raises(DataError, match=r"row 2: close is '60,001', .* say --decimal \. or --decimal ,"):
        read(tmp_path / "f.csv", text("60,001"))
    assert read(tmp_path / "f.csv", text("60,001"), decimal=".").frame["close"][0] == 60001.0
    assert read(tmp_path / "f.csv", text("60,001"), decimal=",").frame["close"][0] == 60.001


def test_day_and_month_are_told_apart_or_asked_for(tmp_path: Path) -> None:
    def text(form: str, count: int) -> str:
        dates = [date(2020, 1, 1) + timedelta(days=number) for number in range(count)]
        return simple(*[f"{day.strftime(form)},5" for day in dates], header="Date,Close")

    for form, words in (("%d/%m/%Y", "day/month/year"), ("%m/%d/%Y", "month/day/year")):
        found = read(tmp_path / "f.csv", text(form, 20))
        assert days(found)[-1] == "2020-01-21T00:00"
        assert f"dates read as {words}" in found.notes
        with pytest.raises(DataError, match="--dates dmy or --dates mdy"):
            read(tmp_path / "f.csv", text(form, 12))
    assert days(read(tmp_path / "f.csv", text("%d/%m/%Y", 12), dates="dmy"))[-1] == "2020-01-13T00:00"


def test_times_without_a_zone_are_utc_with_a_note_or_what_the_user_says(tmp_path: Path) -> None:
    text = simple(*[f"2020-01-01 {hour:02}:00,5" for hour in range(5)], header="Date,Close")
    found = read(tmp_path / "f.csv", text)
    assert days(found)[0] == "2020-01-01T01:00"
    assert "times name no time zone and were read as UTC" in found.notes
    assert days(read(tmp_path / "f.csv", text, timezone="Europe/Berlin"))[0] == "2020-01-01T00:00"
    with pytest.raises(UsageError, match="'Nowhere/City' is no time zone"):
        FileOptions(timezone="Nowhere/City")


@pytest.mark.parametrize(
    ("header", "row", "volume"),
    [
        ("unix,close,Volume BTC,Volume USD", "{unix},100,2,201", 201.0),
        ("unix,close,Volume USD,Volume BTC", "{unix},100,2,201", 201.0),  # exchanged
        ("unix,close,Volume BTC", "{unix},100,2", 200.0),
        ("timestamp,close,volume", "{unix},100,2", 200.0),
        ("timestamp,close,volume,market_cap", "{unix},100,2,1e9", 2.0),
        ("Date,close,volume", "{date},100,2", 2.0),
    ],
)
def test_the_volume_is_in_money_whatever_the_columns_are_called(
    tmp_path: Path, header: str, row: str, volume: float
) -> None:
    rows = [row.format(unix=1577836800 + 86400 * day, date=f"2020-01-0{day + 1}") for day in range(3)]
    assert read(tmp_path / "f.csv", simple(*rows, header=header)).frame["volume"].to_list() == [volume] * 3


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("f.csv", simple(row(1) + ",ETH/USD", header="date,open,high,low,close,volume,symbol"), "'ETH/USD', not bitc"),
        ("f.csv", simple(row(1) + ",BTC/EUR", header="date,open,high,low,close,volume,pair"), "--vs eur"),
        ("f.csv", simple("2020-01-01,5,9", header="date,close,Volume EUR"), "prices in EUR, .* --vs eur"),
        ("f.csv", simple(row(1) + ",thing", header="date,open,high,low,close,volume,coin"), "'thing', not bitcoin"),
        (
            "f.csv",
            simple(row(1) + ",EUR", header="date,open,high,low,close,volume,Currency"),
            "row 2: currency is 'EUR'",
        ),
        ("ETH.csv", simple(row(1), row(2)), r"ETH\.csv: its name is 'ETH', not bitcoin"),
        ("ethereum.csv", simple(row(1), row(2)), "its name is 'ethereum', not bitcoin"),
        ("ETHUSD_1440.csv", simple(row(1), row(2)), r"ETHUSD_1440\.csv', not bitcoin"),
        ("XBTEUR_1440.csv", simple(row(1), row(2)), "prices in EUR, not in USD: import them with --vs eur"),
    ],
)
def test_another_coin_and_another_currency_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(tmp_path / name, text)


def test_a_column_of_the_currency_may_be_that_of_the_import_or_stand_for_it(tmp_path: Path) -> None:
    for currency, notes in (("usd", []), ("USDT", ["prices in USDT count as USD"])):
        rows = [row(day) + f",{currency}" for day in (1, 2)]
        found = read(tmp_path / "f.csv", simple(*rows, header="date,open,high,low,close,volume,Currency"))
        assert [note for note in found.notes if "count as" in note] == notes


def test_symbols_in_categories_of_a_parquet_file_are_symbols(tmp_path: Path) -> None:
    data = {"date": [date(2020, 1, 1), date(2020, 1, 2)], "close": [1.0, 2.0], "nested": [[1], [2]]}
    frame = pl.DataFrame(data).with_columns(symbol=pl.lit("ETH/USD", pl.Categorical()))
    write_table(frame, tmp_path / "f.parquet")
    with pytest.raises(DataError, match="row 1: symbol is 'ETH/USD', not bitcoin"):
        read_file(tmp_path / "f.parquet", "bitcoin", now=NOW)
    write_table(frame.select("nested"), tmp_path / "f.parquet")
    with pytest.raises(DataError, match=r"f\.parquet has 1 column \('nested'\)"):
        read_file(tmp_path / "f.parquet", "bitcoin", now=NOW)
