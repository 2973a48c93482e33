"""One stand-in for the tests that only read from it, and a client of it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from cryptocast.rehearsal import FakeUpstream

NOW = datetime(2026, 1, 2, 15, 1, 30, tzinfo=UTC)


@pytest.fixture(scope="session")
def shared() -> Iterator[FakeUpstream]:
    """A stand-in at a fixed moment that nobody changes."""
    with FakeUpstream(now=NOW, coins=150) as fake:
        yield fake


@pytest.fixture(scope="session")
def api(shared: FakeUpstream) -> Iterator[httpx.Client]:
    """A client of it; its base address ends in /api/v3."""
    with httpx.Client(base_url=shared.url, timeout=10) as client:
        yield client


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    """A stand-in of one's own, to be changed."""
    with FakeUpstream(now=NOW, coins=5) as fake:
        yield fake


@pytest.fixture
def client(fake: FakeUpstream) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(base_url=fake.url, timeout=10) as client:
        yield client
