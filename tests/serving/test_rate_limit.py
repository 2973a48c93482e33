from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.serving.rate_limit import BURST_S, ClientRates, Connections


def test_a_client_may_burst_and_then_waits_for_its_rate() -> None:
    now = [0.0]
    rates = ClientRates(1.0, clock=lambda: now[0])

    assert [rates.wait_s("a") for _ in range(int(BURST_S))] == [0.0] * int(BURST_S)
    assert rates.wait_s("a") == 1.0
    assert rates.wait_s("b") == 0.0
    now[0] += 1.0
    assert rates.wait_s("a") == 0.0
    assert rates.wait_s("a") > 0.0


def test_a_rate_of_zero_is_no_limit_and_keeps_nothing() -> None:
    rates = ClientRates(0.0)

    assert {rates.wait_s(str(number)) for number in range(1000)} == {0.0}
    assert len(rates) == 0


def test_many_strangers_do_not_fill_the_memory() -> None:
    rates = ClientRates(1.0, max_clients=100)
    for number in range(1000):
        rates.wait_s(str(number))
    assert len(rates) == 100


@settings(max_examples=30)
@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200), st.floats(0.5, 50.0))
def test_no_span_sees_more_than_the_burst_and_the_rate(gaps: list[float], rate: float) -> None:
    now = [0.0]
    rates = ClientRates(rate, clock=lambda: now[0])
    allowed = 0
    for gap in gaps:
        now[0] += gap
        allowed += rates.wait_s("a") == 0.0
    assert allowed <= max(1.0, rate * BURST_S) + rate * sum(gaps) + 1e-6


@given(st.integers(0, 3), st.lists(st.tuples(st.booleans(), st.sampled_from("ab")), max_size=40))
def test_an_address_has_at_most_so_many_and_all_come_back(most: int, steps: list[tuple[bool, str]]) -> None:
    refused: list[None] = []
    connections = Connections(most, lambda: refused.append(None))
    open_: list[str] = []
    expected = 0
    for comes, address in steps:
        if comes:
            open_.append(address)
            may_stay = connections.came(address)
            assert may_stay == (most == 0 or open_.count(address) <= most)
            expected += not may_stay
        elif address in open_:
            open_.remove(address)
            connections.went(address)
    assert len(refused) == expected
    for address in open_:
        connections.went(address)
    assert not connections.open
