import httpx

from cryptocast.rehearsal import FakeUpstream
from tests.rehearsal.conftest import NOW


def test_calls_are_counted_by_endpoint_coin_and_status(fake: FakeUpstream, client: httpx.Client) -> None:
    client.get("/simple/price", params={"ids": "bitcoin,ethereum", "vs_currencies": "usd"})
    client.get("/coins/bitcoin/market_chart", params={"vs_currency": "usd", "days": "7"})
    client.get("/coins/nope/market_chart")
    assert fake.calls.total == 3
    assert fake.calls.count("price") == 1
    assert fake.calls.count(coin="bitcoin") == 2
    assert fake.calls.count("market_chart", coin="ethereum") == 0
    assert fake.calls.count(status=404) == 1
    first = fake.calls.log[0]
    assert first.ids == ("bitcoin", "ethereum")
    assert first.params["vs_currencies"] == "usd"
    assert first.clock_s == NOW.timestamp()
    fake.reset()
    assert fake.calls.total == 0
