import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.serving.compression import IDENTITY, compressed, encodings, preferred


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (b"", IDENTITY),
        (b"gzip", "gzip"),
        (b"gzip, deflate", "gzip"),
        (b"x-gzip", "gzip"),
        (b"GZIP;q=0.5", "gzip"),
        (b"gzip;q=0", IDENTITY),
        (b"gzip;q=0.2, identity", IDENTITY),
        (b"deflate", IDENTITY),
        (b"gzip;q=nonsense", IDENTITY),
        (b"a" * 10_000, IDENTITY),
    ],
)
def test_the_encoding_is_what_the_client_prefers(header: bytes, encoding: str) -> None:
    assert preferred(header) == encoding


def test_among_equals_the_best_of_ours_is_taken() -> None:
    best = next(iter(encodings()))
    assert preferred(b"gzip, br, zstd") == best
    assert preferred(b"*") == best


@given(st.binary(max_size=300))
def test_no_header_is_an_error(header: bytes) -> None:
    assert preferred(header) in (IDENTITY, *encodings())


def test_the_bytes_come_back() -> None:
    body = b'{"price":1}' * 100
    assert gzip.decompress(compressed(body, "gzip")) == body
    assert compressed(body, IDENTITY) == body
    assert compressed(body, "gzip") == compressed(body, "gzip")
    for name in encodings():
        assert len(compressed(body, name)) < len(body)
