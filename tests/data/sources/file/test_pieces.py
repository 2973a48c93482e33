from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.data.sources.file.archive import PriceFile, PriceStream
from cryptocast.data.sources.file.pieces import open_table
from cryptocast.errors import DataError

FILE = PriceFile("f.csv", "f.csv", Path("f.csv"))


def stream(content: bytes) -> PriceStream:
    return PriceStream(BytesIO(content), None, "f.csv")


BARS = [f"{1577836800 + 60 * minute},{100 + minute % 7},{minute % 3}" for minute in range(500)]


def rows(text: str, piece: int = 1 << 20) -> pl.DataFrame:
    """All rows, however many pieces they come in."""
    pieces = list(open_table(FILE, stream(text.encode()), piece=piece).pieces)
    assert all(len(frame) for frame in pieces)
    return pl.concat(pieces)


@settings(deadline=None, max_examples=30)
@given(st.integers(30, 3_000), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_the_size_of_the_pieces_makes_no_difference(piece: int, end: str, json: bool) -> None:
    text = end.join(["time,close,volume", *BARS, ""])
    if json:
        bars = [f"{line},1,1,1" for line in BARS]
        text = f"[[{f'],{end} ['.join(bars)}]]"
    found = rows(text, piece)
    assert found.equals(rows(text))
    assert found["row"].to_list() == list(range(1 if json else 2, 502 - json))
    assert found["1"].to_list() == [line.split(",")[1] for line in BARS]


def test_blank_lines_count_but_are_no_rows() -> None:
    found = rows("\n\ntime,close\n\n1577836800,5\n   \n\n1577836860,6\n\n")
    assert found["row"].to_list() == [5, 8]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n1\n1,2,3\n", "row 3: 1 columns instead of 2"),  # their sum is right
        ("a,b\n1,2,3\n1\n", "row 2: 3 columns instead of 2"),
        ('a,b\n"1",2\n"1,2"\n', "row 3: 1 columns instead of 2"),
        ('a,b\n1,2\n"1,2\n3",4\n', "row 3: "),
        ("a,b\n" + "x" * 3_000, "no end of line within 2,000 bytes"),
        ('{"a": 1}', "is JSON, but no list of bars"),
        ('[{"time": 1}]', "is JSON, but no list of bars"),
        ("[[1577836800,1,1,1,1,1],[15778", "row 2: 1 columns instead of 6"),
        ("[[]]", "is empty"),
        ("\ufeff", "is empty"),
    ],
)
def test_what_is_no_table_is_refused_with_the_row(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        rows(text, piece=2_000)


def test_a_byte_that_is_no_utf_8_is_refused_with_its_place() -> None:
    with pytest.raises(DataError, match=r"neither Parquet nor a CSV file in UTF-8 \(byte 4\)"):
        open_table(FILE, stream(b"a,b\n\xff,1\n"))
