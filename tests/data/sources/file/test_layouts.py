"""docs/data.md is the list of the layouts: each is read as its row says, plain, gzipped and zipped."""

import gzip
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from cryptocast.data.sources.file.layouts import LAYOUTS, plain, recognise
from cryptocast.data.sources.file.reader import FileOptions, Imported, read_file
from cryptocast.errors import DataError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = Path(__file__).resolve().parents[4] / "docs/data.md"
BARS = {"daily": 40, "hourly": 48, "minutes": 2880}


@dataclass(frozen=True)
class Row:
    """A row of the table of layouts."""

    name: str
    lines: tuple[str, ...]
    stamp: str
    volume: str
    sparse: bool


def rows() -> Iterator[Row]:
    text = PAGE.read_text(encoding="utf-8").partition("## Layouts")[2].partition("\n## ")[0]
    for line in re.findall(r"^\| (.*) \|$", text, re.MULTILINE):
        name, first, stamp, volume, sparse, *_ = line.split(" | ")
        if "`" in first:
            yield Row(name, tuple(re.findall(r"`([^`]*)`", first)), stamp, volume, sparse == "yes")


TABLE = list(rows())
WAYS_TO_WRITE_TIMES = (
    (r"(?P<d>\d{4}\.\d\d\.\d\d)(?P<sep>[\t,])(?P<t>\d\d:\d\d)", "%Y.%m.%d{sep}%H:%M"),
    (r"\d{4}-\d\d-\d\d", "%Y-%m-%d"),
    (r"\d\d/\d\d/\d{4}", "%m/%d/%Y"),
)
EPOCH = re.compile(r"(?<![\d.,])(1[3-7]\d{8})(\d{3})?(?=[.,]|$)")


def moved(line: str, by: timedelta) -> str:
    """The line with all its times later."""
    for pattern, form in WAYS_TO_WRITE_TIMES:

        def later(match: re.Match[str], form: str = form) -> str:
            own = form.format(**match.groupdict())
            return (datetime.strptime(match[0], own).replace(tzinfo=UTC) + by).strftime(own)

        line = re.sub(pattern, later, line)
    seconds = int(by.total_seconds())
    return EPOCH.sub(lambda match: f"{int(match[1]) + seconds}{match[2] or ''}", line)


def step(row: Row) -> timedelta:
    """From the last line but one to the last."""
    before, last = (line.replace("[", "") for line in row.lines[-2:])
    minutes = (1440, -1440, 60, 1)
    return next(timedelta(minutes=m) for m in minutes if stamp(moved(before, timedelta(minutes=m))) == stamp(last))


def stamp(line: str) -> str:
    found = [match[0] for pattern, _ in WAYS_TO_WRITE_TIMES for match in [re.search(pattern, line)] if match]
    return next(iter(found), "") or line.split(",")[0]


