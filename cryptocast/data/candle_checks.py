"""What makes a frame a series of candles: its checks, its hash, its provenance."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import polars as pl

from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, Candles, Provenance, SeriesKey
from cryptocast.errors import DataError
from cryptocast.times import minute_text

PRICES = ("open", "high", "low", "close")


def check_candles(frame: pl.DataFrame, key: SeriesKey) -> None:
    """Raise DataError unless the frame is one series of candles of this key.

    CANDLE_SCHEMA, at least one row, one coin, close times on the grid of the bar and strictly increasing, prices finite
    and positive, volume null or finite and not negative, market cap null or finite and positive.
    """
    name = f"{key.coin} ({key.source}, {key.vs}, {key.granularity})"
    if frame.schema != CANDLE_SCHEMA:
        raise DataError(f"{name} has columns {_types(frame.schema)}, expected {_types(CANDLE_SCHEMA)}.")
    if frame.is_empty():
        raise DataError(f"{name} has no candles.")
    for column in ("coin", "close_time", *PRICES, "range_known"):
        if missing := frame[column].null_count():
            raise DataError(f"{name} has {missing} rows without {column}.")
    if (frame["coin"] != key.coin).any():
        raise DataError(f"{name} holds rows of {frame.filter(pl.col('coin') != key.coin)['coin'][0]!r}.")
    _check_times(frame, key, name)
    _check_numbers(frame, name)


def _check_times(frame: pl.DataFrame, key: SeriesKey, name: str) -> None:
    times = frame["close_time"].to_physical().to_numpy()
    if (off := times[times % BAR_US[key.granularity] != 0]).size:
        raise DataError(
            f"{name} has a bar that closes at {minute_text(off[0])}, off the {key.granularity} grid of UTC."
        )
    steps = np.diff(times)
    if (steps <= 0).any():
        at = minute_text(times[1:][steps <= 0][0])
        raise DataError(f"{name} is not sorted by close time without duplicates: see {at}.")


def _check_numbers(frame: pl.DataFrame, name: str) -> None:
    for column in (*PRICES, "volume", "market_cap"):
        value = pl.col(column)
        wrong = ~value.is_finite() | ((value < 0) if column == "volume" else (value <= 0))
        rows = frame.filter(wrong)
        if len(rows):
            raise DataError(
                f"{name} has {column} {rows[column][0]} at {rows['close_time'][0]:%Y-%m-%dT%H:%MZ}"
                f" ({len(rows)} such rows); it must be finite and"
                f" {'not negative' if column == 'volume' else 'positive'}."
            )


def _types(schema: pl.Schema) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in schema.items()) or "none"


def content_hash(frame: pl.DataFrame) -> str:
    """sha256 (hex) over the canonical bytes of a frame: independent of chunks, compression and library version.

    Per column: name, type, null mask, values; nulls as zeros, text with its lengths. Takes any frame of numbers,
    booleans, times and text.
    """
    digest = hashlib.sha256(f"cryptocast-frame/1 {len(frame)}".encode())
    for series in frame:
        digest.update(f"|{series.name}:{series.dtype}|".encode())
        digest.update(np.packbits(series.is_null().to_numpy()).tobytes())
        digest.update(_values(series))
    return digest.hexdigest()


def _values(series: pl.Series) -> bytes:
    if series.dtype == pl.String():
        if series.null_count() == 0 and len(series) and series.n_unique() == 1:  # the coin: the same bytes, sooner
            one: bytes = series[0].encode()
            return np.full(len(series), len(one), dtype="<i8").tobytes() + one * len(series)
        encoded = [text.encode() for text in series.fill_null("")]
        lengths = np.array([len(text) for text in encoded], dtype="<i8")
        return lengths.tobytes() + b"".join(encoded)
    physical = series.to_physical()
    if physical.dtype == pl.Boolean():
        physical = physical.cast(pl.UInt8())
    array = physical.fill_null(0).to_numpy()
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def provenance_of(
    frame: pl.DataFrame,
    key: SeriesKey,
    *,
    fetched_at: datetime,
    notes: Sequence[str] = (),
    market: str | None = None,
) -> Provenance:
    """The provenance of a checked, sorted frame."""
    return Provenance(
        key=key,
        fetched_at=fetched_at.astimezone(UTC),
        content_hash=content_hash(frame),
        rows=len(frame),
        first=frame["close_time"][0].astimezone(UTC),
        last=frame["close_time"][-1].astimezone(UTC),
        notes=tuple(notes),
        market=market,
    )


def candles_of(
    frame: pl.DataFrame,
    key: SeriesKey,
    *,
    fetched_at: datetime,
    notes: Sequence[str] = (),
    market: str | None = None,
) -> Candles:
    """A checked series with its provenance; DataError if the frame is none."""
    check_candles(frame, key)
    return Candles(frame, provenance_of(frame, key, fetched_at=fetched_at, notes=notes, market=market))


def cut(candles: Candles, now: datetime) -> Candles:
    """The bars that were closed at `now`, with a provenance of their own. DataError if there is none."""
    old = candles.provenance
    if old.last <= now:
        return candles
    frame = candles.frame.filter(pl.col("close_time") <= now)
    if frame.is_empty():
        raise DataError(
            f"{old.key.coin} has no {old.key.granularity} candle of {old.key.source} closed by {now:%Y-%m-%dT%H:%MZ};"
            f" the first closes at {old.first:%Y-%m-%dT%H:%MZ}. Choose a later --now."
        )
    return Candles(frame, provenance_of(frame, old.key, fetched_at=old.fetched_at, notes=old.notes, market=old.market))
