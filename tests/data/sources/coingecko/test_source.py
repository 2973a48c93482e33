from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from cryptocast.config import CoinGeckoConfig, Config, StoreConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.coingecko.source import COINGECKO, monthly_credits
from cryptocast.data.sources.upstream import Page
from cryptocast.market import Market

NOW = datetime(2026, 1, 2, 15, tzinfo=UTC)
DAY = timedelta(days=1)
HOURS = SeriesKey(Market("coingecko", "usd", "hourly"), "bitcoin")


def config(path: Path, **coingecko: object) -> Config:
    settings = msgspec.convert(coingecko, CoinGeckoConfig)
    return Config(store=StoreConfig(path=path), coingecko=settings)


def test_free_plans_see_a_year_less_the_hour_in_which_it_slides_and_pro_sees_all(tmp_path: Path) -> None:
    assert NOW - COINGECKO.oldest(config(tmp_path), NOW) == 365 * DAY - timedelta(hours=1)
    assert COINGECKO.oldest(config(tmp_path, plan="pro"), NOW).year == 2009


def test_hours_come_in_pages_of_ninety_days_at_most_newest_first(tmp_path: Path) -> None:
    pages = COINGECKO.pages(HOURS, [(NOW - 200 * DAY, NOW)], NOW)
    assert [page.ends_now for page in pages] == [True, False, False]
    assert all(page.end - page.start <= 90 * DAY for page in pages)
    assert (pages[-1].start, pages[0].end) == (NOW - 200 * DAY, NOW)


def test_of_the_newest_hours_only_those_are_settled_that_the_call_can_have_brought() -> None:
    page = Page(HOURS, NOW - 95 * DAY, NOW, ends_now=True)
    assert COINGECKO.settled(page, NOW) == (NOW - 90 * DAY, NOW - DAY)
    assert COINGECKO.settled(Page(HOURS, NOW - DAY, NOW, ends_now=True), NOW) is None


@pytest.mark.parametrize(("plan", "credits"), [("keyless", 0), ("demo", 10_000), ("pro", 77)])
def test_the_month_has_the_credits_of_the_plan(plan: str, credits: int) -> None:  # noqa: A002
    settings = msgspec.convert({"plan": plan, "pro_monthly_credits": 77}, CoinGeckoConfig)
    assert monthly_credits(settings) == credits


def test_doctor_hears_of_the_key_and_of_the_month(tmp_path: Path) -> None:
    (key,) = COINGECKO.findings(config(tmp_path), {})
    assert (key.name, key.status) == ("key", "ok")
    missing, _ = COINGECKO.findings(config(tmp_path, plan="demo"), {})
    assert (missing.status, "not set" in missing.summary) == ("warn", True)
    present, month = COINGECKO.findings(config(tmp_path, plan="demo"), {"CRYPTOCAST_COINGECKO_API_KEY": "CG-secret"})
    assert (present.status, "CG-secret" in present.summary) == ("ok", False)
    assert month.summary.startswith("0 of 10,000 used")
