import gzip
import hashlib
import os
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.data import parquet
from cryptocast.data.sources.file import archive
from cryptocast.data.sources.file.archive import price_files, printable
from cryptocast.data.sources.file.reader import Imported, read_file
from cryptocast.errors import DataError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEADER = "Date,Open,High,Low,Close,Volume\n"


def month(number: int, days: range = range(1, 11), close: float = 100.0) -> str:
    return HEADER + "".join(f"2020-{number:02}-{day:02},{close},{close},{close},{close},5\n" for day in days)


def read(*paths: Path) -> Imported:
    return read_file(paths, "bitcoin", now=NOW)


def zipped(path: Path, *texts: tuple[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, text in texts:
            target.writestr(name, text)
    return path


def test_a_folder_is_read_with_all_it_holds_in_any_packing(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.csv").write_text(month(1))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(month(2).encode()))
    zipped(tmp_path / "c.zip", ("../../x/c.csv", month(3)), ("__MACOSX/._c.csv", "rubbish"), ("LICENSE.md", "words"))
    (tmp_path / ".hidden.csv").write_text("rubbish")
    (tmp_path / "README.md").write_text("words")
    found = read(tmp_path)
    assert len(found.frame) == 30
    assert found.notes[0] == "imported from b.csv.gz to a.csv, 3 files"
    assert not (tmp_path.parent / "x").exists()


def test_files_give_the_same_bars_in_any_order_and_as_one(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.csv" for number in (1, 2, 3)]
    for number, path in enumerate(paths, start=1):
        path.write_text(month(number))
    whole = tmp_path / "whole.csv"
    whole.write_text(month(1) + month(2).removeprefix(HEADER) + month(3).removeprefix(HEADER))
    expected = read(whole).frame
    assert read(*paths).frame.equals(expected)
    assert read(*reversed(paths)).frame.equals(expected)
    assert read(paths[0], whole, paths[2]).frame.equals(expected)
    paths[1].write_text(HEADER)
    assert "1 file without a price of the coin left out" in read(*paths, whole).notes
    assert "20 exact duplicates dropped" in read(paths[0], whole, paths[2]).notes


def test_files_that_contradict_each_other_are_refused_with_both_names_and_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(month(1))
    (tmp_path / "b.csv").write_text(month(1, range(5, 15), close=101))
    with pytest.raises(DataError, match=r"two different bars for .*: .*a\.csv, row 6 .* and .*b\.csv, row 2"):
        read(tmp_path / "a.csv", tmp_path / "b.csv")


def test_files_with_bars_of_different_lengths_are_refused_with_both_names(tmp_path: Path) -> None:
    (tmp_path / "days.csv").write_text(month(1))
    hours = "".join(f"2020-02-01 {hour:02}:00,1,1,1,1,5\n" for hour in range(24))
    (tmp_path / "hours.csv").write_text(HEADER + hours)
    with pytest.raises(DataError, match=r"days\.csv has daily bars, .*hours\.csv has hourly bars"):
        read(tmp_path)


def test_the_name_of_an_archive_counts_where_those_of_its_members_say_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.csv: its name is 'XBTEUR\.zip', prices in EUR, not in USD"):
        read(zipped(tmp_path / "XBTEUR.zip", ("data.csv", month(1))))


def test_a_file_is_held_against_the_checksum_beside_it(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.csv", month(1)))
    checksum = tmp_path / "a.zip.CHECKSUM"
    checksum.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  a.zip\n")
    assert len(read(path).frame) == 10
    checksum.write_text(f"{'0' * 64}  a.zip\n")
    with pytest.raises(DataError, match=r"a\.zip does not match the checksum beside it"):
        read(path)


def test_what_inflates_beyond_reason_is_refused_before_it_is_read(tmp_path: Path) -> None:
    bomb = HEADER + "2020-01-01,1,1,1,1,5\n" * 300_000
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(bomb.encode()))
    zipped(tmp_path / "b.zip", ("b.csv", bomb))
    for name in ("b.csv.gz", "b.zip"):
        with pytest.raises(DataError, match=f"{name}.* inflates to more than"):
            read(tmp_path / name)


@pytest.mark.parametrize(("name", "words"), [("inner.zip", "holds the archive"), ("inner.csv", "within an archive")])
def test_archives_within_archives_are_refused(tmp_path: Path, name: str, words: str) -> None:
    inner = zipped(tmp_path / "inner", ("a.csv", month(1))).read_bytes()
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as target:
        target.writestr(name, inner)
    (tmp_path / "outer.gz").write_bytes(gzip.compress(gzip.compress(b"x")))
    with pytest.raises(DataError, match=words):
        read(tmp_path / "outer.zip")
    with pytest.raises(DataError, match="within an archive"):
        read(tmp_path / "outer.gz")


def test_damaged_archives_are_refused_in_one_line(tmp_path: Path) -> None:
    packed = gzip.compress(os.urandom(2_000).hex().encode())
    (tmp_path / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    whole = zipped(tmp_path / "whole.zip", ("a.csv", month(1))).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bad.zip").write_bytes(whole.replace(whole[60:64], b"\0\0\0\0", 1))
    zipped(tmp_path / "none.zip", ("a.pdf", "x"))
    for name in ("cut.csv.gz", "cut.zip", "bad.zip", "none.zip"):
        with pytest.raises(DataError, match=name) as caught:
            read(tmp_path / name)
        assert str(caught.value).isprintable()


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Path]:
    """A path that is no UTF-8, with a line break."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/pr\xe9is\n.csv"))
    try:
        path.write_text(month(1))
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    yield path
    path.unlink()


def test_a_path_that_is_not_utf_8_is_read_and_shown(odd: Path) -> None:
    assert read(odd).notes[0] == r"imported from pr\xe9is\n.csv"
    days = [datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2)]
    odd.write_bytes(parquet.encode(pl.DataFrame({"date": days, "close": [1.0, 2.0]})))
    assert len(read(odd).frame) == 2
    odd.write_text("Date,Close\nx,1\n")
    with pytest.raises(DataError, match="row 2: date is 'x'") as caught:
        read(odd)
    assert str(caught.value).isprintable()


@given(st.text() | st.binary().map(os.fsdecode))
def test_every_path_can_be_printed_on_one_line(name: str) -> None:
    assert printable(name).isprintable()
    assert printable(name).encode("utf-8").decode() == printable(name)


def test_names_in_a_zip_are_printable_too(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z.zip", ("a\x1b[31m.csv", "Date,Close\nx,1\n"))
    assert price_files([path])[0].name.isprintable()
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).isprintable()


def test_members_that_claim_more_bytes_than_their_zip_has_are_damaged(tmp_path: Path) -> None:
    """The bound on a member rests on its compressed size: it cannot be larger than the file."""
    path = zipped(tmp_path / "z.zip", ("a.csv", month(1)))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02") + 20
    content[at : at + 4] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"z\.zip"):
        read(path)
    assert archive.MOST_TIMES == 200
