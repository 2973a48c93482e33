from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cryptocast.data import parquet
from cryptocast.errors import DataError

FRAME = pl.DataFrame({"coin": ["bitcoin", None], "close": [1.5, 2.5]})


@pytest.mark.parametrize("metadata", [None, b"", b"who wrote it"])
def test_a_frame_and_its_metadata_come_back(tmp_path: Path, metadata: bytes | None) -> None:
    content = parquet.encode(FRAME, metadata)
    for decode in (parquet.decode, parquet.decode_hashed):
        frame, back = decode(content, "x")
        assert_frame_equal(frame, FRAME)
        assert back == metadata
    (tmp_path / "x.parquet").write_bytes(content)
    assert parquet.read_metadata(tmp_path / "x.parquet") == metadata


@pytest.mark.parametrize("content", [b"", b"PAR1", b"a,b\n1,2\n", parquet.encode(FRAME)[:-9]])
def test_what_is_no_whole_file_is_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    for read in (
        lambda: parquet.decode(content, "x.parquet"),
        lambda: parquet.decode_hashed(content, "x.parquet"),
        lambda: parquet.read_metadata(tmp_path / "x.parquet"),
    ):
        with pytest.raises(DataError, match=r"x\.parquet is not a whole Parquet file: .") as caught:
            read()
        assert "\n" not in str(caught.value)
        assert "<Buffer>" not in str(caught.value)


def test_a_file_that_is_missing_or_a_folder_is_said_in_one_line(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match="cannot be read"):
            parquet.read_bytes(path)


def test_a_written_file_is_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    for content in (b"old", b"newer"):
        parquet.write_atomically(path, content)
        assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == ["file"]
    with pytest.raises(DataError, match="cannot be written"):
        parquet.write_atomically(path / "below a file", b"")


def test_a_file_is_read_in_pieces_and_only_the_columns_that_are_wanted() -> None:
    frame = pl.DataFrame({"a": range(10), "nested": [[1]] * 10, "b": [str(number) for number in range(10)]})
    feather = BytesIO()
    frame.write_ipc(feather, compression="lz4")
    for file in (feather, BytesIO(parquet.encode(frame))):
        assert parquet.column_names(file, "x") == ["a", "nested", "b"]
        pieces = list(parquet.pieces(file, "x", ["b", "a"], rows=4))
        assert [len(piece) for piece in pieces] == [4, 4, 2]
        assert_frame_equal(pl.concat(pieces).select("a", "b"), frame.select("a", "b"))


def test_damage_behind_the_first_rows_is_said_when_it_is_reached() -> None:
    frame = pl.DataFrame({"a": range(100_000)})
    content = bytearray(parquet.encode(frame))
    content[len(content) // 2] ^= 0xFF
    assert parquet.column_names(BytesIO(content), "x") == ["a"]
    with pytest.raises(DataError, match="x is not a whole Parquet file"):
        list(parquet.pieces(BytesIO(content), "x", ["a"], rows=1_000))
