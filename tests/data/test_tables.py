from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cryptocast.data import parquet
from cryptocast.data.tables import read_noted, write_noted, write_table
from cryptocast.errors import DataError, UsageError


def read_table(path: Path) -> pl.DataFrame:
    """What stands in a file, by its suffix."""
    if path.suffix.lower() == ".csv":
        return pl.read_csv(path)
    return parquet.decode(path.read_bytes(), str(path))[0]


FRAME = pl.DataFrame({"coin": ["bitcoin", "ethereum"], "value": [1.5, None], "n": [1, 2]})


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "TABLE.PARQUET"])
def test_a_table_comes_back_in_either_format(tmp_path: Path, name: str) -> None:
    write_table(FRAME, tmp_path / "new folder" / name)
    assert_frame_equal(read_table(tmp_path / "new folder" / name), FRAME)
    assert not list(tmp_path.rglob("*.tmp"))


def test_times_keep_their_zone_in_parquet(tmp_path: Path) -> None:
    frame = pl.DataFrame({"at": [datetime(2020, 1, 1, tzinfo=UTC)]}, schema={"at": pl.Datetime("us", "UTC")})
    write_table(frame, tmp_path / "t.parquet")
    assert_frame_equal(read_table(tmp_path / "t.parquet"), frame)


@pytest.mark.parametrize("name", ["table", "table.xlsx", "table.pkl"])
def test_an_unknown_suffix_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.csv or \.parquet"):
        write_table(FRAME, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_path_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_table(FRAME, tmp_path / "file" / "table.csv")


def test_a_table_with_a_note_comes_back_and_one_without_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    assert read_noted(path) is None
    write_noted(FRAME, path, b"note")
    frame, note = read_noted(path) or (pl.DataFrame(), b"")
    assert_frame_equal(frame, FRAME)
    assert note == b"note"
    write_table(FRAME, path)
    with pytest.raises(DataError, match="no note"):
        read_noted(path)
