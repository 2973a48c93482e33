"""Whole answers as finished bytes, by path, query string and encoding: a repeated question is a look-up."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final, TypeAlias

from cryptocast.serving.compression import IDENTITY, MIN_BYTES, Encoding, compressed
from cryptocast.serving.responses import raw_headers
from cryptocast.serving.terms import Term

log = logging.getLogger(__name__)

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

MAX_ENTRIES: Final = 1024
# Room for sixteen of the largest, which are sample paths: to draw one takes a worker longer than to put together again
# the forecasts that had to make room for it.
MAX_BYTES: Final = 32 * 1024 * 1024
JSON: Final = raw_headers("application/json")
CACHE_CONTROL: Final = b"cache-control"
MAX_AGE_S: Final = 60  # a promotion may change the answer before the bar does


@dataclass(frozen=True, slots=True)
class EncodedResponse:
    """One answer in one encoding. `headers` are all but those that change with the time or the request. state: of the
    server before the answer was made; it holds in that state only. may_rest: a client may use it for a while without
    asking again."""

    body: bytes
    etag: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    made_at: datetime
    term: Term
    state: Hashable
    may_rest: bool = True

    def matches(self, if_none_match: bytes) -> bool:
        """Whether the client has this answer already (RFC 9110, 13.1.2: weak comparison)."""
        if if_none_match.strip() == b"*":
            return True
        return self.etag in (tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b","))


@dataclass(frozen=True, slots=True)
class PackedBody:
    """A body in an encoding, with its tag."""

    content: bytes
    encoding: Encoding
    etag: bytes


def packed_body(body: bytes, encoding: Encoding) -> PackedBody:
    """The body as a client takes it; as it is where that saves nothing. Of megabytes this takes tens of ms."""
    encoding_used = IDENTITY if len(body) < MIN_BYTES else encoding
    content = compressed(body, encoding_used)
    return PackedBody(content, encoding_used, b'"%s"' % sha256(content).hexdigest()[:20].encode())


class ResponseCache:
    """Bounded by entries and bytes; what was not asked for longest goes first."""

    def __init__(
        self,
        wall_clock: Callable[[], datetime],
        clock: Callable[[], float],
        *,
        state: Callable[[], Hashable],
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._wall_clock, self._state, self._clock = wall_clock, state, clock
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._answers: OrderedDict[tuple[bytes, Encoding], EncodedResponse] = OrderedDict()
        self.bytes = 0
        self.hits = self.misses = self.evicted = 0

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, question: bytes, encoding: Encoding) -> EncodedResponse | None:
        """The answer if it still holds."""
        answer = self._answers.get((question, encoding))
        if answer is None:
            self.misses += 1
            return None
        now = self._wall_clock()
        if answer.term.is_ahead(now):
            log.warning(
                "an answer made at %s is from the future, the clock shows %s: it is dropped", answer.made_at, now
            )
        if not answer.term.holds(now, self._clock()) or answer.state != self._state():
            self._drop((question, encoding))
            self.misses += 1
            return None
        self._answers.move_to_end((question, encoding))
        self.hits += 1
        return answer

    def to_send(self, answer: EncodedResponse, if_none_match: bytes | None) -> tuple[int, RawHeaders, bytes]:
        """Status, headers and body: 304 where the client has the answer already. Age, and a Cache-Control that ends
        with the term, are those of now."""
        now = self._wall_clock()
        left = min(MAX_AGE_S, int(answer.term.left_s(now, self._clock())))
        age = max(0, int((now - answer.made_at).total_seconds()))
        headers = [*answer.headers, (b"age", b"%d" % age)]
        if answer.may_rest:
            headers.append((CACHE_CONTROL, b"private, max-age=%d, must-revalidate" % left))
        if if_none_match is None or not answer.matches(if_none_match):
            return 200, headers, answer.body
        return 304, [header for header in headers if header[0] not in (b"content-length", b"content-type")], b""

    def finish(
        self,
        question: bytes,
        encoding: Encoding,
        body: PackedBody,
        *,
        term: Term,
        state: Hashable,
        keep: bool,
        headers: Sequence[tuple[bytes, bytes]] = JSON,
    ) -> EncodedResponse:
        """The answer, kept if it may be. encoding: that was asked for. headers: of its type; with a Cache-Control if it
        has its own."""
        size = b"%d" % len(body.content)
        own = [(b"content-length", size), (b"etag", body.etag), (b"vary", b"accept-encoding")]
        if body.encoding != IDENTITY:
            own.append((b"content-encoding", body.encoding.encode()))
        may_rest = not any(name == CACHE_CONTROL for name, _ in headers)
        answer = EncodedResponse(body.content, body.etag, (*headers, *own), self._wall_clock(), term, state, may_rest)
        if keep:
            self._keep((question, encoding), answer)
        return answer

    def _keep(self, key: tuple[bytes, Encoding], answer: EncodedResponse) -> None:
        self._drop(key)
        self._answers[key] = answer
        self.bytes += _size(key, answer)
        while self._answers and (len(self._answers) > self._max_entries or self.bytes > self._max_bytes):
            self._drop(next(iter(self._answers)))
            self.evicted += 1

    def _drop(self, key: tuple[bytes, Encoding]) -> None:
        old = self._answers.pop(key, None)
        if old is not None:
            self.bytes -= _size(key, old)


def _size(key: tuple[bytes, Encoding], answer: EncodedResponse) -> int:
    return len(key[0]) + len(answer.body) + 1024  # the headers and what holds them
