"""The local store of candles: one Parquet file a series, its provenance in the file's metadata, revisions beside it.

    <root>/candles/<source>/<vs>/<granularity>/<coin>.parquet
    <root>/candles/<source>/<vs>/<granularity>/<coin>.revisions.parquet
    <root>/run/candles-<source>-<vs>-<granularity>-<coin>.lock

Every file appears whole or not at all. The name of a coin holds no dot, so no coin can be named like a file beside it.
Each row carries since when it is known, each revision until when, so that any past state can be read back.
"""

import dataclasses
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, get_args

import filelock
import msgspec
import polars as pl

from cryptocast.choices import Granularity
from cryptocast.config import CCXT_EXCHANGE, SourceName
from cryptocast.data import parquet
from cryptocast.data.candle_checks import candles_of, check_candles, content_hash, provenance_of
from cryptocast.data.coins import check_coin, check_vs
from cryptocast.data.intervals import Span, merged
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, TIME, Candles, Provenance, SeriesKey
from cryptocast.data.sources.file.source import FILE
from cryptocast.errors import CryptocastError, DataError, UsageError
from cryptocast.files import OWN_FILE, TEMPORARY, make_own_folder
from cryptocast.market import Market

log = logging.getLogger(__name__)

LAYOUT: Final = 2  # 1 had no `known_from`: its rows count as known since the file was written
SOURCES: Final = get_args(SourceName)
CCXT_NAME: Final = re.compile(f"ccxt-{CCXT_EXCHANGE}")
KNOWN_FROM: Final = "known_from"
SERIES_SCHEMA: Final = pl.Schema({**CANDLE_SCHEMA, KNOWN_FROM: TIME})
REVISION_SCHEMA: Final = pl.Schema({**SERIES_SCHEMA, "revised_at": TIME})
REVISIONS: Final = ".revisions.parquet"
NUMBERS: Final = ("open", "high", "low", "close", "volume", "market_cap")
KEY: Final = ("source", "vs", "granularity", "coin")
FACTS: Final = ("fetched_at", "content_hash", "rows", "first", "last", "notes")  # of the provenance
SAME: Final = 1e-9  # relative: a number told again in other digits is no revision


class SeriesMetadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in the metadata of each file of the store."""

    layout: int
    source: str
    vs: str
    granularity: Granularity
    coin: str
    fetched_at: datetime
    content_hash: str
    rows: int
    first: datetime
    last: datetime
    notes: tuple[str, ...] = ()
    market: str | msgspec.UnsetType = msgspec.UNSET  # earlier releases know no source that has markets
    known_hash: str = ""  # over the column known_from; layout 1 has none
    covered: tuple[Span, ...] = ()  # what the source was asked for after it had settled: nothing is missing there


class LayoutOnly(msgspec.Struct, frozen=True):
    """The one field that every layout has."""

    layout: int


class DamagedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the store that is not as it should be, and what to do."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write changed.

    revised: bars that say something else now. refined: bars of which more is known, and nothing that was known has
    changed. `removed` is not 0 only when a series was replaced by one that lacks some of its bars.
    """

    added: int
    revised: int
    provenance: Provenance
    removed: int = 0
    refined: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class SeriesFile:
    """A file of the store: rows in SERIES_SCHEMA, their provenance, and the time that the source has answered for."""

    rows: pl.DataFrame
    provenance: Provenance
    covered: tuple[Span, ...]

    @property
    def candles(self) -> Candles:
        """Without the times at which its rows became known."""
        return Candles(frame=self.rows.drop(KNOWN_FROM), provenance=self.provenance)


