"""The local store of candles: one Parquet file a series, its provenance in the file's metadata, revisions beside it.

    <root>/candles/<source>/<vs>/<granularity>/<coin>.parquet
    <root>/candles/<source>/<vs>/<granularity>/<coin>.revisions.parquet
    <root>/run/candles-<source>-<vs>-<granularity>-<coin>.lock

Every file appears whole or not at all. The name of a coin holds no dot, so no coin can be named like a file beside it.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import filelock
import msgspec
import polars as pl

from cryptocast.config import Granularity
from cryptocast.data import parquet
from cryptocast.data.coins import check_coin, check_vs
from cryptocast.data.frame import candles_of, check_candles, content_hash, provenance_of
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, TIME, Candles, Provenance, SeriesKey
from cryptocast.errors import CryptocastError, DataError, UsageError

__all__ = ["LAYOUT", "REVISION_SCHEMA", "CandleStore", "Finding", "WriteResult", "decode_series", "encode_series"]

log = logging.getLogger(__name__)

LAYOUT: Final = 1
SOURCES: Final = ("coingecko", "file", "sample", "simulated")
REVISION_SCHEMA: Final = pl.Schema({**CANDLE_SCHEMA, "revised_at": TIME})
REVISIONS: Final = ".revisions.parquet"


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


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the store that is not as it should be, and what to do."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write changed. `removed` is not 0 only when a series was replaced by one that lacks some of its bars."""

    added: int
    revised: int
    provenance: Provenance
    removed: int = 0


class CandleStore:
    """Candles by series below one root folder. Safe for several processes; readers need no lock."""

    def __init__(self, root: Path, *, lock_timeout_s: float) -> None:
        self._root = root
        self._lock_timeout_s = lock_timeout_s

    def path(self, key: SeriesKey) -> Path:
        """Where the series lies. UsageError if a part of the key is no well-formed name."""
        check_key(key)
        return self._root / "candles" / key.source / key.vs / key.granularity / f"{key.coin}.parquet"

    def read(self, key: SeriesKey) -> Candles | None:
        """The series, or None if the store lacks it. DataError if the file is damaged: its content is hashed anew."""
        path = self.path(key)
        if not path.exists():
            return None
        return decode_series(parquet.read_bytes(path), key, str(path), _remedy(key, path))

    def revisions(self, key: SeriesKey) -> pl.DataFrame:
        """Bars as they stood before a later download changed them, in REVISION_SCHEMA, oldest revision first."""
        path = self.path(key).with_name(f"{key.coin}{REVISIONS}")
        if not path.exists():
            return pl.DataFrame(schema=REVISION_SCHEMA)
        frame, metadata = parquet.decode(parquet.read_bytes(path), str(path))
        if frame.schema != REVISION_SCHEMA or metadata != content_hash(frame).encode():
            raise DataError(f"{path} does not match its hash. Remove it; the candles beside it are not touched.")
        return frame

    def write(
        self,
        key: SeriesKey,
        frame: pl.DataFrame,
        *,
        fetched_at: datetime,
        notes: Sequence[str] = (),
        replace: bool = False,
    ) -> WriteResult:
        """Merge closed bars into the series; with `replace` the series becomes the frame.

        By close time: new bars are added, bars that differ take the new values and the old rows go to the revisions,
        as do bars that a replacement lacks. Notes are kept once each; a replacement starts them anew. DataError if the
        frame is no series of this key, the file there is damaged, or the disk refuses.
        """
        check_key(key)
        check_candles(frame, key)
        path = self.path(key)
        with self._locked(key):
            _remove_leftovers(path)
            old = self.read(key)
            merged, changed, removed = _merge(None if old is None else old.frame, frame, replace=replace)
            kept = () if old is None or replace else old.provenance.notes
            all_notes = tuple(dict.fromkeys([*kept, *notes]))
            provenance = provenance_of(merged, key, fetched_at=fetched_at, notes=all_notes)
            if len(changed):
                self._append_revisions(key, changed, fetched_at)
            parquet.write_atomically(path, encode_series(merged, provenance))
        before = 0 if old is None else len(old.frame)
        return WriteResult(
            added=len(merged) - before + removed,
            revised=len(changed) - removed,
            provenance=provenance,
            removed=removed,
        )

    def ls(self) -> list[Provenance]:
        """Every series in the store, by key, read from the files' metadata only. Damaged files are logged, left out."""
        found = []
        for key, path in self._series():
            try:
                found.append(_provenance(parquet.read_metadata(path), key, str(path), _remedy(key, path)))
            except DataError as error:
                log.warning("%s", error)
        return found

    def verify(self) -> list[Finding]:
        """Read and check every file: hash, schema, order, values, place. Empty if all is well."""
        findings = []
        for key, path in self._series():
            for check in (self.read, self.revisions):
                try:
                    check(key)
                except CryptocastError as error:
                    findings.append(Finding(path=str(path), problem=str(error)))
        known = {path for _, path in self._series()}
        for path in sorted((self._root / "candles").rglob("*.parquet")):
            series = path.with_name(path.name.replace(REVISIONS, ".parquet"))
            if series not in known:
                problem = f"{path} is not where a series or its revisions can lie. Move it out of the store."
                findings.append(Finding(path=str(path), problem=problem))
        return findings

    def _series(self) -> Iterator[tuple[SeriesKey, Path]]:
        for path in sorted((self._root / "candles").glob("*/*/*/*.parquet")):
            *_, source, vs, granularity, _name = path.parts
            if path.name.endswith(REVISIONS) or granularity not in BAR_US:
                continue
            key = SeriesKey(source, vs, "hourly" if granularity == "hourly" else "daily", path.stem)
            try:
                check_key(key)
            except UsageError:
                continue
            yield key, path

    @contextmanager
    def _locked(self, key: SeriesKey) -> Iterator[None]:
        path = self._root / "run" / f"candles-{key.source}-{key.vs}-{key.granularity}-{key.coin}.lock"
        lock = filelock.FileLock(path, timeout=self._lock_timeout_s)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
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
        moment = pl.lit(revised_at.astimezone(UTC)).cast(TIME).alias("revised_at")
        new = changed.with_columns(moment).select(REVISION_SCHEMA.names())
        latest = past.with_row_index("at").unique("close_time", keep="last", maintain_order=True)
        repeated = latest.join(changed, on=changed.columns, how="semi", nulls_equal=True)["at"]
        kept = past.with_row_index("at").filter(~pl.col("at").is_in(repeated.implode())).drop("at")
        frame = pl.concat([kept, new])
        path = self.path(key).with_name(f"{key.coin}{REVISIONS}")
        parquet.write_atomically(path, parquet.encode(frame, content_hash(frame).encode()))


