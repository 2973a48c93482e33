"""A/B tests: which side answers which client, and what was started and ended, append-only."""

import hashlib
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from cryptocast.errors import RegistryError
from cryptocast.evaluation.records import Record
from cryptocast.registry.append_only import Journal
from cryptocast.registry.database import Connection
from cryptocast.registry.manifest import Text
from cryptocast.registry.tables import KEY_IS, key_values
from cryptocast.registry.version import KeyedRecord, VersionKey
from cryptocast.times import Moment

Side: TypeAlias = Literal["production", "challenger"]
Number: TypeAlias = Annotated[int, Meta(ge=1)]


class AbEvent(KeyedRecord, frozen=True, kw_only=True):
    """A test began or ended. share: of the clients that the challenger answers."""

    schema: Literal["cryptocast.ab/1"] = "cryptocast.ab/1"
    test: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
    event: Literal["start", "stop", "conclude"]
    production: Number
    challenger: Number
    share: Annotated[float, Meta(gt=0.0, lt=1.0)]
    at: Moment
    who: Annotated[str, Meta(max_length=200)]
    why: Text = ""


class AbTest(Record, frozen=True, kw_only=True):
    """One test: how it began, and how it ended; None: it is running."""

    start: AbEvent
    end: AbEvent | None


def _columns(event: AbEvent) -> dict[str, object]:
    # Only "start" and "end", so that a test ends once.
    return {**event.columns, "test": event.test, "event": "start" if event.event == "start" else "end"}


AB_EVENTS: Final = Journal("ab_tests", AbEvent, _columns, ("test", "event"), "at")


def side_of(test: str, share: float, client: str) -> Side:
    """Which side answers a client: the same for as long as the test runs, on every server, and unlike in other tests.

    client: any text that stays with the client. Uniform by sha256 over the test's id and the client.
    """
    digest = hashlib.sha256(f"{test}\n{client}".encode()).digest()
    return "challenger" if int.from_bytes(digest[:8], "big") < share * 2.0**64 else "production"


def all_tests(connection: Connection, key: VersionKey | None = None) -> list[AbTest]:
    """The tests of a key, or all of them, oldest first."""
    where, values = ("1", ()) if key is None else (KEY_IS, key_values(key))
    events = AB_EVENTS.read(connection, f"{where} ORDER BY v.id", values)
    ends = {event.test: event for event in events if event.event != "start"}
    return [AbTest(start=event, end=ends.get(event.test)) for event in events if event.event == "start"]


def start_test(connection: Connection, event: AbEvent) -> None:
    """Begin a test. RegistryError if one of the same key is running."""
    running = next((test for test in all_tests(connection, event.key) if test.end is None), None)
    if running is not None:
        raise RegistryError(
            f"An A/B test of {event.key} is running since {running.start.at:%Y-%m-%d %H:%M} (versions "
            f"{running.start.production} and {running.start.challenger}). End it: cryptocast registry ab stop "
            f"{event.coin} {event.kind}."
        )
    AB_EVENTS.append(connection, [event])


def end_test(connection: Connection, event: AbEvent) -> None:
    """End a test that is running. RegistryError if it has ended."""
    running = [test for test in all_tests(connection, event.key) if test.end is None and test.start.test == event.test]
    if not running:
        raise RegistryError(f"The A/B test {event.test} of {event.key} has ended already.")
    AB_EVENTS.append(connection, [event])
