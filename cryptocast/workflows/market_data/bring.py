"""Bring the candles of coins up to date, for a server that goes on whatever fails."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from cryptocast.data.sources.base import Source
from cryptocast.data.sources.upstream import Upstream
from cryptocast.errors import CryptocastError
from cryptocast.net import Priority
from cryptocast.workflows.context import Context, NoProgress, Resolved
from cryptocast.workflows.market_data.outside_shelf import refresh_outside
from cryptocast.workflows.market_data.resolve import CoinCandles, Sources

log = logging.getLogger(__name__)

Fetched: TypeAlias = dict[str, CryptocastError | None]


def bring(
    context: Context, request: Resolved, connect: Callable[[Source], Upstream], *, priority: Priority
) -> tuple[Fetched, bool]:
    """None for each coin that is up to date, else why it is not; and whether anything was written. Raises nothing.

    Of a stranger's coin only the bars of one call are fetched, with one try. A refresh brings outside series, too.
    """
    coins, context = request.coins, replace(context, progress=NoProgress())
    fetched: Fetched = {}
    is_changed = False
    try:
        with Sources(
            context, request, connect, priority=priority, tries=1 if priority is Priority.STRANGER else 2
        ) as sources:
            for coin, outcome in sources.find_all(coins, older=False):
                fetched[coin] = None if isinstance(outcome, CoinCandles) else outcome
                is_changed |= isinstance(outcome, CoinCandles) and outcome.change is not None
        if priority is Priority.REFRESH:  # nobody waits for the answer
            refresh_outside(context)
    except CryptocastError as error:
        return {**dict.fromkeys(coins, error), **fetched}, is_changed
    except Exception:
        log.exception("fetching the candles of %d coins failed", len(coins))
        unknown = CryptocastError("The candles could not be fetched. The cause is in the log.")
        return {**dict.fromkeys(coins, unknown), **fetched}, is_changed
    return fetched, is_changed
