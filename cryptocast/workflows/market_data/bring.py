"""Bring the candles of coins up to date, for a server that goes on whatever fails."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeAlias

import msgspec

from cryptocast.config import SourceChoice
from cryptocast.data.sources.base import Access
from cryptocast.data.sources.table import SOURCES
from cryptocast.errors import CryptocastError
from cryptocast.market import Market
from cryptocast.net import Priority
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.market_data.connect import upstream_factory
from cryptocast.workflows.market_data.outside_shelf import refresh_outside
from cryptocast.workflows.market_data.resolve import CoinCandles, Sources, open_store

log = logging.getLogger(__name__)

Fetched: TypeAlias = dict[str, CryptocastError | None]


def bring(
    context: Context, coins: Sequence[str], market: Market, access: Access, *, priority: Priority
) -> tuple[Fetched, bool]:
    """None for each coin that is up to date, else why it is not; and whether anything was written. Raises nothing.

    market: one that is fetched. Of a stranger's coin only the bars of one call are fetched, with one try. A refresh
    brings outside series, too.
    """
    config, is_strangers = context.config, priority is Priority.STRANGER
    most = SOURCES[market.source].days_a_call(market.granularity) if is_strangers else None
    source: SourceChoice = msgspec.convert(market.source, SourceChoice)
    fetched: Fetched = {}
    is_changed = False
    try:
        with Sources(
            config,
            context.candles or open_store(config),
            Resolved(tuple(coins), source, market.vs, market.granularity, now=None),
            wall_clock=context.wall_clock,
            upstream_factory=upstream_factory(market.source, access),
            priority=priority,
            tries=1 if is_strangers else 2,
        ) as sources:
            since = None if most is None else context.wall_clock() - timedelta(days=most)
            for coin, outcome in sources.find_all(coins, since=since, older=False):
                fetched[coin] = None if isinstance(outcome, CoinCandles) else outcome
                is_changed |= isinstance(outcome, CoinCandles) and outcome.change is not None
        if priority is Priority.REFRESH:  # nobody waits for the answer
            refresh_outside(context, access)
    except CryptocastError as error:
        return {**dict.fromkeys(coins, error), **fetched}, is_changed
    except Exception:
        log.exception("fetching the candles of %d coins failed", len(coins))
        unknown = CryptocastError("The candles could not be fetched. The cause is in the log.")
        return {**dict.fromkeys(coins, unknown), **fetched}, is_changed
    return fetched, is_changed
