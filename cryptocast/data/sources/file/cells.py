"""Cells as numbers and times, a column at once: what is unknown becomes null, what cannot be read says so."""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import polars as pl

DecimalSign: TypeAlias = Literal[".", ","]
DateOrder: TypeAlias = Literal["dmy", "mdy"]

UNKNOWN: Final = ("", "null", "nan", "none", "na", "n/a", "-")
SCALES: Final = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
NUMBER: Final = r"^[$€£]?([+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:e[+-]?\d+)?)([kmbt]?)$"
SIGNS: Final[tuple[tuple[DecimalSign, DecimalSign], ...]] = ((".", ","), (",", "."))
# A group of other than three digits, the last of both signs, the other one repeated, a zero or four digits before it.
SHOWS: Final = (
    r"^[^{sign}]*[{sign}](?:\d{{0,2}}|\d{{4,}})(?:\D|$)|[{other}]\d+[{sign}]"
    r"|[{other}]\d+[{other}]|^0[{sign}]|\d{{4}}[{sign}]"
)
DATE: Final = r"^(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})"
CLOCK: Final = r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?)?"
MOMENT: Final = rf"{DATE}(?:[T ]+{CLOCK}(?:[ -]?(?P<half>[AaPp])[Mm])?)? *(?P<zone>Z|UTC|GMT|[+-]\d{{2}}:?\d{{2}})?$"
YEAR_LAST: Final = r"^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})"
YEAR_FIRST: Final[dict[DateOrder, str]] = {"dmy": "${3}-${2}-${1}", "mdy": "${3}-${1}-${2}"}
US: Final = 1_000_000
TIMES: Final = pl.Datetime("us")


def numbers(cells: pl.Series, sign: DecimalSign = ".") -> pl.Series:
    """As float64: null where nothing is known, NaN for what is no number. Knows 60,001.5 and 52.11K."""
    if cells.dtype.is_numeric():
        return cells.cast(pl.Float64).fill_nan(None)
    if cells.dtype != pl.String():
        return pl.select(pl.when(cells.is_not_null()).then(float("nan"))).to_series()
    values = cells.cast(pl.Float64, strict=False)
    if sign == ",":
        values = values.clear(len(cells))
    left = cells.is_not_null() & (values.is_null() | values.is_nan())
    if not left.any():
        return values
    return values.scatter(left.arg_true(), _written(cells.filter(left), sign))


def _written(cells: pl.Series, sign: DecimalSign) -> pl.Series:
    """Numbers that are written for people."""
    text = cells.str.strip_chars(" \t\"'").str.to_lowercase()
    if sign == ",":
        text = text.str.replace_all(".", "_", literal=True).str.replace_all(",", ".", literal=True)
        text = text.str.replace_all("_", ",", literal=True)
    text = text.str.replace_all("[\\s'\u00a0\u202f]", ",")
    parts = text.str.extract_groups(NUMBER).struct
    value = parts.field("1").str.replace_all(",", "", literal=True).cast(pl.Float64, strict=False)
    scale = parts.field("2").replace_strict(SCALES, default=1.0, return_dtype=pl.Float64())
    infinite = cells.cast(pl.Float64, strict=False).is_infinite().fill_null(value=False)
    return pl.select(
        pl.when(text.is_in(UNKNOWN))
        .then(None)
        .when(infinite)
        .then(float("inf"))
        .otherwise((value * scale).fill_null(float("nan")))
    ).to_series()


def decimal_sign(columns: Sequence[pl.Series], *, point_is_decimal: bool) -> DecimalSign | None:
    """Which sign the numbers use; None where a comma or a point may be either: 60,001.

    point_is_decimal: in this file a point alone is never between thousands.
    """
    texts = [cells for cells in columns if cells.dtype == pl.String()]
    cells = pl.concat(texts) if texts else pl.Series([], dtype=pl.String())
    marked = cells.filter(cells.str.contains("," if point_is_decimal else "[,.]")).str.strip_chars().unique()
    signs = [sign for sign, other in SIGNS if marked.str.contains(SHOWS.format(sign=sign, other=other)).any()]
    if len(signs) == 1:
        return signs[0]
    return "." if signs or marked.is_empty() else None


def date_order(cells: pl.Series) -> DateOrder | Literal["unclear"] | None:
    """Which of 01/02/2024 is the month: None if there are no such dates, unclear if no number is above 12."""
    if cells.dtype != pl.String():
        return None
    parts = cells.str.strip_chars().str.extract_groups(YEAR_LAST).struct
    first, second = (parts.field(name).cast(pl.Int16).drop_nulls() for name in ("1", "2"))
    if first.is_empty():
        return None
    if (first > 12).any():
        return "dmy"
    return "mdy" if (second > 12).any() else "unclear"


