"""Whether another source has bars of a coin from before its own begin: what `fetch --move-to` would bring."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.base import TOLERANCE, Source
from cryptocast.data.sources.upstream import Upstream
from cryptocast.errors import CryptocastError
from cryptocast.market import Market
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.market_data.resolve import Sources

LOOK_BACK: Final = timedelta(days=300)  # one call of any source


@dataclass(frozen=True, slots=True)
class LongerHistory:
    """source: has bars of the coin that closed before `first`, the oldest of its own source."""

    coin: str
    own: Source
    first: datetime
    source: Source


def longer_histories(
    context: Context, request: Resolved, others: Sequence[Source], connect: Callable[[Source], Upstream]
) -> Iterator[LongerHistory]:
    """Of each coin of the request with stored bars the first of `others` that goes back further; a call for each that
    is asked. One that does not answer is passed over."""
    now = context.wall_clock()
    with Sources(context, request, connect) as sources:
        for coin in request.coins:
            own = sources.settled(coin)
            stored = None if own is None else sources.store.load(_key(own, coin, request))
            if own is None or stored is None:
                continue
            first = stored.provenance.first
            for source in others:
                if source is not own and _has_earlier_bars(sources, source, _key(source, coin, request), first, now):
                    yield LongerHistory(coin, own, first, source)
                    break


def _key(source: Source, coin: str, request: Resolved) -> SeriesKey:
    return SeriesKey(Market(source.name, request.vs, request.granularity), coin)


def _has_earlier_bars(sources: Sources, source: Source, key: SeriesKey, first: datetime, now: datetime) -> bool:
    end = first - TOLERANCE
    start = max(end - LOOK_BACK, source.oldest(sources.config, now))
    try:
        if start >= end or not source.lists(sources.upstream(source), key, now):
            return False
        upstream = sources.upstream(source)
        pages = source.pages(key, [(start, end)], now)
        return any(not upstream.run(upstream.page(page, now)).frame.is_empty() for page in pages[:1])
    except CryptocastError:
        return False
