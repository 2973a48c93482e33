from typing import Any

import pytest

from cryptocast.registry import AbEvent, AbTest
from cryptocast.serving.ab_routing import Sides, client_of
from tests.registry.registry_fits import NOW


def scope(address: str = "10.0.0.1", headers: dict[bytes, bytes] | None = None, query: bytes = b"ids=bitcoin") -> Any:
    named = list((headers or {}).items())
    return {"headers": named, "client": (address, 5000), "path": "/forecasts", "query_string": query}


def running(
    coin: str = "bitcoin", share: float = 0.3, test: str = "0123456789abcdef", *, ended: bool = False
) -> AbTest:
    start = AbEvent(
        test=test,
        event="start",
        coin=coin,
        source="coingecko",
        vs="usd",
        granularity="daily",
        kind="lightgbm",
        production=1,
        challenger=2,
        share=share,
        at=NOW,
        who="ada",
    )
    end = AbEvent(**{**{name: getattr(start, name) for name in start.__struct_fields__}, "event": "stop"})
    return AbTest(start=start, end=end if ended else None)


def test_while_no_test_runs_everybody_asks_the_same() -> None:
    sides = Sides()
    assert sides.challenged(scope()) == {}
    assert sides.question(scope()) == b"/forecasts#ids=bitcoin"
    sides.follow([running(ended=True)])
    assert sides.challenged(scope()) == {}


def test_a_client_keeps_its_side_and_the_share_is_held() -> None:
    sides = Sides()
    sides.follow([running(share=0.3)])
    clients = [scope(headers={b"x-client-id": f"client-{i}".encode()}) for i in range(4000)]
    first = [sides.challenged(client) for client in clients]

    assert [sides.challenged(client) for client in clients] == first
    share = sum(1 for one in first if one == {"bitcoin": frozenset({"0123456789abcdef"})}) / len(first)
    assert share == pytest.approx(0.3, abs=0.03)
    other = Sides()  # another process, or this one after a restart
    other.follow([running(share=0.3)])
    assert [other.challenged(client) for client in clients] == first


def test_answers_of_the_sides_are_told_apart_and_those_of_one_side_are_not() -> None:
    sides = Sides()
    sides.follow([running(share=0.5), running("ethereum", 0.5, "f" * 16)])
    asked = {sides.question(scope(f"10.0.0.{i}")) for i in range(200)}

    assert len(asked) == 4  # two tests, two sides each
    assert all(question.startswith(b"/forecasts#ids=bitcoin#") for question in asked)


def test_the_tests_of_other_coins_move_nothing_of_a_coin() -> None:
    sides = Sides()
    sides.follow([running("ethereum", 0.99)])
    assert set(sides.challenged(scope())) <= {"ethereum"}


@pytest.mark.parametrize("bad", [b"", b"a" * 65, b"two words", "ä".encode(), b"a\nb"])
def test_an_id_that_is_none_leaves_the_address(bad: bytes) -> None:
    assert client_of(scope("10.0.0.9", {b"x-client-id": bad})) == "address 10.0.0.9"
    assert client_of(scope("10.0.0.9", {b"x-client-id": b"ann:1"})) == "id ann:1"
    assert client_of({"headers": [], "client": None}) == "address "
