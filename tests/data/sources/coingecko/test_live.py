"""Live prices for many callers at once, against the stand-in on a real socket."""

import asyncio
from collections.abc import Awaitable, Callable

from cryptocast.config import CoinGeckoConfig
from cryptocast.data.sources.coingecko.client import CoinGecko
from cryptocast.data.sources.coingecko.simple_price import Quote
from cryptocast.errors import CryptocastError, DataError
from cryptocast.net import Batcher
from cryptocast.rehearsal import FakeUpstream


def asked(fake: FakeUpstream, work: Callable[[Batcher[str, Quote]], Awaitable[None]]) -> None:
    async def main() -> None:
        upstream = CoinGecko(CoinGeckoConfig(base_url=fake.url, calls_per_minute=6_000))
        try:
            await work(upstream.live())
        finally:
            await upstream.aclose()

    asyncio.run(main())


def test_a_hundred_callers_for_thirty_coins_are_at_most_two_calls() -> None:
    with FakeUpstream(coins=30) as fake:
        coins = list(fake.coins)[:30]

        async def work(live: Batcher[str, Quote]) -> None:
            answers = await asyncio.gather(*(live.get("usd", [coins[n % 30]]) for n in range(100)))
            assert [list(parts.values) for parts in answers] == [[coins[n % 30]] for n in range(100)]
            assert all(parts.only().price > 0 for parts in answers)

        asked(fake, work)
        assert len(coins) == 30
        assert fake.calls.count("price") <= 2
        assert fake.calls.total == fake.calls.count("price")


def test_an_unknown_coin_fails_for_its_caller_only() -> None:
    with FakeUpstream(coins=3) as fake:

        async def work(live: Batcher[str, Quote]) -> None:
            good, bad = await asyncio.gather(live.get("usd", ["bitcoin"]), live.get("usd", ["bitcoin", "no-such-coin"]))
            assert list(good.values) == ["bitcoin"]
            assert list(bad.values) == ["bitcoin"]
            assert list(bad.errors) == ["no-such-coin"]
            assert isinstance(bad.errors["no-such-coin"], DataError)

        asked(fake, work)


def test_currencies_never_share_a_call_and_a_wrong_one_fails_alone() -> None:
    with FakeUpstream(coins=3) as fake:

        async def work(live: Batcher[str, Quote]) -> None:
            usd, eur, wrong = await asyncio.gather(
                live.get("usd", ["bitcoin"]), live.get("eur", ["bitcoin"]), live.get("US$", ["bitcoin"])
            )
            assert usd.only().price != eur.only().price
            assert isinstance(wrong.errors["bitcoin"], CryptocastError)

        asked(fake, work)
        assert fake.calls.count("price") == 2
