import gzip

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.serving.compression import IDENTITY, MOST_REMEMBERED, compressed, encodings, packed, preferred


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


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"gzip, deflate, br", "br"),
        (b"br;q=1.0, gzip;q=0.8, *;q=0.1", "br"),
        (b"zstd;q=0.5, br;q=0.9", "br"),
        (b"gzip;q=0.9, br;q=0.9", "br"),
        (b"*, zstd;q=0", "br"),
    ],
)
def test_zstd_and_brotli_come_before_gzip_for_clients_that_do_not_say_otherwise(header: bytes, encoding: str) -> None:
    assert preferred(header) == encoding


def test_what_zstd_and_brotli_make_their_own_libraries_read() -> None:
    body = b'{"price":1.25,"coin":"bitcoin"}' * 300
    assert zstandard.ZstdDecompressor().decompress(compressed(body, "zstd")) == body
    assert brotli.decompress(compressed(body, "br")) == body


def test_without_their_packages_there_is_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptocast.serving.compression._module", lambda _: None)
    assert list(encodings.__wrapped__()) == ["gzip"]


def test_small_bodies_are_packed_once_and_large_ones_are_not_held_in_memory() -> None:
    small, large = (bytes(MOST_REMEMBERED), bytes(MOST_REMEMBERED + 1))
    assert packed(small, "gzip") is packed(small, "gzip")
    assert packed(large, "gzip") is not packed(large, "gzip")
    assert gzip.decompress(packed(large, "gzip")) == large
