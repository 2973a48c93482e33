"""Whole answers as finished bytes, by query string and encoding: a repeated question is a look-up."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from cryptocast.serving.compression import IDENTITY, MIN_BYTES, Encoding, compressed
from cryptocast.serving.responses import raw_headers
from cryptocast.serving.terms import Term

__all__ = ["Finished", "FinishedAnswers"]

log = logging.getLogger(__name__)

MAX_ENTRIES: Final = 1024
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_AGE_S: Final = 60  # a promotion may change the answer before the bar does


@dataclass(frozen=True, slots=True)
class Finished:
    """One answer in one encoding. `headers` are all but those that change with the time or the request."""

    body: bytes
    etag: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    made_at: datetime
    term: Term
    stamp: Hashable

    def age_headers(self, now: datetime, monotonic: float) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
        """Age, and a Cache-Control that ends with the term."""
        left = min(MAX_AGE_S, int(self.term.left_s(now, monotonic)))
        age = max(0, int((now - self.made_at).total_seconds()))
        return (b"age", b"%d" % age), (b"cache-control", b"private, max-age=%d, must-revalidate" % left)

    def matches(self, if_none_match: bytes) -> bool:
        """Whether the client has this answer already (RFC 9110, 13.1.2: weak comparison)."""
        if if_none_match.strip() == b"*":
            return True
        return self.etag in (tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b","))


class FinishedAnswers:
    """Bounded by entries and bytes; what was not asked for longest goes first."""

    def __init__(
        self,
        *,
        wall_clock: Callable[[], datetime],
        stamp: Callable[[], Hashable],
        clock: Callable[[], float] = time.monotonic,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._wall_clock, self._stamp, self._clock = wall_clock, stamp, clock
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._kept: OrderedDict[tuple[bytes, Encoding], Finished] = OrderedDict()
        self.bytes = 0
        self.generation = 0  # what was begun in an earlier one may rest on what `clear` told of
        self.hits = self.misses = self.evicted = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, query: bytes, encoding: Encoding) -> Finished | None:
        """The answer if it still holds."""
        found = self._kept.get((query, encoding))
        if found is None:
            self.misses += 1
            return None
        now = self._wall_clock()
        if found.term.is_ahead(now):
            log.warning(
                "an answer made at %s is from the future, the clock shows %s: it is dropped", found.made_at, now
            )
        if not found.term.holds(now, self._clock()) or found.stamp != self._stamp():
            self._drop((query, encoding))
            self.misses += 1
            return None
        self._kept.move_to_end((query, encoding))
        self.hits += 1
        return found

    def age_headers(self, answer: Finished) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
        """The headers of an answer that change with the time."""
        return answer.age_headers(self._wall_clock(), self._clock())

    def finish(
        self, query: bytes, encoding: Encoding, body: bytes, *, term: Term, stamp: Hashable, keep: bool
    ) -> Finished:
        """The body made ready, and kept if it may be."""
        encoding_used = IDENTITY if len(body) < MIN_BYTES else encoding
        bytes_ = compressed(body, encoding_used)
        etag = b'"%s"' % sha256(bytes_).hexdigest()[:20].encode()
        headers = [*raw_headers("application/json"), (b"content-length", b"%d" % len(bytes_)), (b"etag", etag)]
        headers.append((b"vary", b"accept-encoding"))
        if encoding_used != IDENTITY:
            headers.append((b"content-encoding", encoding_used.encode()))
        made = Finished(bytes_, etag, tuple(headers), self._wall_clock(), term, stamp)
        if keep:
            self._keep((query, encoding), made)
        return made

    def clear(self) -> None:
        """Forget all: something that no stamp tells of has changed, such as bars that came."""
        self._kept.clear()
        self.bytes = 0
        self.generation += 1

    def _keep(self, key: tuple[bytes, Encoding], made: Finished) -> None:
        self._drop(key)
        self._kept[key] = made
        self.bytes += _size(key, made)
        while self._kept and (len(self._kept) > self._max_entries or self.bytes > self._max_bytes):
            self._drop(next(iter(self._kept)))
            self.evicted += 1

    def _drop(self, key: tuple[bytes, Encoding]) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self.bytes -= _size(key, old)


def _size(key: tuple[bytes, Encoding], made: Finished) -> int:
    return len(key[0]) + len(made.body) + 1024  # the headers and what holds them
