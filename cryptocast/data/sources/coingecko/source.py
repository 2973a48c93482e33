"""CoinGecko as a source of candles, and what the processes of one store share of it.

The limit of the minute, the credits of the month and the list of coins lie in files below the store.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from cryptocast.choices import Granularity
from cryptocast.config import CoinGeckoConfig, Config
from cryptocast.data.coin_names import coins_in_table
from cryptocast.data.coins import suggestion
from cryptocast.data.intervals import Span
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.base import SETTLED, Access, Source, SourceFinding, VolumeUnit
from cryptocast.data.sources.coingecko.backfill import DAY, PAGE_DAYS, pages_of
from cryptocast.data.sources.coingecko.checkup import credit_findings, key_finding, probe
from cryptocast.data.sources.coingecko.client import COIN_LIST, CoinGecko, calls_per_minute, oldest
from cryptocast.data.sources.coingecko.coin_list import CoinList, read_coin_list
from cryptocast.data.sources.coingecko.quota import Credits
from cryptocast.data.sources.upstream import Page
from cryptocast.net import Limiter

CACHE: Final = Path("cache") / "coingecko"
RUN: Final = Path("run")


class CoinGeckoSource(Source):
    """Closes of thousands of coins; days get their highs and lows from the hours."""

    name: ClassVar[str] = "coingecko"
    title: ClassVar[str] = "CoinGecko"
    is_fetched: ClassVar[bool] = True
    days_from_hours: ClassVar[bool] = True

    def explain_missing(self, config: Config, key: SeriesKey) -> str:
        """With a guess at what was meant, from the list that was kept on disk, else from the well-known coins."""
        hint = ""
        if key.coin not in coins_in_table():
            listed = coin_list_of(config)
            hint = (listed.suggestion(key.coin) if listed is not None else "") or suggestion(key.coin)
        return f"{key.coin} is not in the store.{hint}"

    def volume_unit(self, granularity: Granularity) -> VolumeUnit:
        """Hourly volume is a sum over the last 24 hours."""
        return "rolling_24h" if granularity == "hourly" else "bar"

    def oldest(self, config: Config, now: datetime) -> datetime:
        """As the plan has it."""
        return oldest(config.coingecko.plan, now)

    def pages(self, key: SeriesKey, spans: Sequence[Span], now: datetime) -> tuple[Page, ...]:
        """Days come in one call up to now, hours in pages of at most 90 days."""
        return pages_of(key, spans, now)

    def days_a_call(self, granularity: Granularity) -> int | None:
        """What is longer than 90 days comes in days."""
        return PAGE_DAYS if granularity == "hourly" else None

    def settled(self, page: Page, now: datetime) -> Span | None:
        """Of the newest hours only those that the call can have brought."""
        start = page.start
        if page.ends_now and page.key.granularity == "hourly":
            start = max(start, now - PAGE_DAYS * DAY)  # counted back from the call, which may come later than planned
        end = min(page.end, now - SETTLED)
        return (start, end) if start < end else None

    def connect(self, access: Access) -> CoinGecko:
        """With the limit, the credits and the list of coins of the store."""
        config, coingecko = access.config, access.config.coingecko
        if access.deadline_s is not None:
            coingecko = msgspec.structs.replace(coingecko, deadline_s=min(access.deadline_s, coingecko.deadline_s))
        calls = config.store.path / RUN / f"coingecko-{coingecko.plan}-calls.json"
        return CoinGecko(
            coingecko,
            api_key=access.api_key,
            limiter=Limiter(calls_per_minute(coingecko), state_file=calls),
            credits=credits_of(config, access.wall_clock),
            cache=config.store.path / CACHE,
            breaker=access.breaker,
            on_try=access.on_try,
        )

    def findings(self, config: Config, environ: Mapping[str, str]) -> Iterable[SourceFinding]:
        """The key, and the credits of the month."""
        return (key_finding(config, environ), *credit_findings(credits_of(config, lambda: datetime.now(UTC))))

    def probe(self, config: Config, api_key: str | None) -> str:
        """See `checkup.probe`."""
        return probe(config, api_key)


COINGECKO: Final = CoinGeckoSource()


def credits_of(config: Config, wall_clock: Callable[[], datetime]) -> Credits:
    """The budget of the month of the store."""
    path = config.store.path / RUN / f"coingecko-{config.coingecko.plan}-credits.json"
    return Credits(path, per_month=monthly_credits(config.coingecko), now=wall_clock)


def monthly_credits(coingecko: CoinGeckoConfig) -> int:
    """The calls that the plan gives in a month; 0: no bound."""
    return {"keyless": 0, "demo": coingecko.monthly_credits, "pro": coingecko.pro_monthly_credits}[coingecko.plan]


def coin_list_of(config: Config) -> CoinList | None:
    """The list of coins that was kept on disk, of whatever age; None if there is none."""
    return read_coin_list(config.store.path / CACHE / COIN_LIST)
