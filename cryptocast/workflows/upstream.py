"""How a use case reaches CoinGecko: built when it is first needed, with the settings and the key of the context.

Every process of a store shares the limit of the minute, the credits of the month and the list of coins, through files
below the store.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptocast.config import CoinGeckoConfig, Config
from cryptocast.data.sources.coingecko.client import COIN_LIST, CoinGecko, calls_per_minute
from cryptocast.data.sources.coingecko.coin_list import CoinList, read_coin_list
from cryptocast.data.sources.coingecko.credits import Credits
from cryptocast.net import Breaker, Limiter, Try
from cryptocast.workflows.context import Context

__all__ = ["coin_list_of", "credits_of", "monthly_credits", "upstream_factory"]

CACHE: Final = Path("cache") / "coingecko"
RUN: Final = Path("run")


def upstream_factory(
    context: Context,
    *,
    breakers: Callable[[str], Breaker] | None = None,
    on_try: Callable[[Try], None] | None = None,
) -> Callable[[], CoinGecko]:
    """A function that opens the upstream; whoever calls it closes what it gives. breakers: by class of endpoints.
    on_try hears of each request that went out."""
    config = context.config

    def opened() -> CoinGecko:
        return CoinGecko(
            config.coingecko,
            api_key=context.api_key,
            limiter=Limiter(
                calls_per_minute(config.coingecko),
                state_file=config.store.path / RUN / f"coingecko-{config.coingecko.plan}-calls.json",
            ),
            credits=credits_of(context),
            cache=config.store.path / CACHE,
            breakers=breakers,
            on_try=on_try,
        )

    return opened


def credits_of(context: Context) -> Credits:
    """The budget of the month of the store."""
    coingecko = context.config.coingecko
    path = context.config.store.path / RUN / f"coingecko-{coingecko.plan}-credits.json"
    return Credits(path, per_month=monthly_credits(coingecko), now=context.wall_clock)


def monthly_credits(coingecko: CoinGeckoConfig) -> int:
    """The calls that the plan gives in a month; 0: no bound."""
    return {"keyless": 0, "demo": coingecko.monthly_credits, "pro": coingecko.pro_monthly_credits}[coingecko.plan]


def coin_list_of(config: Config) -> CoinList | None:
    """The list of coins that was kept on disk, of whatever age; None if there is none."""
    return read_coin_list(config.store.path / CACHE / COIN_LIST)
