"""Which side of an A/B test answers whom: a stable hash of who asks, the same on every server of a store."""

import re
from collections.abc import Iterable
from typing import Final

from starlette.types import Scope

from cryptocast.registry import AbEvent, AbTest, side_of

CLIENT_ID: Final = b"x-client-id"
GIVEN: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


class Sides:
    """The running tests. Whoever asks is known by the header X-Client-Id, else by the address."""

    def __init__(self) -> None:
        self._running: tuple[AbEvent, ...] = ()

    def follow(self, tests: Iterable[AbTest]) -> None:
        """From now on these tests, of which those that have ended are left out."""
        self._running = tuple(test.start for test in tests if test.end is None)

    def challenged(self, scope: Scope) -> dict[str, frozenset[str]]:
        """The tests in which the challenger answers this request, by coin."""
        if not self._running:  # as nearly always, and then it costs nothing
            return {}
        client, tests = client_of(scope), dict[str, frozenset[str]]()
        for start in self._running:
            if side_of(start.test, start.share, client) == "challenger":
                tests[start.coin] = tests.get(start.coin, frozenset()) | {start.test}
        return tests

    def question(self, scope: Scope) -> bytes:
        """The path and the query string, told apart from the same ones of a client on other sides."""
        question: bytes = scope["path"].encode() + b"#" + scope["query_string"]
        if not self._running:
            return question
        tests = sorted(test for tests in self.challenged(scope).values() for test in tests)
        return question + b"#" + ",".join(tests).encode()  # neither a path nor a query string holds this sign


def client_of(scope: Scope) -> str:
    """Text that stays with whoever asks."""
    name = next((value for header, value in scope["headers"] if header == CLIENT_ID), None)
    if name is not None and GIVEN.fullmatch(name):
        return f"id {name.decode()}"
    client = scope.get("client")
    return f"address {client[0] if client else ''}"
