import asyncio
import time
from pathlib import Path

import httpx
import msgspec

from cryptocast.config import DataConfig
from cryptocast.errors import CryptocastError
from cryptocast.net import Breaker, Breakers, Priority
from cryptocast.registry import Registry
from cryptocast.rehearsal import FakeUpstream
from cryptocast.rehearsal.faults import Rule
from cryptocast.serving import create_app
from cryptocast.serving.candle_fetcher import CandleFetcher
from cryptocast.workflows.context import Context, Resolved
from tests.registry.registry_fits import BITCOIN, register
from tests.registry.registry_fits import NOW as REGISTERED
from tests.serving.serving_app import FOREVER_S, FakeForecast, talk, until
from tests.serving.test_candle_fetcher import nothing, settings


def test_the_server_fetches_what_it_lacks_and_forecasts_from_it(tmp_path: Path) -> None:
    with FakeUpstream(coins=5) as fake:
        app = create_app(Context(settings(tmp_path, fake)))

        async def conversation(client: httpx.AsyncClient) -> tuple[str, str, int]:
            ends = time.monotonic() + FOREVER_S
            while time.monotonic() < ends:
                made = (await client.get("/forecasts?ids=bitcoin")).json()["forecasts"][0]
                if made["source"] == "coingecko":
                    break
                await asyncio.sleep(0.1)
            other = (await client.get("/forecasts?ids=coin-003,atlantis")).json()
            assert "atlantis" in other["errors"][0]["error"]
            ready = (await client.get("/ready")).status_code
            return made["source"], other["forecasts"][0]["source"], ready

        assert talk(app, conversation) == ("coingecko", "coingecko", 200)


def test_while_the_upstream_hangs_forecasts_come_from_the_store(tmp_path: Path) -> None:
    with FakeUpstream(coins=5) as fake:
        config = settings(tmp_path, fake)
        fetcher = CandleFetcher(Context(config), breaker=Breakers(Breaker), on_change=nothing)

        async def filled() -> dict[str, CryptocastError | None]:
            fetcher.start()
            return await fetcher.bring(Resolved(("bitcoin",), "coingecko", "usd", "daily", now=None), Priority.USER)

        assert asyncio.run(filled()) == {"bitcoin": None}
        fake.script([Rule(fault="hang", seconds=FOREVER_S)])
        patient = msgspec.structs.replace(config.coingecko, read_timeout_s=FOREVER_S, deadline_s=FOREVER_S)
        serve = msgspec.structs.replace(config.serve, request_timeout_s=FOREVER_S)
        app = create_app(Context(msgspec.structs.replace(config, coingecko=patient, serve=serve)))

        async def conversation(client: httpx.AsyncClient) -> tuple[list[str], int]:
            asked = fake.calls.total
            hanging = [asyncio.create_task(client.get(f"/prices?ids=coin-00{number}")) for number in range(5)]
            await until(lambda: fake.calls.total > asked)
            sources = []
            for _ in range(30):
                answer = await client.get("/forecasts?ids=bitcoin")
                sources.append(answer.json()["forecasts"][0]["source"])
            still = sum(not task.done() for task in hanging)
            fake.kill()
            await asyncio.gather(*hanging, return_exceptions=True)
            return sources, still

        assert talk(app, conversation) == (["coingecko"] * 30, 5)


def test_the_breaker_stops_the_calls_and_is_told(tmp_path: Path) -> None:
    with FakeUpstream(coins=20, faults=["error"]) as fake:
        app = create_app(Context(settings(tmp_path, fake)), refresh=False)

        async def conversation(client: httpx.AsyncClient) -> tuple[int, dict[str, object], str, int]:
            for number in range(12):
                await client.get(f"/prices?ids=coin-{number:03}")
            upstream = (await client.get("/health/components/upstream")).json()
            text = (await client.get("/metrics")).text
            return len(fake.calls.log), upstream, text, (await client.get("/health")).status_code

        calls, upstream, text, health = talk(app, conversation)

    assert calls == 5
    assert (upstream["status"], health) == ("warn", 200)
    assert 'cryptocast_breaker_state{breaker="coingecko prices default",state="open"} 1.0' in text


def test_a_promotion_is_noticed_without_a_request(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    register(registry, "1")
    register(registry, "2")
    forecast = FakeForecast()
    app = create_app(Context(settings(tmp_path)), forecast=forecast, refresh=True)

    async def conversation(client: httpx.AsyncClient) -> None:
        await until(lambda: forecast.calls["ethereum"])
        before = forecast.calls["bitcoin"]
        registry.promote(BITCOIN, 2, now=REGISTERED, who="ada", why="better")
        await until(lambda: forecast.calls["bitcoin"] > before)

    talk(app, conversation)


def test_nothing_is_fetched_where_the_settings_name_no_upstream(tmp_path: Path) -> None:
    with FakeUpstream(coins=5) as fake:
        config = settings(tmp_path, fake)
        sample = msgspec.structs.replace(config, data=DataConfig(source="sample", coins=("bitcoin",)))
        app = create_app(Context(sample))

        async def conversation(client: httpx.AsyncClient) -> str:
            answer = await client.get("/forecasts?ids=bitcoin")
            await asyncio.sleep(0.7)
            source: str = answer.json()["forecasts"][0]["source"]
            return source

        assert talk(app, conversation) == "sample"
        assert len(fake.calls.log) == 0
