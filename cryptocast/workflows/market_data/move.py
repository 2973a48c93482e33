"""Give coins another source: its history is fetched first, and only what came is moved."""

from collections.abc import Callable
from dataclasses import replace

import msgspec

from cryptocast.data.sources.base import Source
from cryptocast.data.sources.table import AUTO, SOURCES, is_real
from cryptocast.data.sources.upstream import Upstream
from cryptocast.errors import UsageError
from cryptocast.registry import SourceMove
from cryptocast.workflows.context import Context
from cryptocast.workflows.market_data.connect import access_of
from cryptocast.workflows.market_data.fetch import FetchedCoin, FetchOrder, FetchReport, fetch
from cryptocast.workflows.market_data.resolve import Sources


def move(
    context: Context, order: FetchOrder, target: str, *, connect: Callable[[Source], Upstream] | None = None
) -> FetchReport:
    """Fetch the coins from the target; from then on they come from it, each with a row in the registry. Their older
    series, versions and ledger stay.

    A coin that did not come, or only in older candles, stays where it is. UsageError beside another source, or for a
    target that has no real prices.
    """
    selection = order.selection
    if selection.source is not None:
        raise UsageError("--move-to names the source already: leave --source out.")
    if not is_real(target):
        raise UsageError(f"--move-to {target}: a coin can be moved to an exchange, coingecko or file only.")
    access = access_of(context)
    before = replace(selection, source=AUTO).resolved(context.config)
    with Sources(context, before, lambda source: source.connect(access)) as sources:
        owners = {coin: sources.settled(coin) for coin in before.coins}
    there = replace(order, selection=replace(selection, source=target))
    report = fetch(context, there, connect=connect)
    moved = {
        coin.coin: owners[coin.coin]
        for coin in report.coins
        if coin.error is None and not coin.stale and owners[coin.coin] is not SOURCES[target]
    }
    moves = [_move(context, coin, before.vs, target, owner) for coin, owner in moved.items()]
    if moves:
        context.registry().record_moves(moves)
    rows = [_told(coin, target, moved[coin.coin]) if coin.coin in moved else coin for coin in report.coins]
    return msgspec.structs.replace(report, coins=tuple(rows))


def _move(context: Context, coin: str, vs: str, target: str, owner: Source | None) -> SourceMove:
    previous = None if owner is None else owner.name
    return SourceMove(coin=coin, vs=vs, source=target, previous=previous, at=context.wall_clock(), who=context.who)


def _told(row: FetchedCoin, target: str, owner: Source | None) -> FetchedCoin:
    before = "" if owner is None else f" (before: {owner.title})"
    words = f"comes from {SOURCES[target].title} from now on{before}."
    if owner is not None:
        words += f" Its older series, versions and ledger stay. Train on the new one: cryptocast train {row.coin}"
    return msgspec.structs.replace(row, notice=f"{words} {row.notice}" if row.notice else words)