def check_key(key: SeriesKey) -> None:
    """UsageError unless each part of the key may become part of a path."""
    check_coin(key.coin)
    check_vs(key.vs)
    if key.source not in SOURCES:
        raise UsageError(f"{key.source!r} is not a source of candles. Known: {', '.join(SOURCES)}.")
    if key.granularity not in BAR_US:
        raise UsageError(f"{key.granularity!r} is not a granularity. Known: {', '.join(BAR_US)}.")


def encode_series(frame: pl.DataFrame, provenance: Provenance) -> bytes:
    """A series as the bytes of its file."""
    key = provenance.key
    metadata = SeriesMetadata(
        layout=LAYOUT,
        source=key.source,
        vs=key.vs,
        granularity=key.granularity,
        coin=key.coin,
        fetched_at=provenance.fetched_at,
        content_hash=provenance.content_hash,
        rows=provenance.rows,
        first=provenance.first,
        last=provenance.last,
        notes=provenance.notes,
    )
    return parquet.encode(frame, msgspec.json.encode(metadata))


def decode_series(content: bytes, key: SeriesKey, origin: str, remedy: str) -> Candles:
    """The series in the bytes of a file, checked against its hash and the key. DataError names origin and remedy."""
    try:
        frame, metadata = parquet.decode(content, origin)
    except DataError as error:
        raise DataError(f"{error} {remedy}") from error
    stated = _provenance(metadata, key, origin, remedy)
    if frame.schema != CANDLE_SCHEMA or content_hash(frame) != stated.content_hash:
        raise DataError(f"{origin} does not match the hash it was written with: it is damaged or was edited. {remedy}")
    candles = candles_of(frame, key, fetched_at=stated.fetched_at, notes=stated.notes)
    if candles.provenance != stated:
        raise DataError(f"{origin} holds {candles.provenance.rows} bars, its metadata says {stated.rows}. {remedy}")
    return candles


def _provenance(metadata: bytes | None, key: SeriesKey, origin: str, remedy: str) -> Provenance:
    if metadata is None:
        raise DataError(f"{origin} was not written by cryptocast: it has no provenance. {remedy}")
    try:
        stated = msgspec.json.decode(metadata, type=SeriesMetadata)
    except msgspec.DecodeError as error:
        raise DataError(f"{origin} has provenance that cannot be read ({error}). {remedy}") from error
    if stated.layout != LAYOUT:
        raise DataError(f"{origin} has layout {stated.layout}, this cryptocast reads {LAYOUT}. {remedy}")
    found = SeriesKey(stated.source, stated.vs, stated.granularity, stated.coin)
    if found != key:
        raise DataError(f"{origin} holds {found.coin} ({found.source}, {found.vs}, {found.granularity}). {remedy}")
    return Provenance(
        key=key,
        fetched_at=stated.fetched_at,
        content_hash=stated.content_hash,
        rows=stated.rows,
        first=stated.first,
        last=stated.last,
        notes=stated.notes,
    )


def _remedy(key: SeriesKey, path: Path) -> str:
    again = f"cryptocast fetch {key.coin} --source {key.source}"
    again += f" --vs {key.vs}" if key.vs != "usd" else ""
    again += f" --granularity {key.granularity}" if key.granularity != "daily" else ""
    again += " --file FILE" if key.source == "file" else ""
    return f"Remove {path.name} and fetch it again: {again}"


def _merge(old: pl.DataFrame | None, new: pl.DataFrame, *, replace: bool) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """The merged series, the old rows that it no longer holds as they were, and how many of those have no successor."""
    if old is None:
        return new, new.clear(), 0
    lost = old.join(new, on="close_time", how="anti")
    unchanged = old.join(new, on=old.columns, how="semi", nulls_equal=True)
    different = old.join(pl.concat([unchanged, lost]), on="close_time", how="anti")
    if replace:
        return new, pl.concat([different, lost]).sort("close_time"), len(lost)
    return pl.concat([lost, new]).sort("close_time"), different.sort("close_time"), 0


def _remove_leftovers(path: Path) -> None:
    """Temporary files of writers that were killed; the lock says that none of them is still at work."""
    for name in (path.name, path.name.replace(".parquet", REVISIONS)):
        for leftover in path.parent.glob(f".{name}.*{parquet.TEMPORARY}"):
            with suppress(OSError):  # not worth failing a write over
                leftover.unlink(missing_ok=True)
