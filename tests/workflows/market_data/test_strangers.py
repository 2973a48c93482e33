"""Readers who ask for what the server is not set up for: what they may spend, and that nobody else waits for it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from cryptocast.config import CoinGeckoConfig, Config, DataConfig, StoreConfig, TrainConfig
from cryptocast.data.sources.coingecko.quota import Credits
from cryptocast.data.sources.coingecko.refusals import CreditsKept, unknown_coin
from cryptocast.data.sources.coingecko.simple_price import Quote
from cryptocast.data.sources.coingecko.source import credits_of
from cryptocast.data.sources.errors import UnknownCoin, UnknownCurrency
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.net import Breaker, Breakers, Parts, Priority
from cryptocast.registry import Registry
from cryptocast.rehearsal import FakeUpstream
from cryptocast.rehearsal.faults import Rule
from cryptocast.serving import create_app
from cryptocast.serving.access import CLIENT, Keys
from cryptocast.serving.candle_fetcher import CandleFetcher
from cryptocast.workflows.context import Context, Resolved, Selection
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.market_data.live_prices import LivePrices
from cryptocast.workflows.market_data.strangers import Strangers, Unknown
from tests.registry.registry_fits import register
from tests.serving.serving_app import MIDNIGHT, NOON, Clock, FakeForecast
from tests.serving.test_app import problem

T = TypeVar("T")

LACKING = DataError("The store has none.")


def settings(store: Path, fake: FakeUpstream | None = None, *, per_month: int = 0) -> Config:
    store.mkdir(exist_ok=True)
    plan = "demo" if per_month else "keyless"
    return Config(
        store=StoreConfig(path=store),
        coingecko=CoinGeckoConfig(
            base_url=fake.url if fake is not None else "http://127.0.0.1:9/api/v3",
            plan=plan,  # type: ignore[arg-type]
            calls_per_minute=1000,
            monthly_credits=per_month,
            max_retries=0,
            read_timeout_s=5.0,
        ),
        data=DataConfig(coins=("bitcoin", "ethereum"), exchanges=()),
        train=TrainConfig(pool=("coin-020",)),
    )


def held(app: Starlette, conversation: Callable[[Callable[..., Awaitable[httpx.Response]]], Awaitable[T]]) -> T:
    """A conversation in which every question may come from another address."""

    async def talked() -> T:
        async def get(path: str, address: str = "192.0.2.1") -> httpx.Response:
            transport = httpx.ASGITransport(app=app, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.get(path)

        async with app.router.lifespan_context(app):
            return await conversation(get)

    return asyncio.run(talked())


def metrics(text: str) -> dict[str, float]:
    families = text_string_to_metric_families(text)
    return {
        sample.name + "".join(sample.labels.values()): sample.value for family in families for sample in family.samples
    }


def test_a_stranger_has_one_call_a_minute_and_the_servers_own_coins_are_always_answered(tmp_path: Path) -> None:
    with FakeUpstream(coins=30, now=MIDNIGHT) as fake:
        clock = Clock(MIDNIGHT)
        app = create_app(Context(settings(tmp_path, fake), wall_clock=clock), refresh=False)

        async def conversation(get: Any) -> None:
            assert (await get("/prices?ids=coin-001,coin-002")).status_code == 200
            mixed = await get("/prices?ids=bitcoin,coin-001,coin-003")
            assert [row["coin"] for row in mixed.json()["prices"]] == ["bitcoin", "coin-001"]
            (error,) = mixed.json()["errors"]
            assert "once a minute for each client. Ask again in 60 s" in error["error"]
            clock.forward(seconds=18)
            refused = await get("/forecasts?ids=coin-004")
            assert "Ask again in 42 s" in problem(refused, 429, "credits-kept")["detail"]
            assert refused.headers["retry-after"] == "42"
            other = problem(await get("/prices?ids=bitcoin&vs=eur"), 429, "credits-kept")
            assert "currencies that this server is not set up for" in other["detail"]
            assert (await get("/prices?ids=coin-003", "192.0.2.2")).status_code == 200
            assert (await get("/forecasts?ids=coin-020")).json()["forecasts"][0]["source"] == "coingecko"
            for coin in ("bitcoin", "ethereum", "coin-020"):
                assert (await get(f"/prices?ids={coin}")).status_code == 200
            clock.forward(seconds=43)
            assert (await get("/forecasts?ids=coin-004&horizons=1")).json()["forecasts"][0]["source"] == "coingecko"
            found = metrics((await get("/metrics")).text)
            assert found["cryptocast_events_totalstranger_refusedclient"] == 3
            assert found["cryptocast_upstream_strangers_credits_used"] == 3

        held(app, conversation)
        asked = [call.ids for call in fake.calls.log if set(call.ids) - {"bitcoin", "ethereum", "coin-020"}]
        assert [sorted(ids) for ids in asked] == [["coin-001", "coin-002"], ["coin-003"], ["coin-004"]]


def test_strangers_spend_a_tenth_of_the_month_and_are_told_when_it_is_spent(tmp_path: Path) -> None:
    with FakeUpstream(coins=30, now=MIDNIGHT, plan="demo") as fake:
        context = Context(settings(tmp_path, fake, per_month=50), api_key=fake.key, wall_clock=Clock(MIDNIGHT))
        app = create_app(context, refresh=False)

        async def conversation(get: Any) -> dict[str, float]:
            kind = ("/prices?ids=coin-{0:03}", "/forecasts?ids=coin-{0:03}")
            for number in range(12):
                answer = await get(kind[number % 2].format(number), f"192.0.2.{number}")
                assert answer.status_code == (200 if number < 5 else 429)
            assert "5 of 50 credits went to them" in answer.json()["detail"]
            assert "Ask again from 2026-04-01 on" in answer.json()["detail"]
            assert answer.headers["retry-after"] == str(31 * 86_400)
            assert (await get("/prices?ids=coin-000")).status_code == 200  # it is in memory
            assert (await get("/prices?ids=bitcoin")).status_code == 200
            return metrics((await get("/metrics")).text)

        found = held(app, conversation)
    assert found["cryptocast_upstream_strangers_credits_left"] == 0
    assert found["cryptocast_upstream_credits_left"] == 44
    assert found["cryptocast_events_totalstranger_refusedmonth"] == 7


def test_two_servers_of_a_store_have_one_share(tmp_path: Path) -> None:
    clock = Clock(NOON)
    one, two = (
        Strangers(config, credits_of(config, clock))
        for config in (settings(tmp_path, per_month=1000), settings(tmp_path, per_month=1000))
    )
    assert (one.refusal("a"), type(two.refusal("a")), two.refusal("b"), type(one.refusal("b"))) == (
        *(None, CreditsKept),
        *(None, CreditsKept),
    )


@pytest.mark.parametrize(("calls", "share"), [(1, 1), (2, 1), (5, 2), (25, 5), (250, 50)])
def test_strangers_have_a_small_part_of_each_minute(tmp_path: Path, calls: int, share: int) -> None:
    chosen = msgspec.structs.replace(settings(tmp_path).coingecko, calls_per_minute=calls)
    config = msgspec.structs.replace(settings(tmp_path), coingecko=chosen)
    assert Strangers(config, Credits(None, per_month=0, now=Clock())).per_minute == share


def test_a_coin_with_a_version_in_production_is_the_servers_own(tmp_path: Path) -> None:
    register(Registry.open(tmp_path))
    chosen = msgspec.structs.replace(settings(tmp_path), data=DataConfig(coins=("ethereum",), vs="eur", exchanges=()))
    background = create_app(Context(chosen), forecast=FakeForecast(), refresh=False).state.server
    strangers = background.strangers
    assert not strangers.is_ours("bitcoin", "usd")
    asyncio.run(background.watch.look())
    assert [strangers.is_ours("bitcoin", vs) for vs in ("usd", "eur", "gbp")] == [True, True, False]


def test_a_client_is_its_key_and_without_one_its_address() -> None:
    scope: Any = {"headers": [(b"authorization", b"Bearer two")], "client": ("192.0.2.1", 1)}
    assert Keys("one,two").client_of(scope) == "token 2"
    assert Keys(None).client_of(scope) == "192.0.2.1"


# --- prices


@dataclass
class Upstream:
    outcome: Callable[[str], Quote | CryptocastError] = lambda _: Quote(price=1.0)
    calls: list[tuple[str, ...]] = field(default_factory=list)

    async def __call__(self, _vs: str, coins: Sequence[str], _timeout_s: float) -> Parts[Quote]:
        self.calls.append(tuple(coins))
        said = {coin: self.outcome(coin) for coin in coins}
        found = {coin: one for coin, one in said.items() if isinstance(one, Quote)}
        return Parts(found, {coin: one for coin, one in said.items() if isinstance(one, CryptocastError)})


@dataclass
class World:
    """LivePrices with a clock of their own. Each question of `ask` comes from another client, unless one is named."""

    folder: Path
    ours: Upstream = field(default_factory=Upstream)
    others: Upstream = field(default_factory=Upstream)
    clock: Clock = field(default_factory=Clock)
    asked: int = 0

    def __post_init__(self) -> None:
        self.live = LivePrices(
            self.ours,
            strangers=Strangers(settings(self.folder), Credits(None, per_month=0, now=self.clock)),
            ask_for_others=self.others,
            fresh_s=30.0,
            keep_s=600.0,
            wall_clock=self.clock,
            clock=lambda: self.clock.now.timestamp(),
        )

    async def ask(self, coins: str, vs: str = "usd", *, client: str = "") -> tuple[list[Any], list[type]]:
        self.asked += 1
        found, failures = await self.live.get(
            coins.split(","), vs, timeout_s=5, client=client or f"client {self.asked}"
        )
        await asyncio.sleep(0.01)  # renewals run behind the answer
        return [(row.coin, row.stale) for row in found.prices], [type(error) for _, error in failures]


def test_no_call_holds_coins_of_both_and_many_who_ask_for_one_are_one_call(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def conversation() -> None:
        await asyncio.gather(*(world.ask("ethereum,coin-2,bitcoin,coin-1", client="one") for _ in range(20)))

    asyncio.run(conversation())
    assert (world.ours.calls, world.others.calls) == ([("ethereum", "bitcoin")], [("coin-2", "coin-1")])


def test_an_old_price_that_may_not_be_renewed_is_given_marked(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def conversation() -> list[object]:
        seen: list[object] = [await world.ask("coin-1", client="one")]
        world.clock.forward(seconds=40)
        seen += [await world.ask("coin-1", client="one"), await world.ask("coin-1", client="two")]
        return [*seen, await world.ask("coin-1", client="one")]

    assert asyncio.run(conversation()) == [([("coin-1", stale)], []) for stale in (False, True, True, False)]
    assert len(world.others.calls) == 2


def test_an_unknown_id_that_is_asked_for_again_and_again_costs_less_and_less(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.others.outcome = unknown_coin

    async def conversation() -> None:
        for _ in range(100):
            assert await world.ask("no-coin") == ([], [UnknownCoin])
            world.clock.forward(minutes=1)

    asyncio.run(conversation())
    assert len(world.others.calls) == 7  # after 1, 2, 4, 8, 16 and 32 minutes


def test_an_unknown_currency_costs_no_call_for_each_coin(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.others.outcome = lambda _: UnknownCurrency("No such currency.")

    async def conversation() -> None:
        for coin in ("bitcoin", "ethereum", "coin-1", "bitcoin"):
            assert await world.ask(coin, "zzz") == ([], [UnknownCurrency])

    asyncio.run(conversation())
    assert len(world.others.calls) == 1


def test_no_answer_makes_a_coin_of_ours_unknown_unless_the_list_lacks_it_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ours.outcome = unknown_coin

    async def conversation() -> None:
        assert await world.ask("bitcoin") == ([], [UpstreamError])
        assert await world.ask("bitcoin") == ([], [UpstreamError])
        assert len(world.ours.calls) == 1  # it is not asked for again at once
        world.clock.forward(seconds=6)
        world.ours.outcome = lambda _: Quote(price=1.0)
        assert await world.ask("bitcoin") == ([("bitcoin", False)], [])
        world.ours.outcome = lambda coin: unknown_coin(coin, is_certain=True)
        assert await world.ask("ethereum") == ([], [UnknownCoin])

    asyncio.run(conversation())


def fetcher_on(config: Config, budget: Credits) -> CandleFetcher:
    async def nothing() -> None:
        pass

    return CandleFetcher(
        Context(config, wall_clock=Clock(MIDNIGHT)),
        breaker=Breakers(Breaker),
        on_change=nothing,
        strangers=Strangers(config, budget),
    )


def brought(fetcher: CandleFetcher, *series: tuple[str, Any, str]) -> list[type]:
    """What comes of a request for each, coin, granularity and currency, each from another client."""

    async def asked() -> list[type]:
        fetcher.start()
        found = []
        for number, (coin, granularity, vs) in enumerate(series):
            CLIENT.set(f"client {number}")
            request = Request(Selection((coin,), "auto", vs, granularity))
            found.append(type(await fetcher.for_request(request, LACKING)))
        await fetcher.close()
        return found

    return asyncio.run(asked())


def test_of_a_strangers_coin_the_hours_of_one_call_are_fetched_and_of_ours_all(tmp_path: Path) -> None:
    with FakeUpstream(coins=5, now=MIDNIGHT) as fake:
        fetcher = fetcher_on(settings(tmp_path, fake), Credits(None, per_month=0, now=Clock()))
        assert brought(fetcher, ("coin-001", "hourly", "usd"), ("bitcoin", "hourly", "usd")) == [type(None)] * 2
        asked = Counter(coin for call in fake.calls.log for coin in call.ids)
    assert asked == {"coin-001": 1, "bitcoin": 5}


def test_what_the_upstream_does_not_know_costs_one_call_for_all_who_ask(tmp_path: Path) -> None:
    with FakeUpstream(coins=5, now=MIDNIGHT) as fake:
        fetcher = fetcher_on(settings(tmp_path, fake), Credits(None, per_month=0, now=Clock()))
        unknown = [("no-coin", "daily", "usd"), ("no-coin", "hourly", "usd"), ("no-coin", "daily", "usd")]
        assert brought(fetcher, *unknown) == [UnknownCoin] * 3
        assert len(fake.calls.log) == 1
        fetcher = fetcher_on(settings(tmp_path, fake), Credits(None, per_month=0, now=Clock()))
        assert brought(fetcher, ("coin-001", "daily", "zzz"), ("coin-002", "daily", "zzz")) == [UnknownCurrency] * 2
        assert len(fake.calls.log) == 2


@pytest.mark.parametrize("fault", [Rule(fault="error", status=404), Rule(fault="wrong_shape"), Rule(fault="not_json")])
def test_no_answer_makes_a_coin_of_ours_unknown_to_forecasts(tmp_path: Path, fault: Rule) -> None:
    with FakeUpstream(coins=5, now=MIDNIGHT, faults=[fault]) as fake:
        fetcher = fetcher_on(settings(tmp_path, fake), Credits(None, per_month=0, now=Clock()))
        assert brought(fetcher, ("bitcoin", "daily", "usd")) == [UpstreamError]
        fake.script()
        fetcher = fetcher_on(settings(tmp_path, fake), Credits(None, per_month=0, now=Clock()))
        assert brought(fetcher, ("bitcoin", "daily", "usd")) == [type(None)]


def test_our_candles_do_not_wait_for_those_of_strangers(tmp_path: Path) -> None:
    with FakeUpstream(coins=5, now=MIDNIGHT, faults=[Rule(fault="hang", ids=("coin-001",))]) as fake:
        fetcher = fetcher_on(settings(tmp_path, fake), Credits(None, per_month=0, now=Clock()))

        async def asked() -> tuple[bool, object]:
            fetcher.start()
            request = Request(Selection(("coin-001",), "auto", "usd", "daily"))
            hanging = asyncio.create_task(fetcher.for_request(request, LACKING))
            while not fake.calls.log:
                await asyncio.sleep(0.01)
            ours = await fetcher.bring(Resolved(("bitcoin",), "coingecko", "usd", "daily", now=None), Priority.REFRESH)
            hangs = not hanging.done()
            fake.kill()
            await fetcher.close()
            return hangs, ours

        assert asyncio.run(asked()) == (True, {"bitcoin": None})


def test_what_is_unknown_is_remembered_for_a_time_that_doubles_and_is_bounded() -> None:
    now = [0.0]
    unknown, why = Unknown(clock=lambda: now[0], most=2), DataError("Unknown.")
    for span in (60.0, 120.0, 240.0):
        unknown.remember("a", why)
        now[0] += span - 1
        assert unknown.why("b", "a") is why
        now[0] += 1
        assert unknown.why("a") is None
    unknown.remember("b", why)
    unknown.remember("c", why)
    unknown.remember("a", why)
    assert [unknown.why(key) for key in "abc"] == [why, None, why]
    unknown.forget("a")
    assert unknown.why("a") is None


# --- candles
