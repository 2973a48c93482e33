"""Bring candles into the local store: only what is missing, closed bars only, with a report on their quality."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import polars as pl

from cryptocast.choices import Granularity
from cryptocast.config import Config
from cryptocast.data.age import stale_after
from cryptocast.data.coins import check_coin, check_vs
from cryptocast.data.quality import QualityReport, check_quality
from cryptocast.data.schema import Candles, Provenance, SeriesKey
from cryptocast.data.sources.base import Source
from cryptocast.data.sources.file.columns import FileOptions as FileOptions
from cryptocast.data.sources.file.reader import Imported, coins_of, read_file, read_frame
from cryptocast.data.sources.file.source import FILE
from cryptocast.data.sources.table import AUTO, SOURCES, ages_by_clock
from cryptocast.data.sources.upstream import Upstream
from cryptocast.data.store import CandleStore, WriteResult
from cryptocast.errors import CryptocastError, DataError, UpstreamError, UsageError
from cryptocast.market import Market
from cryptocast.workflows.context import Context, Resolved, Selection, steps
from cryptocast.workflows.market_data.connect import access_of
from cryptocast.workflows.market_data.hourly_backfill import Backfill, backfill
from cryptocast.workflows.market_data.other_granularity import other_granularity, other_granularity_text
from cryptocast.workflows.market_data.resolve import Outcome, Sources, open_store

HOURS_BACK: Final = timedelta(days=365)  # the hours that give days their highs and lows, unless asked for more
TRIES: Final = 2  # the first coin may be the one that fails by itself


@dataclass(frozen=True, slots=True)
class FetchOrder:
    """What to fetch; None takes the setting.

    selection: without a granularity, what the file holds; its `now` is the moment that is pretended: bars of a file
    that closed later are left out, those that are fetched come and are not reported. files: of the one coin, or with a
    column that names the coin of each row, read together and merged into the candles from earlier files; with `replace`
    they take their place (the old bars go to the revisions). frame: in the place of files, a table of such rows as
    Nixtla's libraries have it, unique_id, ds (when a bar opens) and y (its close); without coins in the selection, all
    that it names. hours: after the daily closes bring the hours that give them their highs and lows.
    """

    selection: Selection = Selection()
    since: datetime | None = None
    files: Sequence[Path] = ()
    file_options: FileOptions = FileOptions()
    replace: bool = False
    refresh: bool = False
    hours: bool | None = None
    frame: pl.DataFrame | None = field(default=None, compare=False)

    @property
    def is_import(self) -> bool:
        """Whether nothing is fetched: the candles are there."""
        return bool(self.files) or self.frame is not None


class FetchProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a coin could not be fetched."""

    kind: str
    message: str
    exit_code: int


