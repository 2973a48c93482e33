import httpx

from cryptocast.rehearsal import Coin, FakeUpstream, catalogue
from tests.rehearsal.conftest import NOW


def test_coins_can_be_given_and_added(fake: FakeUpstream, client: httpx.Client) -> None:
    mine = Coin(id="mine", symbol="me", name="Mine", price=2.0, daily_volatility=0.03)
    fake.add_coin(mine)
    assert "mine" in client.get("/simple/price?ids=mine&vs_currencies=usd").json()
    with FakeUpstream(now=NOW, coins=[mine]) as small:
        assert [row["id"] for row in httpx.get(f"{small.url}/coins/list").json()] == ["mine"]


def test_there_can_be_many_thousand_coins() -> None:
    coins = catalogue(15_000, int(NOW.timestamp()))
    assert len(coins) > 15_000
    assert next(iter(coins)) == "bitcoin"
    assert {"coin-007", "coin-14999"} <= coins.keys()
