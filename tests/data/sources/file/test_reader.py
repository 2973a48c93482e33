import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.data.candle_checks import check_candles
from cryptocast.data.schema import CANDLE_SCHEMA, SeriesKey
from cryptocast.data.sources.file.layouts import Stamp
from cryptocast.data.sources.file.reader import read_file
from cryptocast.data.tables import write_table
from cryptocast.errors import DataError
from cryptocast.market import Market
from tests.data.sources.file.texts import NOW, days, read, row, simple

SHARED = Path(__file__).resolve().parents[4].parent / "shared/data"

YAHOO = """Date,Open,High,Low,Close,Adj Close,Volume
2020-03-10,7922.146484,8136.945313,7814.763184,7909.729492,7909.729492,42213940994
2020-03-11,7910.089844,7950.814453,7642.812500,7911.430176,7911.430176,38682762605
2020-03-12,7913.616211,7929.116211,4860.354004,4970.788086,4970.788086,53980357243
"""


def kline(opened: datetime, close: float, unit: int) -> str:
    """A line as in the exchange's archive; unit: ticks in a second."""
    start = int(opened.timestamp()) * unit
    return f"{start},100.0,130.0,90.0,{close},2.0,{start + 86_400 * unit - 1},{2 * close + 1},10,1.0,{close},0"


def klines(unit: int) -> str:
    return "".join(kline(datetime(2020, 1, d, tzinfo=UTC), 100.0 + d, unit) + "\n" for d in (1, 2, 3))


def test_a_yahoo_file_is_read_as_it_comes(tmp_path: Path) -> None:
    found = read(tmp_path / "BTC-USD.csv", YAHOO)
    assert found.granularity == "daily"
    assert days(found) == ["2020-03-11T00:00", "2020-03-12T00:00", "2020-03-13T00:00"]
    assert found.frame.schema == CANDLE_SCHEMA
    assert found.frame.row(2, named=True) | {"close_time": None} == {
        "coin": "bitcoin",
        "close_time": None,
        "open": 7913.616211,
        "high": 7929.116211,
        "low": 4860.354004,
        "close": 4970.788086,
        "volume": 53980357243.0,
        "market_cap": None,
        "range_known": True,
    }


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("stamp", [None, "open", "close"])
def test_klines_are_read_in_seconds_milliseconds_and_microseconds(
    tmp_path: Path, unit: int, *, header: bool, stamp: Stamp | None
) -> None:
    names = "Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades,"
    names += "Taker buy base asset volume,Taker buy quote asset volume,Ignore\n"
    text = (names if header else "") + klines(unit)
    found = read(tmp_path / "klines.csv", text, stamp=stamp)
    assert days(found) == ["2020-01-02T00:00", "2020-01-03T00:00", "2020-01-04T00:00"]
    assert found.frame["close"].to_list() == [101.0, 102.0, 103.0]
    assert found.frame["volume"].to_list() == [203.0, 205.0, 207.0]  # the column of quote volume


def test_klines_whose_unit_changes_within_the_file_are_one_series(tmp_path: Path) -> None:
    text = kline(datetime(2024, 12, 31, tzinfo=UTC), 100, 1_000) + "\n"
    text += kline(datetime(2025, 1, 1, tzinfo=UTC), 101, 1_000_000) + "\n"
    assert days(read(tmp_path / "k.csv", text)) == ["2025-01-01T00:00", "2025-01-02T00:00"]


def test_an_export_with_snapshots_at_midnight_is_close_only_and_stamped_at_the_close(tmp_path: Path) -> None:
    text = "snapped_at,price,market_cap,total_volume\n"
    text += "2020-01-02 00:00:00 UTC,7000.5,1.2e11,0.0\n2020-01-03 00:00:00 UTC,7100.5,0,2e10\n"
    found = read(tmp_path / "export.csv", text)
    assert days(found) == ["2020-01-02T00:00", "2020-01-03T00:00"]
    assert found.frame["range_known"].to_list() == [False, False]
    assert found.frame["high"].to_list() == [7000.5, 7100.5]
    assert found.frame["market_cap"].to_list() == [1.2e11, None]


