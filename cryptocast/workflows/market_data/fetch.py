"""Bring candles into the local store: only what is missing, closed bars only, with a report on their quality."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import msgspec

from cryptocast.config import Config, Granularity, SourceChoice
from cryptocast.data.coins import check_coin, check_vs
from cryptocast.data.quality import QualityReport, check_quality
from cryptocast.data.schema import Candles, SeriesKey
from cryptocast.data.sources.file.reader import FileOptions, Imported, read_file
from cryptocast.data.sources.file.source import FILE
from cryptocast.data.sources.table import SOURCES, ages_by_clock
from cryptocast.data.sources.upstream import Upstream
from cryptocast.data.store import CandleStore, WriteResult
from cryptocast.errors import CryptocastError, DataError, UpstreamError, UsageError
from cryptocast.market import Market
from cryptocast.workflows.context import NoProgress, Progress, Resolved
from cryptocast.workflows.market_data.hourly_backfill import Backfill, backfill
from cryptocast.workflows.market_data.resolve import Found, Sources

__all__ = ["FetchProblem", "FetchReport", "FetchSummary", "FetchedCoin", "FileOptions", "fetch"]

TRIES: Final = 2  # the first coin may be the one that fails by itself


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
        said = "; ".join(parts) + "."
        if self.pages_left:
            said += f" {self.pages_left:,} pages of hours are still to come: run the same command again."
        return said + (f" {self.stopped}" if self.stopped else "")


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


def fetch(
    config: Config,
    coins: Sequence[str],
    *,
    source: SourceChoice,
    vs: str,
    granularity: Granularity | None,
    now: datetime,
    upstream: Callable[[], Upstream],
    store: CandleStore,
    days: int | None = None,
    files: Sequence[Path] = (),
    file_options: FileOptions | None = None,
    replace: bool = False,
    refresh: bool = False,
    hours: bool | None = None,
    wall_clock: Callable[[], datetime] | None = None,
    cut_at: datetime | None = None,
    progress: Progress | None = None,
) -> FetchReport:
    """Fetch the coins side by side; the failure of one stands in its row and does not touch the others.

    granularity None: what the files hold, else the setting. files: of exactly one coin, read together and merged into
    its candles from earlier files; with `replace` they take their place (the old bars go to the revisions). `auto`
    without a network reports what the other commands will rest on. hours: after the daily closes bring the hours that
    give them their highs and lows (None: the setting). wall_clock: the time as it goes on, for fetches that take an
    hour; without, it stands at `now`.

    cut_at: the moment that is pretended. Bars of a file that closed later are left out, those that are fetched come and
    are not reported. What is stored always says when it truly came. UsageError if the arguments contradict each other,
    ConfigError for a key that the upstream refuses.
    """
    if files and source == "auto":
        source = "file"
    coins = tuple(dict.fromkeys(coins))
    described = replace or file_options not in (None, FileOptions())
    _check(coins, source, vs, files=bool(files), described=described)
    if files:

        def own(coin: str) -> FetchedCoin:
            closed = cut_at or now
            found = read_file(files, coin, now=closed, vs=vs, granularity=granularity, options=file_options)
            return _from_file(
                config, store, SeriesKey(Market(FILE.name, vs, found.granularity), coin), found, now, replace=replace
            )

        return _alone(own, coins, vs, progress)
    grain = granularity or config.data.granularity
    if source != "auto" and not SOURCES[source].kept_in_store:
        made = SOURCES[source]

        def loaded(coin: str) -> FetchedCoin:
            return _keep(config, store, made.load(config, SeriesKey(Market(made.name, vs, grain), coin)))

        return _alone(loaded, coins, vs, progress)
    sources = Sources(
        config,
        store,
        Resolved(coins, source, vs, grain, now=cut_at),
        wall_clock=wall_clock or (lambda: now),
        upstream_factory=upstream,
        patient=True,
        tries=TRIES,
    )
    wants_hours = config.coingecko.hours if hours is None else hours
    with sources:
        fetching = _Fetching(config, store, sources, wall_clock or (lambda: now), progress or NoProgress())
        return fetching.run(coins, source, vs, days, refresh=refresh, hours=wants_hours)


class _Fetching:
    """A fetch from the upstream: first the bars that were asked for, then the hours behind the days."""

    def __init__(
        self,
        config: Config,
        store: CandleStore,
        sources: Sources,
        clock: Callable[[], datetime],
        progress: Progress,
    ) -> None:
        self._config, self._store, self._sources = config, store, sources
        self._clock, self._progress = clock, progress

    def run(
        self, coins: Sequence[str], source: SourceChoice, vs: str, days: int | None, *, refresh: bool, hours: bool
    ) -> FetchReport:
        """The whole of it."""
        found = self._bars(coins, source, days, refresh=refresh)
        filled = self._hours(found, days) if hours else Backfill()
        rows = tuple(self._row(coin, found[coin], filled) for coin in coins)
        return FetchReport(vs=vs, coins=rows, summary=self._summary(rows, filled))

    def _bars(
        self, coins: Sequence[str], source: SourceChoice, days: int | None, *, refresh: bool
    ) -> dict[str, Found | CryptocastError]:
        found: dict[str, Found | CryptocastError] = {}
        self._progress.begin("fetch", len(coins))
        try:
            arriving = self._sources.find_all(coins, days=days, refresh=refresh, whole=True, older=source == "auto")
            for coin, outcome in arriving:
                found[coin] = outcome
                self._progress.step(coin)
        finally:
            self._progress.end()
        return found

    def _hours(self, found: dict[str, Found | CryptocastError], days: int | None) -> Backfill:
        """Of the days that came as closes only, unless their source does not answer any more."""
        keys = [outcome.bars.candles.provenance.key for outcome in found.values() if isinstance(outcome, Found)]
        daily = [key for key in keys if SOURCES[key.source].days_from_hours and key.granularity == "daily"]
        if not daily or self._sources.reach.down is not None:
            return Backfill()
        now = self._clock()
        return backfill(
            self._sources.upstream(),
            self._store,
            daily,
            now=self._clock,
            oldest=max(
                now - timedelta(days=days or self._config.data.days),
                SOURCES[daily[0].source].oldest(self._config, now),
            ),
            reach=self._sources.reach,
            progress=self._progress,
        )

    def _row(self, coin: str, outcome: Found | CryptocastError, filled: Backfill) -> FetchedCoin:
        if isinstance(outcome, CryptocastError):
            return _failed(coin, outcome)
        candles = outcome.bars.candles
        if coin in filled.days:
            candles = self._store.read(candles.provenance.key) or candles
        row = _row(self._config, candles, outcome.written)
        notice = outcome.bars.notice
        fetched = self._sources.fetched
        if row.source != fetched.name and outcome.bars.notice is None:
            own = SOURCES[candles.provenance.key.source].title
            notice = f"auto rests on {own} for {coin}; for {fetched.title}'s candles add --source {fetched.name}."
        return msgspec.structs.replace(
            row,
            stale=outcome.bars.stale,
            notice=notice,
            refined=row.refined + filled.days.get(coin, 0),
            hours=filled.hours.get(coin, 0),
            hours_problem=filled.problems.get(coin),
        )

    def _summary(self, rows: Sequence[FetchedCoin], filled: Backfill) -> FetchSummary:
        opened = self._sources.opened
        credits_now = None if opened is None else opened.budget()
        return FetchSummary(
            came=sum(row.error is None for row in rows),
            failed=sum(row.error is not None for row in rows),
            calls=0 if opened is None else opened.calls,
            hours=sum(filled.hours.values()),
            refined=sum(row.refined for row in rows),
            pages_left=filled.left,
            stopped=filled.stopped,
            credits_used=None if credits_now is None else credits_now.used,
            credits_left=None if credits_now is None else credits_now.left,
        )


def _alone(one: Callable[[str], FetchedCoin], coins: Sequence[str], vs: str, progress: Progress | None) -> FetchReport:
    """Coin by coin, without an upstream."""
    shown = progress or NoProgress()
    rows = []
    shown.begin("fetch", len(coins))
    try:
        for coin in coins:
            try:
                rows.append(one(coin))
            except (DataError, UpstreamError) as error:
                rows.append(_failed(coin, error))
            shown.step(coin)
    finally:
        shown.end()
    came = sum(row.error is None for row in rows)
    return FetchReport(vs=vs, coins=tuple(rows), summary=FetchSummary(came=came, failed=len(rows) - came))


def _failed(coin: str, error: CryptocastError) -> FetchedCoin:
    problem = FetchProblem(kind=type(error).__name__, message=str(error), exit_code=error.exit_code)
    return FetchedCoin(coin=coin, error=problem)


def _check(
    coins: Sequence[str],
    source: SourceChoice,
    vs: str,
    *,
    files: bool,
    described: bool,
) -> None:
    for coin in coins:
        check_coin(coin)
    check_vs(vs)
    imports = source == FILE.name
    if imports and not files:
        raise UsageError("--source file needs the file: add --file PATH.")
    if imports and len(coins) != 1:
        raise UsageError(
            f"A file holds the candles of one coin, {len(coins)} are named: cryptocast fetch COIN --file PATH."
        )
    if not imports and files:
        raise UsageError(f"--file does not go with --source {source}: leave one of them out.")
    if not imports and described:
        raise UsageError(
            "--stamp, --volume-unit, --decimal, --dates, --timezone and --replace are about a file: add --file PATH."
        )


def _from_file(
    config: Config, store: CandleStore, key: SeriesKey, found: Imported, now: datetime, *, replace: bool
) -> FetchedCoin:
    written = store.write(key, found.frame, fetched_at=now, notes=found.notes, replace=replace)
    stored = store.read(key)
    if stored is None:
        raise DataError(f"The candles of {key.coin} vanished from the store while they were read. Try again.")
    return _row(config, stored, written)


def _keep(config: Config, store: CandleStore, made: Candles) -> FetchedCoin:
    stated = made.provenance
    written = store.write(stated.key, made.frame, fetched_at=stated.fetched_at, notes=stated.notes, replace=True)
    return _row(config, made, written)


def _row(config: Config, candles: Candles, written: WriteResult | None) -> FetchedCoin:
    stated = candles.provenance
    return FetchedCoin(
        coin=stated.key.coin,
        source=stated.key.source,
        granularity=stated.key.granularity,
        added=written.added if written else 0,
        revised=written.revised if written else 0,
        removed=written.removed if written else 0,
        refined=written.refined if written else 0,
        rows=stated.rows,
        first=stated.first,
        last=stated.last,
        notes=stated.notes,
        quality=check_quality(
            candles.frame,
            stated.key.coin,
            stated.key.granularity,
            config.quality,
            # A coin that stopped shows by the bars that its last fetch did not bring.
            now=stated.fetched_at if ages_by_clock(stated.key.source) else None,
            stale_after_bars=config.data.stale_after_bars,
        ),
    )
