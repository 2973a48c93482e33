"""Series of the store one by one: shown with all that their files hold, taken out, written as files for others."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import polars as pl

from cryptocast.choices import Granularity
from cryptocast.config import Config
from cryptocast.data.intervals import Span
from cryptocast.data.quality import QualityReport, check_quality
from cryptocast.data.schema import BAR_US, SeriesKey
from cryptocast.data.sources.table import AUTO, ages_by_clock, is_real
from cryptocast.data.store import KNOWN_FROM, CandleStore, DamagedFile, SeriesFile
from cryptocast.data.tables import check_table_path, write_table
from cryptocast.errors import DataError, UsageError
from cryptocast.market import Market
from cryptocast.registry import PRODUCTION, Registry
from cryptocast.workflows.context import Context, Resolved, Selection
from cryptocast.workflows.market_data.inventory import SeriesListing, listed
from cryptocast.workflows.market_data.resolve import open_store

LATEST_BARS: Final = 5


class SeriesFacts(SeriesListing, frozen=True, kw_only=True):
    """One series with what its file holds beside the bars.

    market: where they were traded, null for sources without markets. missing: bars that are not there between the first
    and the last. revisions: bars as they stood before they were changed. covered: the time that the source was asked
    for.
    """

    market: str | None
    missing: int
    revisions: int
    covered: tuple[Span, ...]


class StoredBar(msgspec.Struct, frozen=True, kw_only=True):
    """One bar as it is stored; null is unknown."""

    close_time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    market_cap: float | None
    range_known: bool


class SeriesChange(msgspec.Struct, frozen=True, kw_only=True):
    """What the store learned at one moment; null: the moment is not recorded."""

    at: datetime | None
    added: int
    revised: int


class SeriesDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What a list has no room for: how the series came about, its newest bars, and what is odd about it."""

    history: tuple[SeriesChange, ...]
    latest: tuple[StoredBar, ...]
    quality: QualityReport


class SeriesDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The series that match, and the details where it is one. findings: files that are damaged."""

    schema: Literal["cryptocast.series/1"] = "cryptocast.series/1"
    path: str
    series: tuple[SeriesFacts, ...]
    details: SeriesDetails | None
    findings: tuple[DamagedFile, ...]


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """A series that is gone if `removed`, else would go.

    rows, first, last and revisions are null where its file is damaged. versions: those in production that forecast it,
    or whose pool has it.
    """

    schema: Literal["cryptocast.removal/1"] = "cryptocast.removal/1"
    coin: str
    source: str
    vs: str
    granularity: Granularity
    path: str
    rows: int | None = None
    first: datetime | None = None
    last: datetime | None = None
    revisions: int | None = None
    versions: tuple[str, ...]
    removed: bool = False


class SeriesExport(msgspec.Struct, frozen=True, kw_only=True):
    """A series that was written as a file."""

    schema: Literal["cryptocast.series-export/1"] = "cryptocast.series-export/1"
    coin: str
    source: str
    vs: str
    granularity: Granularity
    rows: int
    first: datetime
    last: datetime
    written: str


def show_series(config: Config, selection: Selection) -> SeriesDocument:
    """The series of the coin that match, of every coin if none is named. DataError if a coin has no such series."""
    store = open_store(config)
    keys = _matching(store, selection)
    series, findings = list[SeriesFacts](), list[DamagedFile]()
    details = None
    for key in keys:
        try:
            stored, revisions = _load(store, key), store.revisions(key)
        except DataError as error:
            findings.append(DamagedFile(path=str(store.path(key)), problem=str(error)))
            continue
        series.append(_facts(stored, len(revisions)))
        if selection.coins and len(keys) == 1:
            details = _details(config, stored, revisions)
    return SeriesDocument(path=str(config.store.path), series=tuple(series), details=details, findings=tuple(findings))


def plan_removal(config: Config, registry: Registry, selection: Selection) -> Removal:
    """What would go with the one series that is meant. DataError if there is none, UsageError if there are several."""
    store = open_store(config)
    key = _one(store, selection)
    plan = Removal(**_names(key), path=str(store.path(key)), versions=tuple(_resting_on(registry, key)))
    try:
        facts, revisions = _load(store, key).provenance, store.revisions(key)
    except DataError:  # what is damaged may go too
        return plan
    return msgspec.structs.replace(plan, rows=facts.rows, first=facts.first, last=facts.last, revisions=len(revisions))


def remove_series(config: Config, plan: Removal) -> Removal:
    """The series is gone, and nothing else. DataError if the disk refuses."""
    open_store(config).remove(SeriesKey(Market(plan.source, plan.vs, plan.granularity), plan.coin))
    return msgspec.structs.replace(plan, removed=True)


def export_series(config: Config, selection: Selection, out: Path) -> SeriesExport:
    """Write the one series that is meant as a table of which `fetch --file` makes the same bars.

    UsageError for another suffix than .csv and .parquet, or if several series are meant; DataError if there is none.
    """
    check_table_path(out)
    store = open_store(config)
    key = _one(store, selection)
    candles = _load(store, key).candles
    write_table(_as_file(candles.frame, key.vs, as_text=out.suffix.lower() == ".csv"), out)
    facts = candles.provenance
    return SeriesExport(**_names(key), rows=facts.rows, first=facts.first, last=facts.last, written=str(out))


def _one(store: CandleStore, selection: Selection) -> SeriesKey:
    keys = _matching(store, selection)
    if len(keys) > 1:
        raise UsageError(
            f"There are {len(keys)} series of {keys[0].coin}: {_markets(keys)}. Name one with --source, --vs or"
            " --granularity."
        )
    return keys[0]


def _matching(store: CandleStore, selection: Selection) -> tuple[SeriesKey, ...]:
    """The series that are meant, by key; what is not named may be any. DataError if a coin has none of them."""
    own = [key for key in store.series_keys() if not selection.coins or key.coin in selection.coins]
    words = {name: getattr(selection, name) for name in ("source", "vs", "granularity")}
    words = {name: value for name, value in words.items() if value is not None}
    keys = tuple(key for key in own if all(getattr(key, name) == value for name, value in words.items()))
    if selection.coins and not keys:
        coin = selection.coins[0]
        if own:
            raise DataError(f"The store has {coin} on other bars only: {_markets(own)}.")
        raise DataError(f"The store has no candles of {coin}. Fetch them: cryptocast fetch {coin}")
    return keys


def _markets(keys: Sequence[SeriesKey]) -> str:
    return "; ".join(str(key.market) for key in keys)


def _names(key: SeriesKey) -> dict[str, Any]:
    return {"coin": key.coin, **msgspec.structs.asdict(key.market)}


def _load(store: CandleStore, key: SeriesKey) -> SeriesFile:
    stored = store.load(key)
    if stored is None:
        raise DataError(f"The candles of {key.coin} vanished from the store while they were read. Try again.")
    return stored


def _facts(stored: SeriesFile, revisions: int) -> SeriesFacts:
    facts = stored.provenance
    bars = (facts.last - facts.first) // timedelta(microseconds=BAR_US[facts.key.granularity]) + 1
    return SeriesFacts(
        **msgspec.structs.asdict(listed(facts)),
        market=facts.market,
        missing=bars - facts.rows,
        revisions=revisions,
        covered=stored.covered,
    )


def _details(config: Config, stored: SeriesFile, revisions: pl.DataFrame) -> SeriesDetails:
    facts = stored.provenance
    latest = stored.rows.tail(LATEST_BARS).select(StoredBar.__struct_fields__)
    return SeriesDetails(
        history=tuple(_history(stored.rows, revisions)),
        latest=tuple(StoredBar(**bar) for bar in latest.rows(named=True)),
        quality=check_quality(
            stored.candles.frame,
            facts.key.coin,
            facts.key.granularity,
            config.quality,
            now=facts.fetched_at if ages_by_clock(facts.key.source) else None,
            stale_after_bars=config.data.stale_after_bars,
        ),
    )


def _history(rows: pl.DataFrame, revisions: pl.DataFrame) -> Iterator[SeriesChange]:
    """Each moment at which bars came or were changed, oldest first."""
    states = pl.concat([frame.select("close_time", at=KNOWN_FROM) for frame in (revisions, rows)])
    came = states.unique("close_time", keep="first", maintain_order=True).group_by("at").agg(added=pl.len())
    changed = revisions.group_by(at="revised_at").agg(revised=pl.len())
    both = came.join(changed, on="at", how="full", coalesce=True, nulls_equal=True).sort("at", nulls_last=False)
    for at, added, revised in both.select("at", "added", "revised").rows():
        yield SeriesChange(at=at, added=added or 0, revised=revised or 0)


def _resting_on(registry: Registry, key: SeriesKey) -> Iterator[str]:
    """The versions in production that forecast the series, or whose pool has it."""
    for version in registry.versions(alias=PRODUCTION, vs=key.vs, granularity=key.granularity):
        data = version.manifest.data(key.coin)
        source = version.key.source if data is None else data.source or version.key.source
        if source == key.source and (data is not None or version.key.coin == key.coin):
            yield version.name


def _as_file(frame: pl.DataFrame, vs: str, *, as_text: bool) -> pl.DataFrame:
    """What an import needs to be told nothing: the close of each bar, the currency in the name of the volume, and no
    range where only the close is known."""
    time = pl.col("close_time").dt.strftime("%Y-%m-%dT%H:%M:%SZ") if as_text else pl.col("close_time")
    ranges = [pl.when("range_known").then(name).alias(name) for name in ("open", "high", "low")]
    return frame.select("coin", time, *ranges, "close", pl.col("volume").alias(f"volume_{vs}"), "market_cap")


def every_coin(context: Context, selection: Selection) -> tuple[str, ...]:
    """All coins of which the store has such bars, in the order of their names. DataError if it has none."""
    store = context.candles or open_store(context.config)
    return tuple(sorted({key.coin for key in series_of(store.series_keys(), selection.resolved(context.config))}))


def series_of(keys: Iterable[SeriesKey], bars: Resolved) -> tuple[SeriesKey, ...]:
    """The series that have such bars: of the source, or of any real one. DataError if there is none."""
    own = tuple(
        key
        for key in keys
        if (key.vs, key.granularity) == (bars.vs, bars.granularity)
        and (key.source == bars.source if bars.source != AUTO else is_real(key.source))
    )
    if not own:
        source = "" if bars.source == AUTO else f" of source {bars.source}"
        raise DataError(f"The store has no {bars.granularity} bars in {bars.vs}{source}. Fetch some: cryptocast fetch")
    return own