def micros(cells: pl.Series, *, order: DateOrder = "dmy", zone: str | None = None) -> tuple[pl.Series, int]:
    """Microseconds since the epoch in UTC, null for what is no time; and how many had no time zone of their own.

    Dates and times, epochs by their magnitude. zone: what times without one are in, None: UTC.
    """
    if cells.dtype.is_temporal():
        return _moments(cells, zone)
    epochs = _epochs(cells)
    if cells.dtype != pl.String() or not (left := epochs.is_null() & cells.is_not_null()).any():
        return epochs, 0
    text = cells.filter(left).str.strip_chars(" \t\"'")
    times, offsets = _dates(text, order)
    naive = offsets.is_null() & times.is_not_null()
    local = pl.select(pl.when(naive).then(times)).to_series()
    utc = _in_utc(local, zone).fill_null(times.cast(pl.Int64) - offsets * US).fill_null(_epochs(text))
    return epochs.scatter(left.arg_true(), utc), int(naive.sum())


def _moments(cells: pl.Series, zone: str | None) -> tuple[pl.Series, int]:
    if isinstance(cells.dtype, pl.Datetime) and cells.dtype.time_zone is not None:
        return cells.dt.convert_time_zone("UTC").dt.cast_time_unit("us").cast(pl.Int64), 0
    if cells.dtype not in (pl.Date(), pl.Datetime):
        return pl.repeat(None, len(cells), dtype=pl.Int64(), eager=True), 0
    return _in_utc(cells.cast(TIMES), zone), len(cells) - cells.null_count()


def _in_utc(times: pl.Series, zone: str | None) -> pl.Series:
    """Local times as microseconds in UTC; of an hour that is there twice, the second time it comes is the later one."""
    if zone is None:
        return times.cast(pl.Int64)
    falling = bool((times.diff().dt.total_microseconds() < 0).any())
    first = times.is_first_distinct() if not falling else times.is_last_distinct()
    return pl.select(
        pl.lit(times)
        .dt.replace_time_zone(
            zone, ambiguous=pl.when(first).then(pl.lit("earliest")).otherwise(pl.lit("latest")), non_existent="null"
        )
        .dt.convert_time_zone("UTC")
        .cast(pl.Int64)
    ).to_series()


def _epochs(cells: pl.Series) -> pl.Series:
    """Seconds, milliseconds, microseconds or nanoseconds since 1970: what lies between 2009 and 2100 is only one.

    By way of float64, which holds whole seconds exactly in each of these units.
    """
    value = pl.lit(cells.cast(pl.Float64, strict=False))
    unit = pl.when(value < 1e11).then(1e6).when(value < 1e14).then(1e3).when(value < 1e17).then(1.0).otherwise(1e-3)
    return pl.select((value * unit).round().cast(pl.Int64, strict=False)).to_series()


def _dates(text: pl.Series, order: DateOrder) -> tuple[pl.Series, pl.Series]:
    """Times as they are written, and the seconds that their zone is ahead of UTC, null where they name none."""
    words = text.str.contains("^[A-Za-z]{3}")
    if words.any():  # Jan 31, 2024
        iso = text.filter(words).str.to_date("%b %d, %Y", strict=False).dt.strftime("%Y-%m-%d")
        text = text.scatter(words.arg_true(), iso)
    parts = text.str.replace(YEAR_LAST, YEAR_FIRST[order]).str.extract_groups(MOMENT).struct.unnest()
    hour, minute, second = (pl.col(name).cast(pl.Int64).fill_null(0) for name in ("hour", "minute", "second"))
    afternoon = pl.col("half").str.to_lowercase().eq("p").cast(pl.Int64)
    hour = pl.when(pl.col("half").is_null()).then(hour).otherwise(hour % 12 + 12 * afternoon)
    fraction = (pl.col("fraction").fill_null("") + "000000").str.slice(0, 6).cast(pl.Int64)
    date = pl.concat_str("year", "month", "day", separator="-").str.to_date("%Y-%m-%d", strict=False)
    passed = ((hour * 60 + minute) * 60 + second) * US + fraction
    sign = pl.when(pl.col("zone").str.starts_with("-")).then(-1).otherwise(1)
    hours, minutes = (pl.col("zone").str.slice(at, 2).cast(pl.Int64, strict=False) for at in (1, -2))
    read = parts.select(
        time=pl.when((hour < 24) & (minute < 60) & (second < 60)).then(
            date.cast(TIMES) + pl.duration(microseconds=passed)
        ),
        offset=pl.when(pl.col("zone").is_not_null()).then((sign * (hours * 3600 + minutes * 60)).fill_null(0)),
    )
    return read["time"], read["offset"]