@pytest.mark.parametrize(
    ("stamp", "first"), [("open", "2020-01-02T00:00"), ("close", "2020-01-01T00:00"), (None, "2020-01-02T00:00")]
)
def test_a_stamp_is_the_open_unless_said_otherwise(tmp_path: Path, stamp: Stamp | None, first: str) -> None:
    found = read(tmp_path / "f.csv", simple(row(1), row(2)), stamp=stamp)
    assert days(found)[0] == first
    assert any("times taken to be the opens" in note for note in found.notes) == (stamp is None)


def test_the_last_second_of_a_day_is_its_close(tmp_path: Path) -> None:
    text = simple(*[row(d).replace(",", " 23:59:59,", 1) for d in (1, 2)])
    assert days(read(tmp_path / "f.csv", text, stamp="close")) == ["2020-01-02T00:00", "2020-01-03T00:00"]
    found = read(tmp_path / "f.csv", text)
    assert days(found) == ["2020-01-02T00:00", "2020-01-03T00:00"]
    assert "times are the last second of a bar, so its close" in found.notes
    with pytest.raises(DataError, match="--stamp close"):
        read(tmp_path / "f.csv", text, stamp="open")


def test_hours_with_offsets_of_time_zones_are_read_as_utc(tmp_path: Path) -> None:
    rows = [f"2020-01-01T{hour:02}:00:00+02:00,1,2,1,2,9" for hour in (10, 11, 12)]
    found = read(tmp_path / "f.csv", simple(*rows, header="Timestamp,OPEN,High,low,Close,VOLUME"))
    assert found.granularity == "hourly"
    assert days(found)[0] == "2020-01-01T09:00"


def test_unsorted_rows_are_sorted_and_exact_duplicates_counted(tmp_path: Path) -> None:
    found = read(tmp_path / "f.csv", simple(row(3), row(1), row(2), row(1), row(1)))
    assert days(found) == ["2020-01-02T00:00", "2020-01-03T00:00", "2020-01-04T00:00"]
    assert "2 exact duplicates dropped" in found.notes
    assert "rows sorted by time" in found.notes


@settings(max_examples=25, deadline=None)
@given(st.permutations(list(range(1, 20))), st.lists(st.integers(1, 19), max_size=5))
def test_the_order_and_repetition_of_rows_do_not_matter(order: list[int], repeated: list[int]) -> None:
    def table(rows: list[int]) -> pl.DataFrame:
        data = {"date": [date(2020, 1, d) for d in rows], "close": [100.0 + d for d in rows]}
        path = Path(folder) / "f.parquet"
        write_table(pl.DataFrame(data), path)
        return read_file(path, "bitcoin", now=NOW).frame

    with tempfile.TemporaryDirectory() as folder:
        assert table(order + repeated).equals(table(sorted(order)))


def test_bars_that_are_not_closed_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(simple(row(1), row(2), row(3)))
    found = read_file(path, "bitcoin", now=datetime(2020, 1, 3, 12, tzinfo=UTC))
    assert days(found) == ["2020-01-02T00:00", "2020-01-03T00:00"]
    assert any("1 bar not closed" in note for note in found.notes)
    with pytest.raises(DataError, match="no bar that was closed"):
        read_file(path, "bitcoin", now=datetime(2019, 1, 1, tzinfo=UTC))


