"""What the leader tells of what it serves: each condition once, and in nobody's way."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from cryptocast.config import NotifyConfig
from cryptocast.errors import RegistryError
from cryptocast.registry import Registry
from cryptocast.serving import create_app
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.lifecycle.notice_duty import NoticeDuty
from cryptocast.workflows.notices.receiver import receiver_of
from cryptocast.workflows.reports import CoinForecast, ForecastDocument
from tests.serving.serving_app import NOON, Clock, FakeForecast, config, talk, until
from tests.workflows.notices.local_receiver import listening

BROKEN = Fallback(code=FallbackCode.ARTEFACT, version="bitcoin/lightgbm:3")


def answer(*, stale: bool = False, fallback: Fallback | None = None) -> CoinForecast:
    request = Request(Selection(vs="usd", granularity="daily"), "auto")
    return msgspec.structs.replace(FakeForecast().made("bitcoin", request), stale=stale, fallback_reason=fallback)


class Desk:
    """A duty whose forecasts and clock a test sets."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.clock, self.served = Clock(), dict[str, CoinForecast]()
        self.context = Context(config(store=folder), wall_clock=self.clock, clock=self.clock.seconds)
        receiver = None if url is None else receiver_of(url, NotifyConfig())
        self.duty = NoticeDuty(self.context, receiver, lambda: True, self.served)

    def look(self, forecast: CoinForecast, **later: float) -> list[str]:
        """The codes in the outbox when the forecast is looked at, so much later."""
        self.clock.forward(**later)
        self.served["bitcoin"] = forecast
        asyncio.run(self.duty.perform())
        return [entry.notice.code for entry in self.context.registry(create=False).outbox()]


def test_where_all_is_well_nothing_is_told_and_no_registry_made(tmp_path: Path) -> None:
    assert Desk(tmp_path).look(answer()) == []
    assert list(tmp_path.iterdir()) == []


def test_the_registry_is_opened_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, open_ = list[threading.Thread](), Registry.open

    def noted(*args: Any, **named: Any) -> Registry:
        threads.append(threading.current_thread())
        return open_(*args, **named)

    desk = Desk(tmp_path)
    monkeypatch.setattr(Registry, "open", noted)
    asyncio.run(desk.duty.perform())
    assert threads
    assert threading.main_thread() not in threads


def test_stale_candles_are_told_once_until_they_are_fresh_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.look(answer(stale=True)) == []  # they may be on their way
    assert desk.look(answer(stale=True), minutes=14) == []
    assert desk.look(answer(stale=True), minutes=1) == ["stale"]
    assert desk.look(answer(stale=True), hours=30) == ["stale"]
    assert desk.look(answer(), hours=1) == ["stale"]
    assert desk.look(answer(stale=True), hours=1) == ["stale"]
    assert desk.look(answer(stale=True), minutes=15) == ["stale", "stale"]


def test_a_fallback_is_told_when_it_has_lasted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.look(answer(fallback=BROKEN)) == []
    assert desk.look(answer(fallback=BROKEN), minutes=59) == []
    assert desk.look(answer(), minutes=1) == []  # it was over before it was long
    assert desk.look(answer(fallback=BROKEN), minutes=1) == []
    assert desk.look(answer(fallback=BROKEN), minutes=60) == ["fallback"]
    assert desk.look(answer(fallback=BROKEN), minutes=60) == ["fallback"]
    (entry,) = desk.context.registry().outbox()
    assert entry.notice.facts["minutes"] == 60.0


def test_another_leader_does_not_tell_again_of_what_goes_on(tmp_path: Path) -> None:
    first = Desk(tmp_path)
    first.look(answer(fallback=BROKEN))
    assert first.look(answer(fallback=BROKEN), minutes=60) == ["fallback"]
    second = Desk(tmp_path)  # which does not know for how long it has been so
    assert second.look(answer(fallback=BROKEN)) == ["fallback"]
    assert second.look(answer(fallback=BROKEN), minutes=60) == ["fallback"]


def test_what_is_due_is_sent(tmp_path: Path) -> None:
    with listening() as receiver:
        desk = Desk(tmp_path, receiver.url)
        for minutes in (0, 15, 5):
            desk.look(answer(stale=True), minutes=minutes)
    assert [body["code"] for body in receiver.bodies] == ["stale"]


def test_who_does_not_lead_does_nothing_and_trouble_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path)
    leads, rounds = [False], [0]

    def may_lead() -> bool:
        rounds[0] += 1
        if rounds[0] > 8:
            raise asyncio.CancelledError
        if rounds[0] > 5:
            raise RegistryError("it is busy")
        return leads[0]

    desk.served["bitcoin"] = answer(stale=True)
    duty = replace(desk.duty, leads=may_lead, every_s=0.0)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(duty.run())
    assert desk.context.registry(create=False).outbox() == ()
    assert caplog.text.count("it is busy") == 1


class StaleForecast(FakeForecast):
    """Answers with candles that are late."""

    def __call__(self, request: Request) -> ForecastDocument:
        (one,) = super().__call__(request).forecasts
        return ForecastDocument(forecasts=(msgspec.structs.replace(one, stale=True),))


def test_a_server_tells_and_answers_meanwhile_although_nobody_takes_it(tmp_path: Path) -> None:
    with listening() as receiver:
        receiver.goes_on.clear()
        context = Context(config(store=tmp_path), wall_clock=lambda: NOON, notify_url=receiver.url)
        app = create_app(context, forecast=StaleForecast(), refresh=True)
        notices = app.state.server.notices
        notices.every_s, notices.stale_minutes = 0.05, 0.0

        async def conversation(client: httpx.AsyncClient) -> int:
            await until(lambda: receiver.bodies)  # it came, and hangs
            return (await client.get("/forecasts?ids=bitcoin")).status_code

        assert talk(app, conversation) == 200
        receiver.goes_on.set()
    assert {body["code"] for body in receiver.bodies} == {"stale"}
    facts = {entry.notice.facts["coin"] for entry in Registry.open(tmp_path).outbox()}
    assert facts == set(context.config.data.coins)
