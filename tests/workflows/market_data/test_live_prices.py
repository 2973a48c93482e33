import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from cryptocast.config import DataConfig
from cryptocast.data.sources.coingecko.simple_price import Quote
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.net import Parts
from cryptocast.serving import create_app
from cryptocast.workflows.market_data.live_prices import LivePrices, PriceRow, read_prices, write_prices
from tests.serving.serving_app import FOREVER_S, Clock, FakeForecast, config, context, get, talk, until
from tests.serving.test_app import problem

T = TypeVar("T")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Upstream:
    price: float = 100.0
    error: CryptocastError | None = None
    go: asyncio.Event | None = None  # answers once it is set
    unknown: tuple[str, ...] = ()
    calls: list[tuple[str, ...]] = field(default_factory=list)

    async def __call__(self, vs: str, coins: Sequence[str], timeout_s: float) -> Parts[Quote]:
        self.calls.append(tuple(coins))
        if self.go is not None:
            await self.go.wait()
        if self.error is not None:
            return Parts({}, dict.fromkeys(coins, self.error))
        named = [coin for coin in coins if coin.startswith("no-") or coin in self.unknown]
        unknown = {coin: DataError(f"{coin} is unknown.") for coin in named}
        return Parts({coin: Quote(price=self.price) for coin in coins if coin not in unknown}, dict(unknown))


async def never(_vs: str, _coins: Sequence[str], _timeout_s: float) -> Parts[Quote]:
    await asyncio.sleep(2 * FOREVER_S)
    raise AssertionError("nobody waits so long")


def prices(upstream: Upstream, now: list[float], **options: Any) -> LivePrices:
    return LivePrices(upstream, fresh_s=30.0, keep_s=600.0, wall_clock=lambda: NOW, clock=lambda: now[0], **options)


async def renewed(live: LivePrices) -> None:
    """What was asked for behind the answers has come."""
    await until(lambda: not live._calls)


def test_a_price_is_fresh_for_a_time_and_costs_one_call() -> None:
    upstream, now = Upstream(), [0.0]

    async def held() -> None:
        live = prices(upstream, now)
        for _ in range(3):
            document, failures = await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S)
            assert (document.prices[0].price, document.prices[0].stale, failures) == (100.0, False, [])

    asyncio.run(held())
    assert upstream.calls == [("bitcoin",)]


def test_an_old_price_comes_at_once_and_one_renewal_runs_behind_it() -> None:
    upstream, now = Upstream(), [0.0]

    async def held() -> list[float]:
        live = prices(upstream, now)
        await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S)
        now[0], upstream.price, upstream.go = 40.0, 200.0, asyncio.Event()
        answers = await asyncio.gather(*(live.get(["bitcoin"], "usd", timeout_s=FOREVER_S) for _ in range(50)))
        seen = [document.prices[0].price for document, _ in answers]
        upstream.go.set()
        await renewed(live)
        document, _ = await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S)
        return [*seen, document.prices[0].price]

    assert asyncio.run(held()) == [100.0] * 50 + [200.0]
    assert len(upstream.calls) == 2


def test_while_the_upstream_fails_an_old_price_stands_in_marked_until_it_is_too_old() -> None:
    upstream, now = Upstream(), [0.0]

    async def held() -> list[object]:
        live = prices(upstream, now)
        await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S)
        upstream.error = UpstreamError("Down.")
        seen: list[object] = []
        for at in (40.0, 50.0, 599.0, 601.0):
            now[0] = at
            document, failures = await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S)
            await renewed(live)
            seen.append((document.prices[0].stale if document.prices else None, [str(error) for _, error in failures]))
        return seen

    assert asyncio.run(held()) == [(False, []), (True, []), (True, []), (None, ["Down."])]


def test_a_renewal_that_fails_is_not_tried_with_every_request() -> None:
    upstream, now = Upstream(), [0.0]

    async def held() -> None:
        live = prices(upstream, now)
        await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S)
        upstream.error, now[0] = UpstreamError("Down."), 40.0
        for _ in range(20):
            await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S)
            await asyncio.sleep(0)

    asyncio.run(held())
    assert len(upstream.calls) == 2


def test_an_unknown_id_fails_alone_and_is_not_asked_for_again_at_once() -> None:
    upstream, now = Upstream(), [0.0]

    async def held() -> list[str]:
        live = prices(upstream, now)
        for _ in range(5):
            document, failures = await live.get(["bitcoin", "no-coin"], "usd", timeout_s=FOREVER_S)
            assert [row.coin for row in document.prices] == ["bitcoin"]
        now[0] = 61.0
        await live.get(["no-coin"], "usd", timeout_s=FOREVER_S)
        return [coin for coin, _ in failures]

    assert asyncio.run(held()) == ["no-coin"]
    assert upstream.calls == [("bitcoin", "no-coin"), ("no-coin",)]


