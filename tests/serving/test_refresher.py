import asyncio
import multiprocessing
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec
import pytest

from cryptocast.config import CoinGeckoConfig, Config, DataConfig, ServeConfig, StoreConfig, TrainConfig
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.market import Market
from cryptocast.net import Priority
from cryptocast.registry import Registry
from cryptocast.rehearsal import FakeUpstream
from cryptocast.rehearsal.faults import Rule
from cryptocast.serving import create_app
from cryptocast.serving.candle_fetcher import BarKeeper
from cryptocast.serving.forecast_cache import Answers, Outcome
from cryptocast.serving.refresher import Duty, Leader, Refresher
from cryptocast.workflows.context import Context
from tests.registry.registry_fits import BITCOIN, register
from tests.registry.registry_fits import NOW as REGISTERED
from tests.serving.serving_app import FOREVER_S, MIDNIGHT, NOON, Clock, FakeForecast, talk, until
from tests.serving.test_fallback import request

T = TypeVar("T")


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
        data=DataConfig(coins=("bitcoin", "ethereum")),
        train=TrainConfig(pool=POOL),
        serve=ServeConfig(request_timeout_s=60.0, **serve),  # type: ignore[arg-type]
    )


def refresher(
    tmp_path: Path,
    forecast: FakeForecast,
    clock: Clock,
    bring: Callable[[Sequence[str], Priority], Awaitable[dict[str, CryptocastError | None]]] | None = None,
    **options: object,
) -> Refresher:
    answers = Answers(forecast, stamp=lambda: 0, wall_clock=clock, clock=clock.seconds, max_waiting=20)
    return Refresher(
        config=settings(tmp_path),
        answers=answers,
        requests=[request("auto", "bitcoin"), request("auto", "ethereum")],
        bring=bring,
        leader=Leader(tmp_path),
        wall_clock=clock,
        clock=clock.seconds,
        rng=random.Random(1),
        **options,  # type: ignore[arg-type]
    )


def test_the_metrics_tell_which_model_answers_for_how_many_coins(tmp_path: Path) -> None:
    one = refresher(tmp_path, FakeForecast(), Clock(MIDNIGHT))
    before = [(labels["model"], value) for _, _, labels, value in one.samples()]

    async def conversation() -> list[tuple[str, float]]:
        await one.compute()
        return [(labels["model"], value) for _, _, labels, value in one.samples()]

    assert before == [("baseline", 0.0)]
    assert dict(held(one, conversation))["lightgbm"] == 2.0


async def nothing() -> None:
    """What nobody needs to hear."""


def told(said: list[str], what: str) -> Duty:
    """A duty that says so."""

    async def duty(coins: Sequence[str]) -> None:
        said.append(f"{what} {','.join(coins)}")

    return duty


