from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.errors import RegistryError
from cryptocast.registry import AbEvent, Registry, side_of
from tests.registry.registry_fits import BITCOIN, NOW, register

TEST = "0123456789abcdef"


def event(**changes: Any) -> AbEvent:
    made = AbEvent(
        test=TEST,
        event="start",
        coin="bitcoin",
        source="sample",
        vs="usd",
        granularity="daily",
        kind="lightgbm",
        production=1,
        challenger=2,
        share=0.2,
        at=NOW,
        who="ada",
    )
    return msgspec.structs.replace(made, **changes)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry.open(tmp_path)
    for label in "123":
        register(made, label)
    return made


def test_clients_are_split_as_asked_for_and_each_stays_on_its_side() -> None:
    clients = [f"client {i}" for i in range(20_000)]
    sides = [side_of(TEST, 0.2, client) for client in clients]
    assert sides == [side_of(TEST, 0.2, client) for client in clients]
    assert 0.19 < sides.count("challenger") / len(sides) < 0.21


def test_another_test_splits_otherwise() -> None:
    clients = [f"client {i}" for i in range(5000)]
    one, other = ([side_of(test, 0.5, client) for client in clients] for test in (TEST, TEST[::-1]))
    agree = sum(a == b for a, b in zip(one, other, strict=True)) / len(clients)
    assert 0.47 < agree < 0.53


@given(st.text(max_size=50), st.floats(0.01, 0.98), st.floats(0.0, 1.0))
def test_a_larger_share_never_takes_a_client_from_the_challenger(client: str, share: float, part: float) -> None:
    larger = share + part * (0.99 - share)
    assert side_of(TEST, share, client) == "production" or side_of(TEST, larger, client) == "challenger"


def test_a_test_runs_once_and_ends_once(registry: Registry) -> None:
    registry.start_ab(event())
    with pytest.raises(RegistryError, match="is running since 2025-06-01"):
        registry.start_ab(event(test="f" * 16))
    registry.end_ab(event(event="stop", at=NOW + timedelta(days=1)))
    with pytest.raises(RegistryError, match="has ended already"):
        registry.end_ab(event(event="conclude"))
    registry.start_ab(event(test="f" * 16))
    ended, running = registry.ab_tests(BITCOIN)
    assert ended.end is not None
    assert ended.end.event == "stop"
    assert (running.start.test, running.end) == ("f" * 16, None)
    assert registry.verify() == ()