def test_a_coin_that_had_a_price_is_not_unknown_because_one_answer_lacks_it() -> None:
    upstream, now = Upstream(), [0.0]

    async def held() -> PriceRow:
        live = prices(upstream, now)
        await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S)
        upstream.unknown = ("bitcoin",)
        now[0] = 31.0
        await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S)
        await renewed(live)
        (row,) = (await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S))[0].prices
        return row

    row = asyncio.run(held())
    assert (row.price, row.stale) == (100.0, True)


def test_fifty_prices_of_one_call_do_not_grow_old_together() -> None:
    upstream, now = Upstream(), [0.0]
    coins = [f"coin-{number}" for number in range(50)]

    async def held() -> int:
        live = prices(upstream, now)
        await live.get(coins, "usd", timeout_s=FOREVER_S)
        now[0] = 28.5
        await live.get(coins, "usd", timeout_s=FOREVER_S)
        await renewed(live)
        return len(upstream.calls[1])

    assert 5 < asyncio.run(held()) < 45


def test_the_memory_is_bounded() -> None:
    upstream, now = Upstream(), [0.0]

    async def held() -> int:
        live = prices(upstream, now, max_entries=10)
        for number in range(50):
            await live.get([f"coin-{number}"], "usd", timeout_s=FOREVER_S)
        return len(live)

    assert asyncio.run(held()) == 10


def test_over_http_prices_have_their_age_and_errors_beside_them() -> None:
    app = create_app(context(), forecast=FakeForecast(), stamp=lambda: 0, ask_prices=Upstream())
    answer = get(app, "/prices?ids=bitcoin,no-coin&vs=eur")

    assert answer.status_code == 200
    assert answer.json()["prices"][0] | {"fetched_at": ""} == {
        "coin": "bitcoin",
        "vs": "eur",
        "price": 100.0,
        "market_cap": None,
        "volume_24h": None,
        "change_24h_pct": None,
        "updated_at": None,
        "fetched_at": "",
        "stale": False,
    }
    assert [error["coin"] for error in answer.json()["errors"]] == ["no-coin"]
    assert (answer.headers["age"], answer.headers["cache-control"]) == ("0", "private, max-age=30")


@pytest.mark.parametrize(("error", "status"), [(UpstreamError("Down."), 503), (DataError("Unknown."), 404)])
def test_without_any_price_the_worst_reason_decides(error: CryptocastError, status: int) -> None:
    app = create_app(context(), forecast=FakeForecast(), stamp=lambda: 0, ask_prices=Upstream(error=error))
    answer = get(app, "/prices?ids=no-coin")

    problem(answer, status, "upstream-unavailable" if status == 503 else "no-data")


@pytest.mark.parametrize("query", ["ids=bit.coin", "ids=", "model=auto", "vs=usd&vs=eur", "vs=%00"])
def test_bad_parameters_are_refused(query: str) -> None:
    app = create_app(context(), forecast=FakeForecast(), stamp=lambda: 0, ask_prices=Upstream())
    assert get(app, f"/prices?{query}").status_code == 400