HOURS = simple(*[f"2020-01-01 {hour:02}:00,1,2,1,2,9" for hour in range(5)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("date,open,high,low,close,volume\n", "no rows"),
        (simple(row(1), row(2)[:-7]), "row 3: 4 columns instead of 6"),
        (simple(row(1), row(2, close="abc"), row(3)), "row 3: close is 'abc', not a number"),
        (simple(row(1), row(2, close="inf")), "row 3: close is 'inf', not a finite number"),
        (simple(row(1), row(2, close="-7")), "row 3: close is '-7', a price must be positive"),
        (simple(row(1), row(2, close="0")), "row 3: close is '0', a price must be positive"),
        (simple(row(1), row(2, close="1_0")), "row 3: close is '1_0', not a number"),
        (simple(row(1), row(2, volume="-1")), "row 3: volume is '-1', a volume cannot be negative"),
        (simple(row(1), "31/13/2020,1,1,1,1,1"), "row 3: date is '31/13/2020', not a time"),
        (simple(row(1), "1920-01-01,1,1,1,1,1"), "row 3: date is '1920-01-01', not between 2009 and 2100"),
        (simple(row(1), "20200102,1,1,1,1,1"), "not between 2009 and 2100"),
        (
            simple(row(1), row(1, close=101), row(2)),
            r"two different bars for 2020-01-01T00:00Z: .*bad\.csv, row 2 .*bad\.csv, row 3",
        ),
        (simple(row(1)), "1 bar; at least 2"),
        ("date\n2020-01-01\n", "1 column"),
        ("date,open\n2020-01-01,5\n", "lacks a close"),
        ("close,open\n5,5\n", "lacks a time"),
        ("2020-01-01,1,2,3,4\n", "no header"),
        (simple(*[f"2020-01-01 00:{7 * m:02},1,2,1,2,9" for m in range(5)]), "every 7 minutes"),
        (simple(*[f"2020-01-01 00:{m:02},1,2,1,2,9" for m in range(5)]), "no whole daily bar"),
        (simple(*[f"2020-01-0{d} 05:00,1,2,1,2,9" for d in (1, 2, 3)]), "row 2: .* off the daily grid"),
        ('date,close\n"2020-01-01,5\n', "row 2"),
        (b"\xff\xfe\x00bad", "neither Parquet nor a CSV"),
        (b"PAR1 but not really", "not a whole Parquet file"),
        (simple(row(1), "2020-01-02,100,200,50,\x1b[31m\n,5"), "row"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_the_place(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(tmp_path / "bad.csv", text)
    message = str(caught.value)
    assert "bad.csv" in message
    assert message.isprintable()
    assert len(message) < 400


def test_bars_of_another_granularity_than_asked_for_are_refused(tmp_path: Path) -> None:
    assert read(tmp_path / "f.csv", HOURS).granularity == "hourly"
    with pytest.raises(DataError, match="has daily bars, which make no hourly ones"):
        read(tmp_path / "f.csv", YAHOO, granularity="hourly")


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match="There is no file"):
            read_file(path, "bitcoin", now=NOW)


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    write_table(pl.DataFrame({"date": [date(2020, 1, 1)] * 100, "close": [1.0] * 100}), tmp_path / "f.parquet")
    content = (tmp_path / "f.parquet").read_bytes()
    with pytest.raises(DataError, match="not a whole Parquet file"):
        read(tmp_path / "f.parquet", content[: len(content) // 2])


def test_a_bad_value_in_a_parquet_file_is_named_by_its_row(tmp_path: Path) -> None:
    data = {"timestamp": [date(2020, 1, d) for d in (1, 2, 3)], "close": [1.0, float("inf"), 3.0]}
    write_table(pl.DataFrame(data), tmp_path / "f.parquet")
    with pytest.raises(DataError, match=r"f\.parquet, row 2: close is inf, not a finite number"):
        read_file(tmp_path / "f.parquet", "bitcoin", now=NOW)


def test_an_unfinished_last_row_is_left_out_but_no_other_that_is_off_the_grid(tmp_path: Path) -> None:
    live = "2020-01-05 14:37:00+00:00,100,200,50,100,5"
    found = read(tmp_path / "f.csv", simple(*map(row, range(1, 5)), live))
    assert days(found)[-1] == "2020-01-05T00:00"
    assert any("unfinished last row" in note for note in found.notes)
    with pytest.raises(DataError, match=r"row 6: 2020-01-05T14:37Z is off the daily grid"):
        read(tmp_path / "f.csv", simple(*map(row, range(1, 5)), live, row(6), row(7)))


def test_one_stamp_at_midnight_among_last_seconds_shifts_no_bar(tmp_path: Path) -> None:
    stamps = ["2020-01-01 23:59:59", "2020-01-02 23:59:59", "2020-01-04 00:00:00", "2020-01-04 23:59:59"]
    found = read(tmp_path / "f.csv", simple(*[f"{stamp},1,1,1,1,5" for stamp in stamps]))
    assert days(found) == [f"2020-01-0{day}T00:00" for day in (2, 3, 4, 5)]
    with pytest.raises(DataError, match=r"33% of its times in the last second .* --stamp open or --stamp close"):
        read(tmp_path / "f.csv", simple(row(1), row(2), "2020-01-03 23:59:59,1,1,1,1,5"))


def test_a_file_that_changes_from_days_to_hours_is_refused(tmp_path: Path) -> None:
    hours = [f"2020-01-20 {hour:02}:00,1,1,1,1,5" for hour in range(24)]
    with pytest.raises(DataError, match=r"f\.csv mixes hourly and daily bars"):
        read(tmp_path / "f.csv", simple(*map(row, range(1, 20)), *hours))


def test_of_several_symbols_and_files_those_of_the_coin_are_taken(tmp_path: Path) -> None:
    rows = [f"2020-01-0{day},{symbol},{day}" for day in (1, 2) for symbol in ("ETH/USD", "BTC/USDT", "BTC/EUR")]
    found = read(tmp_path / "f.csv", simple(*rows, header="date,symbol,close"))
    assert found.frame["close"].to_list() == [1.0, 2.0]
    assert {"4 rows of other symbols left out", "prices in USDT count as USD"} <= set(found.notes)
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("ETHUSDT", "BTCUSDT", "BTCEUR"):
        (folder / f"{name}.csv").write_text(simple(row(1, close=len(name) + 50), row(2, close=len(name) + 50)))
    found = read_file(folder, "bitcoin", now=NOW)
    assert found.frame["close"].to_list() == [57.0, 57.0]
    assert "2 files of other coins or currencies left out" in found.notes
    (folder / "QQXYUSD.csv").write_text(simple(row(3), row(4)))  # of a coin that no table knows
    assert read_file(folder, "bitcoin", now=NOW).frame["close"].to_list() == [57.0, 57.0]
    paths = [folder / "BTCUSDT.csv", folder / "QQXYUSD.csv"]  # that the user says is bitcoin
    assert len(read_file(paths, "bitcoin", now=NOW).frame) == 4


def ohlcvt(minutes: int, price: float = 100.0) -> str:
    """Two days as in Kraken's archive."""
    opens = range(1577836800, 1577836800 + 2 * 86400, 60 * minutes)
    return "".join(f"{at},{price},{price},{price},{price + minutes},2,7\n" for at in opens)


@pytest.mark.parametrize(
    ("minutes", "granularity", "grain", "close", "left_out"),
    [
        ((1, 5, 60, 720, 1440), None, "daily", 1540.0, "4 files with bars of other lengths than daily left out"),
        ((1, 5, 60, 720, 1440), "hourly", "hourly", 160.0, "4 files with bars of other lengths than hourly left out"),
        ((5, 15, 60), "daily", "daily", 105.0, "2 files with bars of other lengths than 5-minute left out"),
        ((30, 1440), "hourly", "hourly", 130.0, "1 file with bars of other lengths than 30-minute left out"),
        ((60,), None, "hourly", 160.0, None),
    ],
)
def test_of_an_archive_with_all_lengths_of_bars_the_fitting_file_is_read(
    tmp_path: Path, minutes: tuple[int, ...], granularity: str | None, grain: str, close: float, left_out: str | None
) -> None:
    with zipfile.ZipFile(tmp_path / "Kraken_OHLCVT.zip", "w") as target:
        for pair in ("XBTUSD", "XBTEUR", "ETHUSD"):
            for length in minutes:
                target.writestr(f"master_q4/{pair}_{length}.csv", ohlcvt(length))
    found = read_file(tmp_path / "Kraken_OHLCVT.zip", "bitcoin", now=NOW, granularity=granularity)  # type: ignore[arg-type]
    assert (found.granularity, found.frame["close"][-1]) == (grain, close)
    assert [note for note in found.notes if "other lengths" in note] == ([left_out] if left_out else [])


def test_files_that_the_user_named_are_not_left_out_and_names_are_not_trusted(tmp_path: Path) -> None:
    days, hours = tmp_path / "BTC_USD-1d.csv", tmp_path / "BTC_USD-1h.csv"
    days.write_text(ohlcvt(1440))
    hours.write_text(ohlcvt(60))
    with pytest.raises(DataError, match=r"BTC_USD-1d\.csv has daily bars, .*BTC_USD-1h\.csv has hourly bars"):
        read_file([days, hours], "bitcoin", now=NOW)
    assert len(read_file(tmp_path, "bitcoin", now=NOW).frame) == 2
    for number in (1, 3):
        (tmp_path / f"parts/BTC_{number}.csv").parent.mkdir(exist_ok=True)
        (tmp_path / f"parts/BTC_{number}.csv").write_text(simple(row(number), row(number + 1)))
    with pytest.raises(DataError, match=r"BTC_1\.csv has daily bars, and is named as if it had other ones"):
        read_file(tmp_path / "parts", "bitcoin", now=NOW)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of the memory is read from Linux")
@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_two_million_minutes_take_less_than_500_mb_and_25_seconds_of_cpu(tmp_path: Path, name: str) -> None:
    count = 2_000_000
    price = pl.int_range(count, eager=True).cast(pl.Float64) % 997 / 7 + 100
    times = 1325376000 + 60 * pl.int_range(count, eager=True)
    columns = {"Timestamp": times, "Open": price, "High": price + 1, "Low": price - 1, "Close": price, "Volume": price}
    if name.endswith("parquet"):  # with as many columns that nobody needs as would not fit
        columns |= {f"other_{number}": price.shuffle(seed=number) for number in range(40)}
    write_table(pl.DataFrame(columns), tmp_path / name)
    # ru_maxrss would count the memory of this process too, which the other inherits until it starts its own program.
    program = (
        "import time; from pathlib import Path; from cryptocast.cli import main\n"
        "try: main()\n"
        "finally: print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0], time.process_time())"
    )
    arguments = ["fetch", "bitcoin", "--file", name]
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    kilobytes, seconds = map(float, ended.stdout.split()[-2:])
    assert kilobytes < 500 * 1024
    assert seconds < 25
    assert "1,388" in ended.stdout


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300) | st.text(alphabet='0123456789-:.,;[]\n"eE dateclose', max_size=200))
def test_no_content_gets_another_answer_than_candles_or_one_line(content: bytes | str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = read(Path(folder) / "f.csv", content)
        except DataError as error:
            refusal = str(error)
        else:
            check_candles(found.frame, SeriesKey(Market("file", "usd", found.granularity), "bitcoin"))
            return
    assert refusal.isprintable()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the development data are not part of the repository")
@pytest.mark.parametrize(
    ("name", "granularity", "rows"),
    [
        ("bitcoin.daily.parquet", "daily", 2991),
        ("bitcoin.hourly.parquet", "hourly", 33_954),
        ("binance/ethereum.daily.parquet", "daily", 1420),
    ],
)
def test_the_development_data_are_imported_whole(name: str, granularity: str, rows: int) -> None:
    found = read_file(SHARED / name, Path(name).name.partition(".")[0], now=NOW)
    assert (found.granularity, len(found.frame)) == (granularity, rows)
    assert found.frame["close_time"][-1] == datetime(2021, 7, 7, tzinfo=UTC)
    step = found.frame["close_time"].diff().median()
    assert step == (timedelta(days=1) if granularity == "daily" else timedelta(hours=1))
