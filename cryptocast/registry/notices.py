"""What somebody should be told, once: an outbox of notices, and the conditions that they are about.

A condition (a version is degraded) is told when it begins and not again until it has ended; a happening (a promotion)
is told each time. Whoever sends takes a notice for a while, so that several processes send it once, and says afterwards
that it went. One that was taken and not sent, because its sender was killed or nobody answered, is due again later.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from cryptocast.errors import RegistryError
from cryptocast.evaluation.records import Record
from cryptocast.registry.database import Connection, Row
from cryptocast.registry.manifest import canonical_json, decode, sha256_hex
from cryptocast.registry.tables import matching, time_text
from cryptocast.times import Moment

log = logging.getLogger(__name__)

PAUSE: Final = timedelta(minutes=1)  # after the first try; twice as long after each, to PAUSE_MOST
PAUSE_MOST: Final = timedelta(hours=1)
KEEP: Final = timedelta(days=30)  # what is over and done with
KEEP_UNSENT: Final = 2 * KEEP  # beyond the longest that the settings let one wait
ID_DIGITS: Final = 32


class NoticeCode(StrEnum):
    """What there is to tell."""

    PROMOTED = "promoted"  # another version is in production, by whatever way
    REFUSED = "refused"  # the gate said no to a version
    DEGRADED = "degraded"  # a version in production does worse live than it should
    STALE = "stale"  # the candles of a coin are late
    UNUSUAL_WIDTH = "unusual_width"  # the interval of the shortest horizon is wider or narrower than it was
    FALLBACK = "fallback"  # another model answers, and has for a while
    TEST = "test"  # somebody tries the address


class Notice(Record, frozen=True, kw_only=True):
    """One notice. id: the same however often it is sent. facts: as JSON has them; shares, not percent."""

    schema: Literal["cryptocast.notice/1"] = "cryptocast.notice/1"
    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    code: NoticeCode
    at: Moment
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """What was found about a subject. facts: None where the condition does not hold, or has ended.

    phase: a condition that goes on in another phase is told again, such as the refusal of another version.
    """

    code: NoticeCode
    subject: str
    facts: Mapping[str, Any] | None
    phase: str = ""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A notice in the outbox, by the number of its row. state: waiting, sent, or given up because it grew too old."""

    number: int
    notice: Notice
    tries: int
    state: Literal["waiting", "sent", "dropped"]


def new_notice(code: NoticeCode, subject: str, facts: Mapping[str, Any], now: datetime) -> Notice:
    """Its id follows from what it is about and when."""
    identity = sha256_hex(canonical_json([code, subject, time_text(now)]))[:ID_DIGITS]
    return Notice(id=identity, code=code, at=now, facts=facts)


def tell(connection: Connection, code: NoticeCode, subject: str, facts: Mapping[str, Any], now: datetime) -> None:
    """A happening."""
    if _has_room(connection):
        _insert(connection, new_notice(code, subject, facts, now), subject, "", lasts=False)


def changed(connection: Connection, conditions: Sequence[Condition]) -> list[Condition]:
    """Those that stand otherwise than was told."""
    rows = connection.execute("SELECT code, subject, phase FROM notices WHERE lasts = 1").fetchall()
    standing = {(row["code"], row["subject"]): row["phase"] for row in rows}
    return [
        one for one in conditions if standing.get((one.code, one.subject)) != (None if one.facts is None else one.phase)
    ]


def observe(connection: Connection, conditions: Sequence[Condition], now: datetime) -> int:
    """Tell of the conditions that have begun, and note those that have ended. Returns how many are new."""
    new = changed(connection, conditions) if _has_room(connection) else []
    for one in new:
        connection.execute(
            "UPDATE notices SET lasts = 0 WHERE lasts = 1 AND code = ? AND subject = ?", (one.code, one.subject)
        )
        if one.facts is not None:
            _insert(connection, new_notice(one.code, one.subject, one.facts, now), one.subject, one.phase, lasts=True)
    return sum(one.facts is not None for one in new)


def _has_room(connection: Connection) -> bool:
    """A database that is held at an older schema has none."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'notices'").fetchone() is not None


def _insert(connection: Connection, notice: Notice, subject: str, phase: str, *, lasts: bool) -> None:
    # Nobody may ever take one: where there is no receiver, this alone forgets.
    connection.execute("DELETE FROM notices WHERE lasts = 0 AND at < ?", (time_text(notice.at - KEEP_UNSENT),))
    record = canonical_json(notice)
    at = time_text(notice.at)
    connection.execute(
        "INSERT INTO notices (code, subject, phase, at, lasts, due_at, record, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (notice.code, subject, phase, at, lasts, at, record, sha256_hex(record)),
    )


def has_due(connection: Connection, now: datetime) -> bool:
    """Whether there is anything to send, or to give up."""
    first = connection.execute("SELECT 1 FROM notices WHERE due_at <= ? LIMIT 1", (time_text(now),)).fetchone()
    return first is not None


def take(connection: Connection, now: datetime, *, most: int, max_age: timedelta) -> list[OutboxEntry]:
    """The oldest notices that are due, which nobody else gets until their pause is over. Gives up what is older than
    `max_age`, and forgets what is long over."""
    connection.execute(
        "UPDATE notices SET due_at = NULL, state = 'dropped' WHERE state = 'waiting' AND at < ?",
        (time_text(now - max_age),),
    )
    connection.execute(
        "DELETE FROM notices WHERE state != 'waiting' AND lasts = 0 AND at < ?", (time_text(now - max(KEEP, max_age)),)
    )
    rows = connection.execute(
        "SELECT * FROM notices WHERE due_at <= ? ORDER BY id LIMIT ?", (time_text(now), most)
    ).fetchall()
    return [entry for row in rows if (entry := _taken(connection, row, now)) is not None]


def _taken(connection: Connection, row: Row, now: datetime) -> OutboxEntry | None:
    """None: it is damaged, and must not keep the others from being sent."""
    try:
        entry = _entry(row)
    except RegistryError as error:
        log.warning("a notice is not sent: %s", error)
        connection.execute("UPDATE notices SET due_at = NULL, state = 'dropped' WHERE id = ?", (row["id"],))
        return None
    due = now + min(PAUSE * 2 ** min(entry.tries, 20), PAUSE_MOST)
    connection.execute("UPDATE notices SET due_at = ?, tries = tries + 1 WHERE id = ?", (time_text(due), entry.number))
    return entry


def mark_sent(connection: Connection, numbers: Sequence[int]) -> None:
    """They went."""
    connection.executemany(
        "UPDATE notices SET due_at = NULL, state = 'sent' WHERE id = ?", [(number,) for number in numbers]
    )


def read_outbox(connection: Connection) -> list[OutboxEntry]:
    """Every notice that is kept, oldest first."""
    return [_entry(row) for row in connection.execute("SELECT * FROM notices ORDER BY id").fetchall()]


def notice_faults(connection: Connection) -> Iterator[tuple[str, str]]:
    """Where a notice is not what was written."""
    for row in connection.execute("SELECT * FROM notices").fetchall():
        try:
            _entry(row)
        except RegistryError as error:
            yield f"row {row['id']} of the notices", str(error)


def _entry(row: Row) -> OutboxEntry:
    where = f"Row {row['id']} of the notices"
    notice = decode(matching(row["record"], row["digest"], where), Notice, where)
    return OutboxEntry(row["id"], notice, row["tries"], row["state"])
