"""The outside series of a command: fetched when a feature needs them, else what the store has, and that is said."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from cryptocast.config import Config, ExchangesConfig, FeaturesConfig, SeriesConfig, StoreConfig
from cryptocast.errors import DataError
from cryptocast.net import Priority
from cryptocast.rehearsal import FakeUpstream, Rule
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.market_data.bring import Fetched, bring
from cryptocast.workflows.market_data.connect import access_of
from cryptocast.workflows.market_data.outside_shelf import OutsideShelf

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
LAST = datetime(2026, 3, 1, tzinfo=UTC)
DVOL = {"dvol": SeriesConfig(source="deribit")}


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    with FakeUpstream(now=NOW) as fake:
        yield fake


def context(fake: FakeUpstream, folder: Path) -> Context:
    config = Config(
        store=StoreConfig(path=folder),
        exchanges=ExchangesConfig(base_url=fake.origin, max_retries=0),
        features=FeaturesConfig(file="mine.py"),
        series=DVOL,
    )
    return Context(config=config, wall_clock=lambda: NOW, who="test")


def test_nothing_is_fetched_before_a_feature_asks_for_it_and_then_once(fake: FakeUpstream, tmp_path: Path) -> None:
    shelf = OutsideShelf(context(fake, tmp_path), LAST, is_online=True)
    assert (shelf.series(()), fake.calls.count("volatility_index")) == ((), 0)
    (series,) = shelf.series(["dvol"])
    calls = fake.calls.count("volatility_index")
    assert (series.moments[-1], calls, shelf.notices) == (LAST, 2, ())
    assert shelf.series(["dvol"]) == (series,)
    OutsideShelf(context(fake, tmp_path), LAST, is_online=True).series(["dvol"])
    assert fake.calls.count("volatility_index") == calls


def test_without_the_upstream_the_store_answers_and_the_notice_says_so(fake: FakeUpstream, tmp_path: Path) -> None:
    used = context(fake, tmp_path)
    OutsideShelf(used, LAST - timedelta(days=2), is_online=True).series(["dvol"])
    fake.script([Rule(fault="error")])
    shelf = OutsideShelf(used, LAST, is_online=True)
    (series,) = shelf.series(["dvol"])
    assert series.moments[-1] == LAST - timedelta(days=2)
    (notice,) = shelf.notices
    assert notice.startswith("Deribit answered with the error 500")
    assert notice.endswith(": the newest value of dvol came at 2026-02-27 00:00 UTC")
    offline = OutsideShelf(used, LAST + timedelta(days=1))
    offline.series(["dvol"])
    assert offline.notices == ()  # two days are no reason to worry
    assert OutsideShelf(used, LAST + timedelta(days=9)).notices == ()


def test_where_nothing_was_known_that_is_said(fake: FakeUpstream, tmp_path: Path) -> None:
    shelf = OutsideShelf(context(fake, tmp_path), datetime(2020, 1, 17, tzinfo=UTC), is_online=True)
    (series,) = shelf.series(["dvol"])
    assert (len(series.values), fake.calls.count("volatility_index")) == (0, 0)
    assert shelf.notices == ("no value of dvol was known by 2020-01-17 00:00 UTC",)


def test_an_unknown_series_is_refused(fake: FakeUpstream, tmp_path: Path) -> None:
    for shelf in (OutsideShelf(), OutsideShelf(context(fake, tmp_path), LAST)):
        with pytest.raises(DataError, match=r"Add a section \[series\.other\]"):
            shelf.series(["other"])


def brought(used: Context, *, priority: Priority) -> tuple[Fetched, bool]:
    request = Resolved(("bitcoin",), "bitstamp", "usd", "daily", now=None)
    return bring(used, request, lambda source: source.connect(access_of(used)), priority=priority)


@pytest.mark.parametrize("priority", [Priority.REFRESH, Priority.STRANGER])
def test_a_server_brings_it_with_its_own_candles_only(fake: FakeUpstream, tmp_path: Path, priority: Priority) -> None:
    used = context(fake, tmp_path)
    fetched, is_changed = brought(used, priority=priority)
    assert (fetched, is_changed) == ({"bitcoin": None}, True)
    assert (fake.calls.count("volatility_index") > 0) == (priority is Priority.REFRESH)


def test_a_server_goes_on_without_it(fake: FakeUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    used = context(fake, tmp_path)
    fake.script([Rule(fault="error", endpoints=("volatility_index",))])
    fetched, _ = brought(used, priority=Priority.REFRESH)
    assert fetched == {"bitcoin": None}
    assert "dvol is not up to date: Deribit answered with the error 500" in caplog.text
    without = msgspec.structs.replace(used.config, features=FeaturesConfig())
    calls = fake.calls.count("volatility_index")
    brought(replace(used, config=without), priority=Priority.REFRESH)
    assert fake.calls.count("volatility_index") == calls
