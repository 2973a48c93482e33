"""Bring candles into the local store: only what is missing, closed bars only, with a report on their quality."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from cryptocast.config import Config, Granularity, SourceChoice
from cryptocast.data.coingecko import CoinGecko
from cryptocast.data.coins import check_coin, check_vs
from cryptocast.data.file_source import Imported, Stamp, VolumeUnit, read_file
from cryptocast.data.quality import QualityReport, check_quality
from cryptocast.data.schema import Candles, SeriesKey
from cryptocast.data.store import CandleStore, WriteResult
from cryptocast.errors import DataError, UpstreamError, UsageError
from cryptocast.workflows.candles import NEED_NO_STORE, Sources, without_store
from cryptocast.workflows.context import NoProgress, Progress

__all__ = ["FetchProblem", "FetchReport", "FetchedCoin", "fetch"]


class FetchProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a coin could not be fetched."""

    kind: str
    message: str
    exit_code: int


class FetchedCoin(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one coin: rows in the store now, and how many the fetch added or changed."""

    coin: str
    source: str | None = None
    granularity: Granularity | None = None
    added: int = 0
    revised: int = 0
    removed: int = 0
    rows: int = 0
    first: datetime | None = None
    last: datetime | None = None
    stale: bool = False
    notice: str | None = None
    notes: tuple[str, ...] = ()
    quality: QualityReport | None = None
    error: FetchProblem | None = None


class FetchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a fetch did, coin by coin."""

    schema: Literal["cryptocast.fetch/1"] = "cryptocast.fetch/1"
    vs: str
    coins: tuple[FetchedCoin, ...]

    @property
    def exit_code(self) -> int:
        """0 if every coin could be had, else the code of the first that could not."""
        return next((coin.error.exit_code for coin in self.coins if coin.error is not None), 0)


def fetch(
    config: Config,
    coins: Sequence[str],
    *,
    source: SourceChoice,
    vs: str,
    granularity: Granularity | None,
    now: datetime,
    upstream: Callable[[], CoinGecko],
    store: CandleStore,
    days: int | None = None,
    file: Path | None = None,
    stamp: Stamp | None = None,
    volume_unit: VolumeUnit | None = None,
    refresh: bool = False,
    progress: Progress | None = None,
) -> FetchReport:
    """Fetch each coin; the failure of one stands in its row and does not touch the others.

    granularity None: what the file holds, else the setting. A file replaces the coin's candles from an earlier file
    (the old bars go to the revisions); it needs exactly one coin. `auto` without a network reports what the other
    commands will rest on. UsageError if the arguments contradict each other.
    """
    if file is not None and source == "auto":
        source = "file"
    _check(coins, source, vs, file, stamp, volume_unit)
    shown = progress or NoProgress()
    sources = Sources(
        config,
        store,
        source=source,
        vs=vs,
        granularity=granularity or config.data.granularity,
        now=None,
        wall_clock=lambda: now,
        upstream_factory=upstream,
    )

    def one(coin: str) -> FetchedCoin:
        if file is not None:
            found = read_file(file, coin, now=now, vs=vs, granularity=granularity, stamp=stamp, volume_unit=volume_unit)
            return _from_file(config, store, coin, vs, found, now)
        if source in NEED_NO_STORE:
            made = without_store(config, source, coin, vs=vs, granularity=granularity or config.data.granularity)
            return _keep(config, store, made)
        return _from_upstream(config, sources, coin, source, days, refresh=refresh)

    rows = []
    shown.begin("fetch", len(coins))
    try:
        for coin in coins:
            rows.append(_attempt(one, coin))
            shown.step(coin)
    finally:
        sources.close()
        shown.end()
    return FetchReport(vs=vs, coins=tuple(rows))


def _attempt(one: Callable[[str], FetchedCoin], coin: str) -> FetchedCoin:
    try:
        return one(coin)
    except (DataError, UpstreamError) as error:
        problem = FetchProblem(kind=type(error).__name__, message=str(error), exit_code=error.exit_code)
        return FetchedCoin(coin=coin, error=problem)


def _check(
    coins: Sequence[str],
    source: SourceChoice,
    vs: str,
    file: Path | None,
    stamp: Stamp | None,
    volume_unit: VolumeUnit | None,
) -> None:
    for coin in coins:
        check_coin(coin)
    check_vs(vs)
    if source == "file" and file is None:
        raise UsageError("--source file needs the file: add --file PATH.")
    if source == "file" and len(coins) != 1:
        raise UsageError(
            f"A file holds the candles of one coin, {len(coins)} are named: cryptocast fetch COIN --file PATH."
        )
    if source != "file" and file is not None:
        raise UsageError(f"--file does not go with --source {source}: leave one of them out.")
    if source != "file" and (stamp is not None or volume_unit is not None):
        raise UsageError("--stamp and --volume-unit describe a file: add --file PATH.")


def _from_file(config: Config, store: CandleStore, coin: str, vs: str, found: Imported, now: datetime) -> FetchedCoin:
    key = SeriesKey("file", vs, found.granularity, coin)
    written = store.write(key, found.frame, fetched_at=now, notes=found.notes, replace=True)
    stored = store.read(key)
    if stored is None:
        raise DataError(f"The candles of {coin} vanished from the store while they were read. Try again.")
    return _row(config, stored, written)


def _keep(config: Config, store: CandleStore, made: Candles) -> FetchedCoin:
    stated = made.provenance
    written = store.write(stated.key, made.frame, fetched_at=stated.fetched_at, notes=stated.notes, replace=True)
    return _row(config, made, written)


def _from_upstream(
    config: Config, sources: Sources, coin: str, source: SourceChoice, days: int | None, *, refresh: bool
) -> FetchedCoin:
    found = sources.find(coin, days=days, refresh=refresh, whole=True, older=source == "auto")
    row = _row(config, found.bars.candles, found.written)
    notice = found.bars.notice
    if row.source == "file":
        notice = f"auto rests on your own file for {coin}; for CoinGecko's candles add --source coingecko."
    return msgspec.structs.replace(row, stale=found.bars.stale, notice=notice)


def _row(config: Config, candles: Candles, written: WriteResult | None) -> FetchedCoin:
    stated = candles.provenance
    return FetchedCoin(
        coin=stated.key.coin,
        source=stated.key.source,
        granularity=stated.key.granularity,
        added=written.added if written else 0,
        revised=written.revised if written else 0,
        removed=written.removed if written else 0,
        rows=stated.rows,
        first=stated.first,
        last=stated.last,
        notes=stated.notes,
        quality=check_quality(
            candles.frame,
            stated.key.coin,
            stated.key.granularity,
            config.quality,
            # Only CoinGecko ages by the clock: a coin that stopped shows by the bars that its last fetch did not bring.
            now=stated.fetched_at if stated.key.source == "coingecko" else None,
            stale_after_bars=config.data.stale_after_bars,
        ),
    )
