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
    frame, back = parquet.decode(content, "x")
    assert_frame_equal(frame, FRAME)
    assert back == metadata
    (tmp_path / "x.parquet").write_bytes(content)
    assert parquet.read_metadata(tmp_path / "x.parquet") == metadata


@pytest.mark.parametrize("content", [b"", b"PAR1", b"a,b\n1,2\n", parquet.encode(FRAME)[:-9]])
def test_what_is_no_whole_file_is_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    for read in (lambda: parquet.decode(content, "x.parquet"), lambda: parquet.read_metadata(tmp_path / "x.parquet")):
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