class CandleStore:
    """Candles by series below one root folder. Safe for several processes; readers need no lock."""

    def __init__(self, root: Path, *, lock_timeout_s: float) -> None:
        self._root = root
        self._lock_timeout_s = lock_timeout_s

    def path(self, key: SeriesKey) -> Path:
        """Where the series lies. UsageError if a part of the key is no well-formed name."""
        check_key(key)
        return self._root / "candles" / key.source / key.vs / key.granularity / f"{key.coin}.parquet"

    def read(self, key: SeriesKey, as_of: datetime | None = None) -> Candles | None:
        """The series, or None if the store lacks it. DataError if the file is damaged: its content is hashed anew.

        as_of: the series as this store knew it at that moment, later bars and revisions undone; None if it knew none.
        """
        stored = self.load(key)
        if stored is None or as_of is None:
            return None if stored is None else stored.candles
        rows = known_at(stored.rows, self.revisions(key), as_of)
        if rows.is_empty():
            return None
        notes = (*stored.provenance.notes, f"as it was known at {as_of.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
        # A revision from a file of layout 1 does not say since when it was known.
        fetched_at: datetime = rows[KNOWN_FROM].max() or as_of  # type: ignore[assignment]
        market = stored.provenance.market
        return candles_of(rows.drop(KNOWN_FROM), key, fetched_at=fetched_at, notes=notes, market=market)

    def sources(self, coin: str, vs: str, granularity: Granularity) -> list[str]:
        """From which sources it has such candles; the one that it has known longest first."""
        paths = sorted((self._root / "candles").glob(f"*/{vs}/{granularity}/{coin}.parquet"))
        names = [name for path in paths if _is_source(name := path.parts[-4])]
        if len(names) > 1:
            names.sort(key=lambda name: self._age_order(SeriesKey(Market(name, vs, granularity), coin)))
        return names

    def _age_order(self, key: SeriesKey) -> datetime:
        """Oldest knowledge first; damaged files last: they say nothing of that."""
        try:
            return self.known_since(key) or datetime.min.replace(tzinfo=UTC)
        except DataError:
            return datetime.max.replace(tzinfo=UTC)

    def known_since(self, key: SeriesKey) -> datetime | None:
        """Since when the store knows any bar of the series; None if it knows none."""
        stored = self.load(key)
        if stored is None:
            return None
        return pl.concat([stored.rows[KNOWN_FROM], self.revisions(key)[KNOWN_FROM]]).min()  # type: ignore[return-value]

    def covered(self, key: SeriesKey) -> tuple[Span, ...]:
        """The spans that the source has answered for, settled: bars that are missing there do not exist."""
        stored = self.load(key)
        return () if stored is None else stored.covered

    def revisions(self, key: SeriesKey) -> pl.DataFrame:
        """Bars as they stood before a later download changed them, in REVISION_SCHEMA, oldest revision first.

        Each row was what the store knew from `known_from` (null: not recorded) until `revised_at`.
        """
        path = self.path(key).with_name(f"{key.coin}{REVISIONS}")
        if not _is_there(path):
            return pl.DataFrame(schema=REVISION_SCHEMA)
        frame, metadata = parquet.decode_hashed(parquet.read_bytes(path), str(path))
        layout, _, digest = (metadata or b"").decode("ascii", "replace").rpartition(" ")
        _check_layout(int(layout) if layout.isdigit() else 1, str(path))
        if digest != content_hash(frame):
            raise DataError(f"{path} does not match its hash. Remove it; the candles beside it are not touched.")
        if KNOWN_FROM not in frame.columns:
            frame = frame.with_columns(pl.lit(None, dtype=TIME).alias(KNOWN_FROM))
        frame = frame.select(sorted(frame.columns, key=[*REVISION_SCHEMA, *frame.columns].index))
        if frame.schema != REVISION_SCHEMA:
            raise DataError(f"{path} does not contain revisions. Remove it; the candles beside it are not touched.")
        return frame

    def write(
        self,
        key: SeriesKey,
        frame: pl.DataFrame,
        *,
        fetched_at: datetime,
        notes: Sequence[str] = (),
        replace: bool = False,
        covered: Span | None = None,
        derived: bool = False,
        asked_to: datetime | None = None,
        market: str | None = None,
    ) -> WriteResult:
        """Merge closed bars into the series; with `replace` the series becomes the frame.

        By close time: new bars are added, bars that differ take the new values and the old rows go to the revisions,
        as do bars that a replacement lacks. What the new bar does not know, the old one keeps: a close-only bar leaves
        the range of a bar whose range is known, widened to the new close, null leaves a volume or a market cap, and a
        number that differs by less than a billionth leaves the number.
        Notes are kept once each; a replacement starts them anew. `covered`: the source has answered for this span.
        `derived`: the bars come from others in the store, and the time of the last fetch stays. `asked_to`: the source
        was asked for bars up to this moment and no newer ones: that time stays too, and is this moment in a new series.
        `market`: where they were traded; that of the first bars stays. DataError if the frame is no series of this key,
        the file there is damaged, or the disk refuses.
        """
        check_key(key)
        check_candles(frame, key)
        path = self.path(key)
        with self._locked(key):
            _remove_leftovers(path)
            old = self.load(key)
            stamped = frame.with_columns(_moment(fetched_at, KNOWN_FROM))
            change = _merge(None if old is None else old.rows, stamped, replace=replace)
            is_partial = derived or asked_to is not None
            earlier = () if old is None or replace else old.provenance.notes
            provenance = provenance_of(
                change.rows.drop(KNOWN_FROM),
                key,
                fetched_at=old.provenance.fetched_at if old is not None and is_partial else asked_to or fetched_at,
                notes=tuple(dict.fromkeys([*earlier, *notes])),
                market=market if old is None or replace else old.provenance.market or market,
            )
            if len(change.revisions):
                self._append_revisions(key, change.revisions, fetched_at)
            spans = merged([*(() if old is None or replace else old.covered), *([covered] if covered else [])])
            parquet.write_atomically(path, _encode(SeriesFile(change.rows, provenance, spans)))
        return WriteResult(
            added=len(change.rows) - (0 if old is None else len(old.rows)) + change.removed,
            revised=len(change.revisions) - change.removed - change.refined,
            provenance=provenance,
            removed=change.removed,
            refined=change.refined,
        )

    def cover(self, key: SeriesKey, span: Span | None, *, fetched_at: datetime | None = None) -> None:
        """Note that the source has answered and had nothing: for a span that is settled, and when it was asked for the
        newest bars. Does nothing without a series."""
        with self._locked(key):
            old = self.load(key)
            if old is not None:
                facts = (
                    old.provenance if fetched_at is None else dataclasses.replace(old.provenance, fetched_at=fetched_at)
                )
                spans = merged([*old.covered, *([] if span is None else [span])])
                parquet.write_atomically(self.path(key), _encode(SeriesFile(old.rows, facts, spans)))

    def remove(self, key: SeriesKey) -> None:
        """Take a series and its revisions out of the store, damaged or not. DataError if the disk refuses.

        The revisions go first: after a kill in between the series is still there, to be removed again, and no later one
        inherits revisions that are not its own.
        """
        path = self.path(key)
        with self._locked(key):
            _remove_leftovers(path)
            for file in (path.with_name(f"{key.coin}{REVISIONS}"), path):
                try:
                    file.unlink(missing_ok=True)
                except OSError as error:
                    raise DataError(
                        f"{file} cannot be removed: {error.strerror or error}. Check the rights of its folder."
                    ) from error

    def series_keys(self) -> tuple[SeriesKey, ...]:
        """Of every series in the store, damaged or not. DataError if the store is no folder."""
        return tuple(sorted(key for key, _ in self._series()))

    def ls(self) -> list[Provenance]:
        """Every series in the store, by key, read from the files' metadata only. Damaged files are logged, left out.
        DataError if the store is no folder."""
        listing = []
        for key, path in self._series():
            try:
                metadata = _metadata(parquet.read_metadata(path), key, str(path), _remedy(key, path))
                listing.append(_provenance(metadata, key))
            except DataError as error:
                log.warning("%s", error)
        return listing

    def verify(self) -> list[DamagedFile]:
        """Read and check every file: hash, schema, order, values, place. Empty if all is well. DataError if the store
        is no folder."""
        damaged = []
        for key, path in self._series():
            for check in (self.read, self.revisions):
                try:
                    check(key)
                except CryptocastError as error:
                    damaged.append(DamagedFile(path=str(path), problem=str(error)))
        places = {path for _, path in self._series()}
        for path in sorted((self._root / "candles").rglob("*.parquet")):
            series = path.with_name(path.name.replace(REVISIONS, ".parquet"))
            if series not in places:
                problem = f"{path} is not where a series or its revisions can lie. Move it out of the store."
                damaged.append(DamagedFile(path=str(path), problem=problem))
        return damaged

    def load(self, key: SeriesKey) -> SeriesFile | None:
        """All that the file of a series holds, or None if the store lacks it. DataError if it is damaged."""
        path = self.path(key)
        if not _is_there(path):
            return None
        return _decode(parquet.read_bytes(path), key, str(path), _remedy(key, path))

    def _series(self) -> Iterator[tuple[SeriesKey, Path]]:
        if self._root.exists() and not self._root.is_dir():
            raise DataError(f"The store {self._root} is not a folder. Move it away, or name another with [store] path.")
        for path in sorted((self._root / "candles").glob("*/*/*/*.parquet")):
            *_, source, vs, granularity, _name = path.parts
            if path.name.endswith(REVISIONS) or granularity not in BAR_US:
                continue
            key = SeriesKey(Market(source, vs, "hourly" if granularity == "hourly" else "daily"), path.stem)
            try:
                check_key(key)
            except UsageError:
                continue
            yield key, path

    @contextmanager
    def _locked(self, key: SeriesKey) -> Iterator[None]:
        path = self._root / "run" / f"candles-{key.source}-{key.vs}-{key.granularity}-{key.coin}.lock"
        lock = filelock.FileLock(path, timeout=self._lock_timeout_s, mode=OWN_FILE)
        try:
            make_own_folder(path.parent)
            lock.acquire()
        except filelock.Timeout:
            raise DataError(
                f"Another process has been writing {key.coin} for {self._lock_timeout_s:g} s (lock {path})."
                " Wait for it, or raise [store] lock_timeout_s."
            ) from None
        except OSError as error:
            raise DataError(
                f"The store {self._root} cannot be written: {error.strerror or error}."
                " Check [store] path and its rights."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _append_revisions(self, key: SeriesKey, changed: pl.DataFrame, revised_at: datetime) -> None:
        """Written before the candles: after a kill in between, the next write finds the same old rows and records them
        once, because a bar's latest revision that equals the row to be recorded gives way to it."""
        past = self.revisions(key)
        new = changed.with_columns(_moment(revised_at, "revised_at")).select(REVISION_SCHEMA.names())
        latest = past.with_row_index("at").unique("close_time", keep="last", maintain_order=True)
        repeated = latest.join(changed, on=changed.columns, how="semi", nulls_equal=True)["at"]
        others = past.with_row_index("at").filter(~pl.col("at").is_in(repeated.implode())).drop("at")
        frame = pl.concat([others, new])
        path = self.path(key).with_name(f"{key.coin}{REVISIONS}")
        parquet.write_atomically(path, parquet.encode(frame, f"{LAYOUT} {content_hash(frame)}".encode()))


def _is_there(path: Path) -> bool:
    """Also a link that leads nowhere: it stands where a series was, and the user should hear of it."""
    try:
        return path.exists() or path.is_symlink()
    except OSError as error:
        raise DataError(
            f"{path} cannot be looked at: {error.strerror or error}. Check [store] path and its rights."
        ) from error


def check_key(key: SeriesKey) -> None:
    """UsageError unless each part of the key may become part of a path."""
    check_coin(key.coin)
    check_vs(key.vs)
    if not _is_source(key.source):
        raise UsageError(f"{key.source!r} is not a source of candles. Known: {', '.join(SOURCES)}.")
    if key.granularity not in BAR_US:
        raise UsageError(f"{key.granularity!r} is not a granularity. Known: {', '.join(BAR_US)}.")


def _is_source(name: str) -> bool:
    return name in SOURCES or CCXT_NAME.fullmatch(name) is not None


def known_at(rows: pl.DataFrame, revisions: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """What was known at a moment: rows in SERIES_SCHEMA, from the rows of now and the revisions since."""
    at = pl.lit(moment.astimezone(UTC)).cast(TIME)
    was_known = pl.col(KNOWN_FROM).is_null() | (pl.col(KNOWN_FROM) <= at)
    revised = revisions.filter(was_known & (pl.col("revised_at") > at)).sort(KNOWN_FROM, nulls_last=False)
    both = pl.concat([revised.select(SERIES_SCHEMA.names()), rows.filter(was_known)])
    closed = both.filter(pl.col("close_time") <= at)  # a download that was dated back does not make the future known
    return closed.unique("close_time", keep="last", maintain_order=True).sort("close_time")


def encode_series(frame: pl.DataFrame, provenance: Provenance) -> bytes:
    """A series as the bytes of its file: all of it known since it was fetched."""
    rows = frame.with_columns(_moment(provenance.fetched_at, KNOWN_FROM))
    return _encode(SeriesFile(rows, provenance, covered=()))


def decode_series(content: bytes, key: SeriesKey, origin: str, remedy: str) -> Candles:
    """The series in the bytes of a file, checked against its hash and the key. DataError names origin and remedy."""
    return _decode(content, key, origin, remedy).candles


def _encode(series: SeriesFile) -> bytes:
    provenance = series.provenance
    metadata = SeriesMetadata(
        layout=LAYOUT,
        **{name: getattr(provenance.key, name) for name in KEY},
        **{name: getattr(provenance, name) for name in FACTS},
        market=provenance.market or msgspec.UNSET,
        known_hash=content_hash(series.rows.select(KNOWN_FROM)),
        covered=series.covered,
    )
    return parquet.encode(series.rows, msgspec.json.encode(metadata))


def _decode(content: bytes, key: SeriesKey, origin: str, remedy: str) -> SeriesFile:
    try:
        rows, encoded = parquet.decode_hashed(content, origin)
    except DataError as error:
        raise DataError(f"{error} {remedy}") from error
    metadata = _metadata(encoded, key, origin, remedy)
    damaged = DataError(f"{origin} does not match the hash it was written with: it is damaged or was edited. {remedy}")
    if metadata.layout == 1 and rows.schema == CANDLE_SCHEMA:
        rows = rows.with_columns(_moment(metadata.fetched_at, KNOWN_FROM))
    elif rows.schema != SERIES_SCHEMA or content_hash(rows.select(KNOWN_FROM)) != metadata.known_hash:
        raise damaged
    frame = rows.drop(KNOWN_FROM)
    if content_hash(frame) != metadata.content_hash:
        raise damaged
    check_candles(frame, key)
    times = frame["close_time"]
    if (len(frame), times[0], times[-1]) != (metadata.rows, metadata.first, metadata.last):
        raise DataError(f"{origin} holds {len(frame)} bars, its metadata says {metadata.rows}. {remedy}")
    return SeriesFile(rows, _provenance(metadata, key), metadata.covered)


def _metadata(encoded: bytes | None, key: SeriesKey, origin: str, remedy: str) -> SeriesMetadata:
    if encoded is None:
        raise DataError(f"{origin} was not written by cryptocast: it has no provenance. {remedy}")
    try:
        _check_layout(msgspec.json.decode(encoded, type=LayoutOnly).layout, origin)
        metadata = msgspec.json.decode(encoded, type=SeriesMetadata)
    except msgspec.DecodeError as error:
        raise DataError(f"{origin} has provenance that cannot be read ({error}). {remedy}") from error
    own = SeriesKey(Market(metadata.source, metadata.vs, metadata.granularity), metadata.coin)
    if own != key:
        raise DataError(f"{origin} holds {own.coin} ({own.source}, {own.vs}, {own.granularity}). {remedy}")
    return metadata


def _check_layout(layout: int, origin: str) -> None:
    """DataError for a file of the future: it is whole, and only a newer cryptocast may touch it."""
    if layout > LAYOUT:
        raise DataError(
            f"{origin} has layout {layout}, this cryptocast reads up to {LAYOUT}: a newer one wrote it. Use that one"
            " (pip install --upgrade cryptocast), or name another store with [store] path. Nothing was changed."
        )


def _provenance(metadata: SeriesMetadata, key: SeriesKey) -> Provenance:
    return Provenance(key=key, market=metadata.market or None, **{name: getattr(metadata, name) for name in FACTS})


def _moment(at: datetime, name: str) -> pl.Expr:
    return pl.lit(at.astimezone(UTC)).cast(TIME).alias(name)


def _remedy(key: SeriesKey, path: Path) -> str:
    again = f"cryptocast fetch {key.coin} --source {key.source}"
    again += f" --vs {key.vs}" if key.vs != "usd" else ""
    again += f" --granularity {key.granularity}" if key.granularity != "daily" else ""
    again += " --file FILE" if key.source == FILE.name else ""
    return f"Remove {path.name} and fetch it again: {again}"


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A merge: the new rows, the old rows that they no longer hold as they were, how many of these have no successor,
    and how many were only completed. Frames in SERIES_SCHEMA."""

    rows: pl.DataFrame
    revisions: pl.DataFrame
    removed: int = 0
    refined: int = 0


def _merge(old: pl.DataFrame | None, new: pl.DataFrame, *, replace: bool) -> Change:
    if old is None:
        return Change(new, new.clear())
    if not replace:
        new = _with_what_was_known(old, new)
    lost = old.join(new, on="close_time", how="anti")
    unchanged = old.join(new, on=CANDLE_SCHEMA.names(), how="semi", nulls_equal=True)
    different = old.join(pl.concat([unchanged, lost]), on="close_time", how="anti").sort("close_time")
    changed = new.join(unchanged, on="close_time", how="anti")
    if replace:
        rows = pl.concat([unchanged, changed]).sort("close_time")
        return Change(rows, pl.concat([different, lost]).sort("close_time"), removed=len(lost))
    rows = pl.concat([lost, unchanged, changed]).sort("close_time")
    return Change(rows, different, refined=_count_refined(different, changed))


def _with_what_was_known(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """The new bars, with what only the old ones know."""
    was = old.select("close_time", *[pl.col(name).alias(f"old_{name}") for name in (*NUMBERS, "range_known")])
    both = new.join(was, on="close_time", how="left", maintain_order="left")
    both = both.with_columns(
        pl.when((pl.col(name) - pl.col(f"old_{name}")).abs() <= SAME * pl.col(f"old_{name}").abs())
        .then(f"old_{name}")
        .otherwise(name)
        .alias(name)
        for name in NUMBERS
    )
    stays = pl.col("old_range_known").fill_null(False) & ~pl.col("range_known")  # noqa: FBT003
    return both.with_columns(
        open=pl.when(stays).then("old_open").otherwise("open"),
        high=pl.when(stays).then(pl.max_horizontal("old_high", "close")).otherwise("high"),
        low=pl.when(stays).then(pl.min_horizontal("old_low", "close")).otherwise("low"),
        range_known=stays | pl.col("range_known"),
        volume=pl.coalesce("volume", "old_volume"),
        market_cap=pl.coalesce("market_cap", "old_market_cap"),
    ).select(SERIES_SCHEMA.names())


def _count_refined(different: pl.DataFrame, changed: pl.DataFrame) -> int:
    """How many of the old rows are only completed by the new ones."""
    pairs = different.join(changed, on="close_time", how="inner", suffix="_new")
    same = pl.col("close") == pl.col("close_new")
    for name in ("volume", "market_cap"):
        same &= pl.col(name).is_null() | pl.col(name).eq_missing(pl.col(f"{name}_new"))
    for name in ("open", "high", "low"):
        same &= ~pl.col("range_known") | (pl.col(name) == pl.col(f"{name}_new"))
    return len(pairs.filter(same))


def _remove_leftovers(path: Path) -> None:
    """Temporary files of writers that were killed; the lock says that none of them is still at work."""
    for name in (path.name, path.name.replace(".parquet", REVISIONS)):
        for leftover in path.parent.glob(f".{name}.*{TEMPORARY}"):
            with suppress(OSError):  # not worth failing a write over
                leftover.unlink(missing_ok=True)
