"""Which encoding a client prefers, and bytes in it: made once for each answer, never for each request."""

import gzip
import importlib
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

Encoding: TypeAlias = str
IDENTITY: Final = "identity"
MIN_BYTES: Final = 500  # below, the headers weigh more than what is saved
MOST_REMEMBERED: Final = 256 * 1024  # bytes of a body
GZIP_LEVEL: Final = 6
ZSTD_LEVEL: Final = 9
MAX_HEADER: Final = 256  # of Accept-Encoding; no honest client sends more


@cache
def encodings() -> Mapping[Encoding, Callable[[bytes], bytes]]:
    """The encodings that this installation can make, the best first: zstd and brotli where they are installed (the
    extra `compress`; zstd is in the standard library from Python 3.14 on)."""
    encoders: dict[Encoding, Callable[[bytes], bytes]] = {}
    zstd, zstandard, brotli = _module("compression.zstd"), _module("zstandard"), _module("brotli")
    if zstd is not None:
        encoders["zstd"] = lambda body: bytes(zstd.compress(body, level=ZSTD_LEVEL))
    elif zstandard is not None:
        encoders["zstd"] = lambda body: bytes(zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(body))
    if brotli is not None:
        encoders["br"] = lambda body: bytes(brotli.compress(body, quality=6))
    encoders["gzip"] = lambda body: gzip.compress(body, GZIP_LEVEL, mtime=0)
    return encoders


def compressed(body: bytes, encoding: Encoding) -> bytes:
    """The body in the encoding."""
    return body if encoding == IDENTITY else encodings()[encoding](body)


def packed(body: bytes, encoding: Encoding) -> bytes:
    """`compressed`, for bodies that are asked for again before they change; large ones would fill the memory."""
    return _remembered(body, encoding) if len(body) <= MOST_REMEMBERED else compressed(body, encoding)


_remembered = lru_cache(maxsize=32)(compressed)


@lru_cache(maxsize=256)
def preferred(accepted: bytes) -> Encoding:
    """The encoding for an Accept-Encoding header: the highest q, then the best of ours; identity if none fits."""
    if not accepted or len(accepted) > MAX_HEADER:
        return IDENTITY
    weights = dict(_weights(accepted.decode("latin-1").lower()))
    others = weights.get("*", 0.0)
    offered = {name: weights.get(name, others) for name in encodings()}
    best = max(offered, key=lambda name: offered[name])  # the first of equals
    return best if offered[best] > 0.0 and offered[best] >= weights.get(IDENTITY, 0.0) else IDENTITY


def _weights(header: str) -> list[tuple[str, float]]:
    weights = []
    for part in header.split(","):
        name, _, rest = part.strip().partition(";")
        weights.append((name.strip().replace("x-gzip", "gzip"), _quality(rest)))
    return weights


def _quality(text: str) -> float:
    name, _, value = text.replace(" ", "").partition("=")
    if name != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