class FetchedCoin(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one coin: rows in the store now, and how many the fetch added or changed.

    refined: bars of which more is known, and nothing else has changed: days that got their high and low from their
    hours. hours: hourly bars that are new. hours_problem: why its hours did not come; its days are not touched by that.
    """

    coin: str
    source: str | None = None
    granularity: Granularity | None = None
    added: int = 0
    revised: int = 0
    removed: int = 0
    refined: int = 0
    hours: int = 0
    rows: int = 0
    first: datetime | None = None
    last: datetime | None = None
    stale: bool = False
    notice: str | None = None
    notes: tuple[str, ...] = ()
    quality: QualityReport | None = None
    hours_problem: str | None = None
    error: FetchProblem | None = None


class FetchSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The fetch as a whole.

    failed: coins that could not be had. calls: to the upstream, with retries. pages_left: pages of hours that are still
    to be had; stopped: why they were not asked for. credits_left: of this month, null where there is no bound.
    """

    came: int
    failed: int
    calls: int = 0
    hours: int = 0
    refined: int = 0
    pages_left: int = 0
    stopped: str | None = None
    credits_used: int | None = None
    credits_left: int | None = None

    def in_words(self) -> str:
        """One line, or two sentences more where something was left."""
        failed = f", {self.failed} could not be had" if self.failed else ""
        calls = "1 call" if self.calls == 1 else f"{self.calls:,} calls"
        parts = [f"{self.came} of {self.came + self.failed} coins came{failed}", calls]
        if self.hours or self.refined:
            parts.append(f"{self.hours:,} hours came, and {self.refined:,} days have their highs and lows now")
        if self.credits_left is not None:
            parts.append(f"{self.credits_left:,} credits are left this month")
        words = "; ".join(parts) + "."
        if self.pages_left:
            words += f" {self.pages_left:,} pages of hours are still to come: run the same command again."
        return words + (f" {self.stopped}" if self.stopped else "")


class FetchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a fetch did, coin by coin."""

    schema: Literal["cryptocast.fetch/1"] = "cryptocast.fetch/1"
    vs: str
    coins: tuple[FetchedCoin, ...]
    summary: FetchSummary

    @property
    def exit_code(self) -> int:
        """0 if every coin could be had; the code of the first that has a mistake or bad data; that of an upstream that
        failed only if it failed for all of them."""
        codes = [0 if coin.error is None else coin.error.exit_code for coin in self.coins]
        own = [code for code in codes if code not in (0, UpstreamError.exit_code)]
        if own:
            return own[0]
        return UpstreamError.exit_code if codes and all(codes) else 0


def fetch(context: Context, order: FetchOrder, *, connect: Callable[[Source], Upstream] | None = None) -> FetchReport:
    """Fetch the coins side by side; the failure of one stands in its row and does not touch the others.

    `auto` without a network reports what the other commands will rest on. What is stored always says when it truly
    came. connect: opens others than the sources do. UsageError if the order contradicts itself, ConfigError for a
    key that the upstream refuses.
    """
    config, store = context.config, context.candles or open_store(context.config)
    # A file that is named goes before the source of the settings.
    source = order.selection.source or (AUTO if order.is_import else config.data.source)
    if order.is_import and source == AUTO:
        source = "file"
    coins = order.selection.coins or (() if order.frame is None else coins_of(order.frame))
    request = replace(order.selection, source=source, coins=coins).resolved(config)
    _check(request, order)
    if source != AUTO and (order.is_import or not SOURCES[source].kept_in_store):
        rows = tuple(_by_itself(context, store, request, order))
        return FetchReport(vs=request.vs, coins=rows, summary=_summary(rows, Backfill(), ()))
    access = access_of(context)
    connect = connect or (lambda one: one.connect(access))
    with Sources(context, request, connect, patient=True, tries=TRIES) as sources:
        outcomes: dict[str, Outcome] = dict(
            sources.find_all(request.coins, since=order.since, refresh=order.refresh, whole=True, older=source == AUTO)
        )
        wants_hours = config.coingecko.hours if order.hours is None else order.hours
        filled = _hours(context, sources, outcomes, order.since) if wants_hours else Backfill()
        rows = tuple(_fetched(config, sources, coin, outcomes[coin], filled) for coin in request.coins)
        return FetchReport(vs=request.vs, coins=rows, summary=_summary(rows, filled, tuple(sources.opened.values())))


def _check(request: Resolved, order: FetchOrder) -> None:
    for coin in request.coins:
        check_coin(coin)
    check_vs(request.vs)
    imports = request.source == FILE.name
    if imports and not order.is_import:
        raise UsageError("--source file needs the file: add --file PATH.")
    if order.files and order.frame is not None:
        raise UsageError("Candles come from files or from a frame: leave one of them out.")
    if not imports and order.is_import:
        raise UsageError(f"--file does not go with --source {request.source}: leave one of them out.")
    if not imports and (order.replace or order.file_options != FileOptions()):
        raise UsageError(
            "--stamp, --volume-unit, --decimal, --dates, --timezone and --replace are about a file: add --file PATH."
        )


def _by_itself(context: Context, store: CandleStore, request: Resolved, order: FetchOrder) -> Iterator[FetchedCoin]:
    """Coin by coin, without an upstream."""
    with steps(context.progress, "fetch", len(request.coins)) as step:
        for coin in request.coins:
            try:
                candles, change = _kept(context, store, request, order, coin)
                row = _row(context.config, candles, change)
                if request.granularity != row.granularity:
                    row = _with_other_bars(store, request, row)
                yield msgspec.structs.replace(row, stale=_is_old(context, request, candles.provenance))
            except (DataError, UpstreamError) as error:
                yield _failed(coin, error)
            step(coin)


def _is_old(context: Context, request: Resolved, facts: Provenance) -> bool:
    """Whether the bars of a source that nobody fetches should have newer ones behind them."""
    if not ages_by_clock(facts.key.source):
        return False
    late = stale_after(facts.last, facts.key.granularity, context.config.data.stale_after_bars)
    return (request.now or context.wall_clock()) > late


def _with_other_bars(store: CandleStore, request: Resolved, row: FetchedCoin) -> FetchedCoin:
    """Of a file whose bars are not those that the settings have, and that other commands look for."""
    other = other_granularity(store, SeriesKey(Market(request.source, request.vs, request.granularity), row.coin))
    return row if other is None else msgspec.structs.replace(row, notice=other_granularity_text(other))


def _kept(
    context: Context, store: CandleStore, request: Resolved, order: FetchOrder, coin: str
) -> tuple[Candles, WriteResult]:
    """The candles of a file, or of a source that makes its own, put into the store."""
    if not order.is_import:
        key = SeriesKey(Market(request.source, request.vs, request.granularity), coin)
        candles = SOURCES[request.source].load(context.config, key)
        frame, notes, fetched_at = candles.frame, candles.provenance.notes, candles.provenance.fetched_at
    else:
        fetched_at = context.wall_clock()
        imported = _imported(request, order, coin, request.now or fetched_at)
        key = SeriesKey(Market(FILE.name, request.vs, imported.granularity), coin)
        frame, notes = imported.frame, imported.notes
    change = store.write(key, frame, fetched_at=fetched_at, notes=notes, replace=order.replace or not order.is_import)
    stored = store.read(key)
    if stored is None:
        raise DataError(f"The candles of {coin} vanished from the store while they were read. Try again.")
    return stored, change


def _imported(request: Resolved, order: FetchOrder, coin: str, now: datetime) -> Imported:
    granularity = order.selection.granularity
    if order.frame is not None:
        return read_frame(order.frame, coin, now=now, vs=request.vs, granularity=granularity)
    return read_file(
        order.files,
        coin,
        now=now,
        vs=request.vs,
        granularity=granularity,
        options=order.file_options,
        names_coins=len(request.coins) > 1,
    )


def _hours(context: Context, sources: Sources, outcomes: Mapping[str, Outcome], since: datetime | None) -> Backfill:
    """Of the days that came as closes only, unless their source does not answer any more."""
    keys = [one.candles.provenance.key for one in outcomes.values() if not isinstance(one, CryptocastError)]
    daily = [key for key in keys if SOURCES[key.source].days_from_hours and key.granularity == "daily"]
    if not daily:
        return Backfill()
    source, now = SOURCES[daily[0].source], context.wall_clock()
    if sources.reach(source).down is not None:
        return Backfill()
    return backfill(
        sources.upstream(source),
        sources.store,
        daily,
        now=context.wall_clock,
        oldest=max(since or now - HOURS_BACK, source.oldest(context.config, now)),
        reach=sources.reach(source),
        progress=context.progress,
    )


def _fetched(config: Config, sources: Sources, coin: str, outcome: Outcome, filled: Backfill) -> FetchedCoin:
    if isinstance(outcome, CryptocastError):
        return _failed(coin, outcome)
    candles = outcome.candles
    if coin in filled.days:
        candles = sources.store.read(candles.provenance.key) or candles
    row = _row(config, candles, outcome.change)
    notice, source = outcome.notice, SOURCES[candles.provenance.key.source]
    if not source.ages_by_clock and notice is None:
        notice = f"auto uses {source.title} for {coin}; to fetch it: cryptocast fetch {coin} --move-to SOURCE"
    return msgspec.structs.replace(
        row,
        stale=outcome.stale,
        notice=notice,
        refined=row.refined + filled.days.get(coin, 0),
        hours=filled.hours.get(coin, 0),
        hours_problem=filled.problems.get(coin),
    )


def _failed(coin: str, error: CryptocastError) -> FetchedCoin:
    problem = FetchProblem(kind=type(error).__name__, message=str(error), exit_code=error.exit_code)
    return FetchedCoin(coin=coin, error=problem)


def _row(config: Config, candles: Candles, change: WriteResult | None) -> FetchedCoin:
    facts = candles.provenance
    counts: dict[str, Any] = {name: getattr(change, name, 0) for name in ("added", "revised", "removed", "refined")}
    return FetchedCoin(
        coin=facts.key.coin,
        source=facts.key.source,
        granularity=facts.key.granularity,
        **counts,
        rows=facts.rows,
        first=facts.first,
        last=facts.last,
        notes=facts.notes,
        quality=check_quality(
            candles.frame,
            facts.key.coin,
            facts.key.granularity,
            config.quality,
            # A series that ended shows by the bars that its last fetch or import did not bring.
            now=facts.fetched_at if ages_by_clock(facts.key.source) else None,
            stale_after_bars=config.data.stale_after_bars,
        ),
    )


def _summary(rows: Sequence[FetchedCoin], filled: Backfill, upstreams: Sequence[Upstream]) -> FetchSummary:
    credits_now = next((budget for upstream in upstreams if (budget := upstream.budget()) is not None), None)
    return FetchSummary(
        came=sum(row.error is None for row in rows),
        failed=sum(row.error is not None for row in rows),
        calls=sum(upstream.calls for upstream in upstreams),
        hours=sum(filled.hours.values()),
        refined=sum(row.refined for row in rows) if upstreams else 0,
        pages_left=filled.left,
        stopped=filled.stopped,
        credits_used=None if credits_now is None else credits_now.used,
        credits_left=None if credits_now is None else credits_now.left,
    )