def bars_of(row: Row) -> str:
    return {1440: "daily", 60: "hourly", 1: "minutes"}[abs(step(row)) // timedelta(minutes=1)]


def lines_of(row: Row) -> list[str]:
    """The lines of the page and as many more as make whole days."""
    last = row.lines[-1].replace("]]", "")
    *above, _ = row.lines
    count = BARS[bars_of(row)] - 2 - ("NaN" in "".join(row.lines))
    return [*above, last, *(moved(last, step(row) * number) for number in range(1, count + 1))]


@cache
def content(row: Row) -> tuple[str, bytes]:
    """A file of the layout: its ending and bytes."""
    lines = lines_of(row)
    if row.name == "freqtrade and ccxt JSON":
        bars = [line.strip("[],") for line in lines]
        return "json", ("[[" + "],[".join(bars) + "]]").encode()
    if row.name == "freqtrade feather":
        frame = pl.read_csv("\n".join(lines).encode(), try_parse_dates=True)
        buffer = BytesIO()
        frame.with_columns(pl.col("date").dt.cast_time_unit("ms")).write_ipc(buffer, compression="lz4")
        return "feather", buffer.getvalue()
    return "csv", ("\n".join(lines) + "\n").encode()


def imported(folder: Path, row: Row, packing: str = "plain", **options: object) -> Imported:
    ending, raw = content(row)
    path = folder / f"f.{ending}"
    if packing == "gz":
        path = path.with_name(f"{path.name}.gz")
        path.write_bytes(gzip.compress(raw))
    elif packing == "zip":
        with zipfile.ZipFile(folder / "f.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"f.{ending}", raw)
        path = folder / "f.zip"
    else:
        path.write_bytes(raw)
    return read_file(path, "bitcoin", now=NOW, options=FileOptions(**options))  # type: ignore[arg-type]


def test_the_page_has_a_row_for_each_layout_and_says_what_the_code_says() -> None:
    units = {"coins": "coin", "quote column": "coin", "quote": "quote", "unknown": None}
    assert {(row.name, units[row.volume], row.sparse) for row in TABLE} == {
        (layout.name, layout.volume, layout.sparse) for layout in LAYOUTS
    }


@pytest.mark.parametrize("packing", ["plain", "gz", "zip"])
@pytest.mark.parametrize("row", TABLE, ids=[plain(row.name) for row in TABLE])
def test_a_layout_is_read_as_the_page_says(tmp_path: Path, row: Row, packing: str) -> None:
    found = imported(tmp_path, row, packing)
    assert f"read as {row.name}" in found.notes
    assert found.granularity == ("hourly" if bars_of(row) == "hourly" else "daily")
    assert len(found.frame) == {"daily": 40, "hourly": 48, "minutes": 2}[bars_of(row)]
    assert found.frame["close_time"].is_sorted()
    dates = sorted(re.findall(r"\d{4}-\d\d-\d\d", " ".join(lines_of(row))))
    if dates:
        first = datetime.fromisoformat(dates[0]).replace(tzinfo=UTC)
        at_midnight = row.stamp == "close" and row.name == "CoinGecko"  # not a second before it
        assert found.frame["close_time"][0] == first + timedelta(days=0 if at_midnight else 1)


@pytest.mark.parametrize("row", TABLE, ids=[plain(row.name) for row in TABLE])
def test_the_volume_of_a_layout_counts_what_the_page_says(tmp_path: Path, row: Row) -> None:
    volume = imported(tmp_path, row).frame["volume"]
    if row.volume == "unknown":
        assert volume.null_count() == len(volume)
        return
    coin = imported(tmp_path, row, volume_unit="coin").frame["volume"]
    quote = imported(tmp_path, row, volume_unit="quote").frame["volume"]
    assert volume.equals(coin if row.volume == "coins" else quote)
    assert row.name == "Kaggle coin_Bitcoin" or not coin.equals(quote)


@pytest.mark.parametrize(
    "text",
    ["1688669448.1234,30100.1,0.005\n1688669449.5,30100.2,0.1\n", "time,price,amount\n1688669448,30100.1,0.005\n"],
)
def test_single_trades_are_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "XBTUSD.csv").write_text(text)
    with pytest.raises(DataError, match=r"XBTUSD\.csv holds single trades, not bars"):
        read_file(tmp_path / "XBTUSD.csv", "bitcoin", now=NOW)


def test_rows_without_a_header_are_told_apart_by_the_order_of_their_prices() -> None:
    ohlc = [["1704067200", "100", "130", "90", "120", "5"], ["1704153600", "120", "130", "110", "125", "5"]]
    low_first = [["1704067200", "90", "130", "100", "120", "5"]]
    assert recognise(ohlc, "f").layout.name == "ccxt rows"
    assert recognise(low_first, "f").layout.name == "Coinbase rows"
    assert recognise(ohlc, "f", json=True).layout.name == "freqtrade and ccxt JSON"


def test_the_separator_of_a_spreadsheet_may_stand_above_the_header(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("sep=;\nDate;Close\n2020-01-01;1.5\n2020-01-02;2.5\n")
    assert read_file(tmp_path / "f.csv", "bitcoin", now=NOW).frame["close"].to_list() == [1.5, 2.5]


def test_the_address_above_a_header_and_empty_lines_count_as_rows_of_the_file(tmp_path: Path) -> None:
    lines = ["https://www.CryptoDataDownload.com", "", "unix,close", "1704067200,5", "  ", "1704153600,x"]
    (tmp_path / "f.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"f\.csv, row 6: close is 'x', not a number"):
        read_file(tmp_path / "f.csv", "bitcoin", now=NOW)