def held(one: Refresher, conversation: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        async with one.answers.opened():
            return await conversation()

    return asyncio.run(run())


def test_forecasts_are_there_before_anybody_asks_and_again_when_the_bar_closes(tmp_path: Path) -> None:
    clock, forecast = Clock(), FakeForecast()
    one = refresher(tmp_path, forecast, clock)

    async def conversation() -> list[int]:
        seen = []
        for hours in (0, 1, 11, 1):
            clock.forward(hours=hours)
            await one.round()
            seen.append(forecast.calls["bitcoin"])
        return seen

    assert held(one, conversation) == [1, 1, 2, 3]  # after the close late bars are looked for


def test_new_bars_are_asked_for_once_after_each_close_and_again_where_they_did_not_come(tmp_path: Path) -> None:
    clock, asked = Clock(), list[datetime]()
    failing: dict[str, CryptocastError | None] = {"bitcoin": None, "ethereum": None}

    async def bring(coins: Sequence[str], priority: Priority) -> dict[str, CryptocastError | None]:
        assert priority is Priority.REFRESH
        asked.append(clock.now)
        return dict(failing)

    one = refresher(tmp_path, FakeForecast(), clock, bring)

    async def conversation() -> None:
        for _ in range(14 * 12):
            await one.round()
            await one.settled()
            clock.forward(minutes=5)
        failing["ethereum"] = UpstreamError("Down.")
        for _ in range(24 * 12):
            await one.round()
            await one.settled()
            clock.forward(minutes=5)

    held(one, conversation)
    first_close = MIDNIGHT + timedelta(days=1)
    assert len([at for at in asked if at < first_close]) == 1
    assert asked[1] - first_close in (timedelta(minutes=15), timedelta(minutes=20))
    later = [at for at in asked if at > first_close + timedelta(hours=20)]
    gaps = [(after - before).total_seconds() / 60 for before, after in pairwise(later)]
    assert gaps[:3] == sorted(gaps[:3])
    assert max(gaps) <= 35
    assert one.last_error == "Down."


def test_a_hanging_refresh_holds_nothing_else_up(tmp_path: Path) -> None:
    clock, forecast = Clock(), FakeForecast()

    async def bring(coins: Sequence[str], priority: Priority) -> dict[str, CryptocastError | None]:
        await asyncio.sleep(60)
        return {}

    one = refresher(tmp_path, forecast, clock, bring)

    async def conversation() -> int:
        for _ in range(3):
            await one.round()
            await asyncio.sleep(0.01)
            clock.forward(hours=12)
        return forecast.calls["bitcoin"]

    assert held(one, conversation) == 3
    one.leader.leave()


def test_whatever_goes_wrong_the_next_round_comes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rounds = []

    async def bring(coins: Sequence[str], priority: Priority) -> dict[str, CryptocastError | None]:
        rounds.append(1)
        raise ZeroDivisionError("of the upstream")

    clock = Clock()
    one = refresher(tmp_path, FakeForecast(), clock, bring)

    async def conversation() -> None:
        task = asyncio.create_task(one.run())
        ends = time.monotonic() + FOREVER_S
        while len(rounds) < 2 and time.monotonic() < ends:
            await asyncio.sleep(0.05)
            clock.forward(seconds=1)
        assert len(rounds) >= 2
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    held(one, conversation)
    assert one.failures >= 1
    assert "of the upstream" in caplog.text


def test_the_leader_alone_has_duties_and_another_one_follows_it(tmp_path: Path) -> None:
    done, clock = list[str](), Clock()
    first = refresher(tmp_path, FakeForecast(), clock, duties=[told(done, "first")])
    second = refresher(tmp_path, FakeForecast(), clock, duties=[told(done, "second")])

    async def conversation() -> None:
        for _ in range(2):
            await first.round()
            await first.settled()
        async with second.answers.opened():
            for _ in range(2):
                await second.round()
                await second.settled()
            assert done == ["first bitcoin,ethereum"]
            await second.before_change(["bitcoin"])
            await first.before_change(["bitcoin", "dogecoin"])
            assert done.pop() == "first bitcoin"
            first.leader.leave()
            for _ in range(2):
                clock.forward(seconds=5)
                await second.round()
                await second.settled()

    held(first, conversation)
    assert done == ["first bitcoin,ethereum", "second bitcoin,ethereum"]
    second.leader.leave()


def test_a_duty_that_fails_or_hangs_ends_nothing_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryptocast.serving.refresher.DUTY_S", 0.05)
    done, clock, judged = list[str](), Clock(), list[str]()

    async def failing(coins: Sequence[str]) -> None:
        raise ZeroDivisionError("of the ledger")

    async def hanging(coins: Sequence[str]) -> None:
        await asyncio.sleep(60)

    forecast = FakeForecast()
    one = refresher(
        tmp_path, forecast, clock, duties=[failing, hanging, told(done, "kept")], judge=told(judged, "judged")
    )

    async def conversation() -> None:
        for _ in range(4):
            await one.round()
            await one.settled()
            await asyncio.sleep(0.01)

    held(one, conversation)
    assert done == ["kept bitcoin,ethereum"]
    assert judged == ["judged bitcoin,ethereum"]
    assert one.failures == 2
    assert "of the ledger" in caplog.text
    assert forecast.calls["bitcoin"] == 1
    one.leader.leave()


def test_after_a_change_the_next_round_computes_before_anybody_asks(tmp_path: Path) -> None:
    clock, forecast = Clock(), FakeForecast()
    one = refresher(tmp_path, forecast, clock)

    async def conversation() -> list[int]:
        seen = []
        for changes in (False, False, True, False):
            if changes:
                one.answers.candles_changed("bitcoin")
                one.compute_soon()
            await one.round()
            seen.append(forecast.calls["bitcoin"])
        return seen

    assert held(one, conversation) == [1, 1, 2, 2]


def _lead(store: str, say: "multiprocessing.queues.Queue[bool]") -> None:
    say.put(Leader(Path(store)).leads())


def test_of_two_processes_one_leads(tmp_path: Path) -> None:
    ours = Leader(tmp_path)
    assert ours.leads()
    context = multiprocessing.get_context("spawn")
    say = context.Queue()
    other = context.Process(target=_lead, args=(str(tmp_path), say))
    other.start()
    assert say.get(timeout=60) is False
    other.join()
    ours.leave()


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


def test_a_hundred_who_ask_for_thirty_prices_cause_two_calls_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryptocast.serving.prices.SLOW_S", FOREVER_S)  # a busy machine is no upstream that hangs
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


def test_while_the_upstream_hangs_forecasts_come_from_the_store(tmp_path: Path) -> None:
    with FakeUpstream(coins=5) as fake:
        config = settings(tmp_path, fake)
        keeper = BarKeeper(Context(config), on_change=nothing)

        async def filled() -> dict[str, CryptocastError | None]:
            keeper.start()
            return await keeper.bring(["bitcoin"], Market("coingecko", "usd", "daily"), Priority.USER)

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


def test_while_the_breaker_of_the_bars_is_open_a_coin_that_is_not_there_is_a_marked_503(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeUpstream(coins=20, faults=["error"]) as fake:
        app = create_app(Context(settings(tmp_path, fake)), refresh=False)

        async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
            return [await client.get(f"/forecasts?ids=coin-{number:03}") for number in range(12)]

        answers = talk(app, conversation)
        assert app.state.service.keeper.breakers["coingecko bars"]("default").state == "open"

    assert {answer.status_code for answer in answers} == {503}
    assert all("retry-after" in answer.headers for answer in answers)
    assert "is not called" in answers[-1].json()["detail"]
    assert "coin-011 is not in the store" in answers[-1].json()["detail"]
    assert "Traceback" not in caplog.text


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


def test_a_coin_that_cannot_be_brought_says_why(tmp_path: Path) -> None:
    keeper = BarKeeper(Context(settings(tmp_path), wall_clock=lambda: datetime.now(UTC)), on_change=nothing)

    async def asked() -> CryptocastError | None:
        keeper.start()
        try:
            return await keeper.for_request(request(coin="atlantis"), DataError("There is none."))
        finally:
            await keeper.close()

    error = asyncio.run(asked())
    assert isinstance(error, (UpstreamError, DataError))


def test_a_clock_that_ran_ahead_and_came_back_leaves_nothing_undue(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, asked = Clock(), list[datetime]()

    async def bring(coins: Sequence[str], _: Priority) -> dict[str, CryptocastError | None]:
        asked.append(clock.now)
        return dict.fromkeys(coins)

    one = refresher(tmp_path, FakeForecast(), clock, bring)

    async def conversation() -> None:
        for day in (0, 40, -40):
            clock.now += timedelta(days=day)
            for _ in range(2):
                clock.forward(seconds=1)
                await one.round()
                await one.settled()

    held(one, conversation)
    right = [at for at in asked if at < NOON + timedelta(days=1)]
    assert len(right) == 2  # once at the start, once more when the clock was right again
    assert one.answers.holds((asyncio.run(_known(one)))[0])
    assert caplog.text.count("the wall clock moved by") == 2


async def _known(one: Refresher) -> list[Outcome]:
    async with one.answers.opened():
        return await one.answers.of(one.requests[:1], timeout_s=5)
