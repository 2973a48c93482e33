import asyncio
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from cryptocast.config import CoinGeckoConfig, Config, DataConfig, ServeConfig, StoreConfig, TrainConfig
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.net import Breaker, Breakers
from cryptocast.rehearsal import FakeUpstream
from cryptocast.serving import create_app
from cryptocast.serving.candle_fetcher import CandleFetcher
from cryptocast.workflows.context import Context
from tests.serving.serving_app import request_of, talk

# So that none of them is a stranger's coin: those are in test_strangers.py.
POOL = ("atlantis", *(f"coin-{number:03}" for number in range(35)))


def settings(store: Path, fake: FakeUpstream | None = None, **serve: float) -> Config:
    address = fake.url if fake is not None else "http://127.0.0.1:9/api/v3"
    calls = CoinGeckoConfig(
        base_url=address, calls_per_minute=100_000, max_retries=0, read_timeout_s=20.0, deadline_s=20.0
    )
    return Config(
        store=StoreConfig(path=store),
        coingecko=calls,
        data=DataConfig(coins=("bitcoin", "ethereum"), exchanges=()),
        train=TrainConfig(pool=POOL),
        serve=ServeConfig(request_timeout_s=60.0, **serve),  # type: ignore[arg-type]
    )


async def nothing() -> None:
    """What nobody needs to hear."""


def test_many_who_ask_for_a_coin_that_is_not_there_cause_one_download(tmp_path: Path) -> None:
    with FakeUpstream(coins=5, latency_s=0.3) as fake:
        config = settings(tmp_path, fake)
        app = create_app(Context(config), refresh=False)

        async def conversation(client: httpx.AsyncClient) -> list[int]:
            levels = ("20", "40", "60", "80", "90", "95")
            paths = [f"/forecasts?ids=coin-001&levels={level}" for level in levels for _ in range(5)]
            return [answer.status_code for answer in await asyncio.gather(*(client.get(path) for path in paths))]

        assert set(talk(app, conversation)) == {200}
        charts = [call for call in fake.calls.log if "market_chart" in str(call)]
        assert len(charts) == 1


def test_a_hundred_who_ask_for_thirty_prices_cause_two_calls_at_most(tmp_path: Path) -> None:
    with FakeUpstream(coins=40, latency_s=0.2) as fake:
        chosen = settings(tmp_path, fake)
        app = create_app(Context(chosen), refresh=False)
        path = "/prices?ids=" + ",".join(f"coin-{number:03}" for number in range(5, 35))

        async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
            return await asyncio.gather(*(client.get(path) for _ in range(100)))

        answers = talk(app, conversation)
        calls = [call for call in fake.calls.log if "simple/price" in str(call)]

    assert {answer.status_code for answer in answers} == {200}
    assert len(answers[0].json()["prices"]) > 20
    assert len(calls) <= 2


def test_while_the_breaker_of_the_bars_is_open_a_coin_that_is_not_there_is_a_marked_503(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeUpstream(coins=20, faults=["error"]) as fake:
        app = create_app(Context(settings(tmp_path, fake)), refresh=False)

        async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
            return [await client.get(f"/forecasts?ids=coin-{number:03}") for number in range(12)]

        answers = talk(app, conversation)
        assert app.state.server.breakers.all()["coingecko bars default"].state == "open"

    assert {answer.status_code for answer in answers} == {503}
    assert all("retry-after" in answer.headers for answer in answers)
    assert "is not called" in answers[-1].json()["detail"]
    assert "coin-011 is not in the store" in answers[-1].json()["detail"]
    assert "Traceback" not in caplog.text


def test_a_coin_that_cannot_be_brought_says_why(tmp_path: Path) -> None:
    context = Context(settings(tmp_path), wall_clock=lambda: datetime.now(UTC))
    fetcher = CandleFetcher(context, breaker=Breakers(Breaker), on_change=nothing)

    async def asked() -> CryptocastError | None:
        fetcher.start()
        try:
            return await fetcher.for_request(request_of(coin="atlantis"), DataError("There is none."))
        finally:
            await fetcher.close()

    error = asyncio.run(asked())
    assert isinstance(error, (UpstreamError, DataError))