def test_cached_forecasts_do_not_wait_for_a_hanging_upstream() -> None:
    coins = tuple(f"coin-{number}" for number in range(50))
    settings = msgspec.structs.replace(config(request_timeout_s=FOREVER_S), data=DataConfig(coins=coins))
    upstream = Upstream(go=asyncio.Event())
    app = create_app(context(settings), forecast=FakeForecast(), stamp=lambda: 0, ask_prices=upstream)

    async def conversation(client: httpx.AsyncClient) -> tuple[list[int], int]:
        await client.get("/forecasts?ids=bitcoin")
        hanging = [asyncio.create_task(client.get(f"/prices?ids={coin}")) for coin in coins]
        await until(lambda: len(upstream.calls) == len(coins))
        statuses = [
            (await client.get(path)).status_code
            for path in ("/forecasts?ids=bitcoin", "/metrics", "/health", "/ready")
            for _ in range(10)
        ]
        still = sum(not task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        return statuses, still

    assert talk(app, conversation) == ([200] * 40, 50)


def test_fifty_who_ask_at_once_for_a_price_that_is_not_there_are_one_call() -> None:
    upstream, now = Upstream(), [0.0]

    async def held() -> set[float]:
        live = prices(upstream, now)
        got = await asyncio.gather(*(live.get(["bitcoin"], "usd", timeout_s=FOREVER_S) for _ in range(50)))
        return {document.prices[0].price for document, _ in got}

    assert asyncio.run(held()) == {100.0}
    assert upstream.calls == [("bitcoin",)]


def test_a_call_that_nobody_waits_for_any_more_fills_the_cache() -> None:
    upstream, now = Upstream(go=asyncio.Event()), [0.0]

    async def held() -> tuple[str, float]:
        assert upstream.go is not None
        live = prices(upstream, now)
        impatient, failures = await live.get(["bitcoin"], "usd", timeout_s=0.01)
        assert impatient.prices == ()
        gone = asyncio.create_task(live.get(["ethereum"], "usd", timeout_s=5))
        await until(lambda: len(upstream.calls) == 2)
        gone.cancel()
        upstream.go.set()
        await renewed(live)
        found, _ = await live.get(["bitcoin", "ethereum"], "usd", timeout_s=0.01)
        assert [row.coin for row in found.prices] == ["bitcoin", "ethereum"]
        return str(failures[0][1]), found.prices[0].price

    told, price = asyncio.run(held())
    assert "ask again" in told
    assert price == 100.0
    assert upstream.calls == [("bitcoin",), ("ethereum",)]


def test_while_the_upstream_hangs_those_who_come_later_are_sent_away_at_once() -> None:
    now = [0.0]

    async def held() -> None:
        live = prices(Upstream(), now)
        live._ask = never
        first = asyncio.create_task(live.get(["bitcoin"], "usd", timeout_s=FOREVER_S))
        await until(lambda: live._calls)
        now[0] = 3.0
        document, failures = await live.get(["ethereum"], "usd", timeout_s=FOREVER_S)
        assert (document.prices, type(failures[0][1])) == ((), UpstreamError)
        assert not first.done()  # whoever came first is still as patient as before
        first.cancel()
        await live.close()

    asyncio.run(held())


def test_a_renewal_that_hangs_does_not_block_later_ones() -> None:
    upstream, now = Upstream(), [0.0]

    async def held() -> float:
        live = prices(upstream, now, call_s=-0.99)  # with the slack, a hundredth of a second
        await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S)
        hanging, live._ask = live._ask, never
        now[0] = 31.0
        (old,) = (await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S))[0].prices
        assert old.price == 100.0
        await renewed(live)
        live._ask, upstream.price, now[0] = hanging, 200.0, 50.0
        await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S)
        await renewed(live)
        (new,) = (await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S))[0].prices
        assert not new.stale
        return new.price

    assert asyncio.run(held()) == 200.0


def test_a_fault_of_ours_is_told_to_those_who_wait_and_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]

    async def broken(_vs: str, _coins: Sequence[str], _timeout_s: float) -> Parts[Quote]:
        raise ZeroDivisionError

    async def held() -> CryptocastError:
        live = prices(Upstream(), now)
        live._ask = broken
        ((_, error),) = (await live.get(["bitcoin"], "usd", timeout_s=FOREVER_S))[1]
        assert len(live) == 0
        return error

    assert "log" in str(asyncio.run(held()))
    assert "ZeroDivisionError" in caplog.text


def test_prices_outlive_the_process_and_are_old_and_marked_until_they_are_renewed(tmp_path: Path) -> None:
    settings = config(store=tmp_path)
    clock = Clock()
    upstream = Upstream()

    async def one(client: httpx.AsyncClient) -> httpx.Response:
        return await client.get("/prices?ids=bitcoin")

    async def two(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = await client.get("/prices?ids=bitcoin")
        await until(lambda: len(upstream.calls) == 2)
        await asyncio.sleep(0.01)
        return [first, await client.get("/prices?ids=bitcoin")]

    def app() -> Starlette:
        return create_app(context(settings, clock), forecast=FakeForecast(), stamp=lambda: 0, ask_prices=upstream)

    before = talk(app(), one).json()["prices"][0]
    clock.forward(minutes=10)
    upstream.price = 150.0
    first, second = talk(app(), two)

    assert (before["price"], before["stale"]) == (100.0, False)
    kept = first.json()["prices"][0]
    assert (kept["price"], kept["stale"], first.headers["age"]) == (100.0, True, "600")
    assert (second.json()["prices"][0]["price"], second.json()["prices"][0]["stale"]) == (150.0, False)


def test_no_store_is_made_for_prices_alone(tmp_path: Path) -> None:
    store = tmp_path / "store"
    app = create_app(context(config(store=store)), forecast=FakeForecast(), stamp=lambda: 0, ask_prices=Upstream())
    assert get(app, "/prices?ids=bitcoin").status_code == 200
    assert not store.exists()


@pytest.mark.parametrize("damage", [b"", b"{", b'[{"vs":1}]', b"\xff"])
def test_a_file_of_prices_that_is_damaged_is_no_reason_not_to_start(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "prices.json"
    path.write_bytes(damage)
    assert read_prices(path) == []


def test_a_disk_that_refuses_the_prices_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    write_prices(tmp_path / "file" / "prices.json", [])
    assert "not kept" in caplog.text
