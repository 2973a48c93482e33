"""The raw cells of a file as typed columns: which column is which, how its numbers and times are written."""

import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Final

import polars as pl

from cryptocast.data.coin_names import QUOTES
from cryptocast.data.coins import shown
from cryptocast.data.quality import broken_range
from cryptocast.data.sources.file.cells import DateOrder, DecimalSign, date_order, decimal_sign, micros, numbers
from cryptocast.data.sources.file.layouts import NAMES, Stamp, VolumeUnit
from cryptocast.data.sources.file.pieces import ROW, Table
from cryptocast.data.sources.file.symbols import NUMBERS, OTHER_CURRENCY, RankedSymbol, Target
from cryptocast.errors import DataError, UsageError
from cryptocast.number_format import count

EARLIEST, LATEST = (round(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1e6) for year in (2009, 2100))
RANGE: Final = ("open", "high", "low")
PRICES: Final = (*RANGE, "close")
DATES: Final = ("date", "day", "ds")  # columns beside which another may have the time of day
VOLUME_IN: Final = re.compile(r"volume_([a-z0-9]+)")
AMOUNTS: Final = {"volume": "volume", "quote_volume": "volume", "market_cap": "market cap"}
NO_ROWS: Final = pl.Schema({"time": pl.Int64(), "rank": pl.Int8()})


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """What the user says of a file, None: look. UsageError for a time zone that does not exist.

    stamp: which end of a bar its time names. dates: which of 01/02/2024 is the month. timezone: of times without one.
    """

    stamp: Stamp | None = None
    volume_unit: VolumeUnit | None = None
    decimal: DecimalSign | None = None
    dates: DateOrder | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        try:
            pl.Series([0]).cast(pl.Datetime("us")).dt.replace_time_zone(self.timezone)
        except pl.exceptions.PolarsError:
            raise UsageError(f"{shown(self.timezone)} is no time zone: name one such as Europe/Berlin.") from None


@dataclass(slots=True, eq=False)
class Notes:
    """What is said of an import: lines, each once, and counts that add up over pieces and files."""

    lines: dict[str, None] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, line: str | None) -> None:
        """Say it once; nothing for None."""
        if line is not None:
            self.lines[line] = None

    def count(self, number: int, noun: str, what: str) -> None:
        """Such as 3, `row`, `without a price left out`."""
        if number:
            self.counts[noun, what] += number

    def in_words(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.lines, *(f"{count(number, noun)} {what}" for (noun, what), number in self.counts.items()))


@dataclass(slots=True, eq=False)
class TypedColumns:
    """Turns the pieces of one table into a frame of ROW, file (its label), time (microseconds), prices, range_known,
    volume, market_cap and rank (of the symbol; 0 where there are none).

    symbols: each with the place of its first row.
    """

    table: Table
    origin: str
    target: Target
    options: FileOptions
    notes: Notes
    symbols: dict[str, RankedSymbol]
    roles: dict[str, str] = field(init=False)  # our column -> its plain name in the file
    places: dict[str, str] = field(init=False)  # our column -> its name in the pieces
    stamp: Stamp | None = field(init=False)  # which end of the bar the column of the time names; None: it does not say
    times: tuple[str, ...] = field(init=False, default=("time",))  # ours: of a date and its time of day, or of one
    sign: DecimalSign = field(init=False, default=".")
    order: DateOrder = field(init=False, default="dmy")
    volume: tuple[str, VolumeUnit] | None = field(init=False, default=None)  # our column, and what it counts
    decided: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        columns = self._own_columns()
        self.roles = self._find_roles(columns)
        self.roles["time"], self.stamp = self._time_column()
        if self.roles["time"] not in DATES:
            self.roles.pop("clock", None)
        self.places = {ours: columns[name] for ours, name in self.roles.items()}

    def frame(self) -> pl.DataFrame:
        """All rows that have a price and a symbol of the target, by time. DataError naming file, row and value."""
        frames = []
        for piece in self.table.pieces:
            frame = self._typed(piece.select(ROW, **self.places))
            if len(frame):
                frames.append(self._sorted(frame))
        # Newest first is usual: to put sorted pieces in order takes less memory than to sort the whole.
        frames.sort(key=lambda frame: int(frame["time"][0]))
        return self._sorted(pl.concat(frames)) if frames else pl.DataFrame(schema=NO_ROWS)

    def _sorted(self, frame: pl.DataFrame) -> pl.DataFrame:
        if frame["time"].is_sorted():
            return frame
        self.notes.add("rows sorted by time")
        return frame.sort("time", maintain_order=True)

    # --- which column is which

    def _own_columns(self) -> dict[str, str]:
        """The plain names of the columns whose ticker, if they have one, is that of the target, and their places."""
        shape = self.table.shape
        place = f"{self.origin}, row {shape.above - 1}: the ticker"
        tickers = {ticker: (self.target.rank(ticker), place) for ticker in shape.tickers if ticker}
        best = 0
        if tickers:
            best, note = self.target.choose(tickers)
            self.notes.add(note)
        columns: dict[str, str] = {}
        for at, (name, ticker) in enumerate(zip_longest(shape.names, shape.tickers)):
            if not ticker or tickers[ticker][0] == best:
                columns.setdefault(name, str(at))
        return columns

    def _find_roles(self, columns: Collection[str]) -> dict[str, str]:
        candidates = {ours: [name for name in names if name in columns] for ours, names in NAMES.items()}
        roles = {ours: names[0] for ours, names in candidates.items() if names}
        if not {"open_time", "close_time", "time"} & roles.keys() or "close" not in roles:
            lacking = "a close" if "close" not in roles else "a time such as timestamp, date, open_time or close_time"
            raise DataError(f"{self.origin} lacks {lacking}: its columns are {shown(', '.join(columns), 120)}.")
        units = {match[1].upper(): match[0] for name in columns if (match := VOLUME_IN.fullmatch(name))}
        own = set(self.target.currencies)
        for unit, name in units.items():
            if unit in own:
                roles.setdefault("quote_volume", name)
            elif self.target.rank(unit) == 0:
                roles.setdefault("volume", name)
        if roles["close"] == "priceusd":
            units["USD"] = "priceusd"
        # Prices in euros do not become dollars because nothing but the column of volume says euro.
        other = next((unit for unit in units if unit in QUOTES and self.target.rank(unit) != 0), None)
        if other and not own & units.keys():
            vs = self.target.vs.upper()
            raise DataError(f"{self.origin} has prices in {other}, not in {vs}: import them with --vs {other.lower()}.")
        return roles

    def _time_column(self) -> tuple[str, Stamp | None]:
        """The column that dates the bars, and which end of the bar it names."""
        roles, stamp = self.roles, self.options.stamp
        if "open_time" in roles and stamp != "close":
            return roles["open_time"], "open"
        if "close_time" in roles and (stamp == "close" or (stamp is None and "time" not in roles)):
            return roles["close_time"], "close"
        if "time" in roles:
            return roles["time"], None
        end = "open" if "open_time" in roles else "close"
        name = roles[f"{end}_time"]
        raise DataError(f"{self.origin} has only the {end} time of its bars ({name}), not --stamp {stamp}.")

    # --- how it is written, by the first piece

    def _decide(self, piece: pl.DataFrame) -> None:
        self.decided = True
        self._decide_clock(piece)
        self._decide_sign(piece)
        order = self.options.dates or date_order(self._cells(piece, "time"))
        if order == "unclear":
            raise self._fail(piece, "time", 0, "day or month first: say --dates dmy or --dates mdy")
        if order is not None:
            self.order = order
            if self.options.dates is None:
                self.notes.add(f"dates read as {'day/month' if order == 'dmy' else 'month/day'}/year")
        self._decide_volume(piece)
        present = [name for name in RANGE if name in self.roles]
        if len(present) < len(RANGE):
            self.notes.add("close-only bars" + (f": {', '.join(present)} not used alone" if present else ""))
            self.roles = {ours: name for ours, name in self.roles.items() if ours not in RANGE}

    def _decide_clock(self, piece: pl.DataFrame) -> None:
        """A column `time` beside the date is its time of day, or says it all, or is something else."""
        if "clock" not in self.roles:
            return
        first = str(next(iter(piece["clock"].drop_nulls()), ""))
        if re.match(r"\d{1,2}:\d\d", first):
            self.times = ("time", "clock")
        elif re.match(r"\d{9}|\d{4}-", first):
            self.times = ("clock",)

    def _decide_sign(self, piece: pl.DataFrame) -> None:
        # MetaTrader always writes a decimal point.
        plain = self.table.point_is_decimal or self.table.shape.layout.name.startswith("MetaTrader")
        prices = [piece[name] for name in PRICES if name in self.roles]
        sign = self.options.decimal or decimal_sign(prices, point_is_decimal=plain)
        if sign is None:
            raise self._fail(piece, "close", 0, "thousands or a fraction: say --decimal . or --decimal ,")
        self.sign = sign
        if sign == "," and self.options.decimal is None:
            self.notes.add("numbers read with a decimal comma")

    def _decide_volume(self, piece: pl.DataFrame) -> None:
        roles, option, vs = self.roles, self.options.volume_unit, self.target.vs
        unit = option or self.table.shape.layout.volume
        if option != "coin" and "quote_volume" in roles:
            self.volume = ("quote_volume", "quote")
            self.notes.add("volume taken from the column of quote volume")
            if "volume" in roles and self._is_swapped(piece):
                self.volume = ("volume", "quote")
                self.notes.add(f"the names of the columns {roles['volume']} and {roles['quote_volume']} are exchanged")
        elif "volume" not in roles:
            return
        elif unit is None:
            self.notes.add("the volume counts neither coins nor money and is left out")
        # No exchange knows market caps: with them it came from a site that counts in money.
        elif unit == "quote" or (option is None and self._has_market_caps(piece)):
            self.volume = ("volume", "quote")
            self.notes.add(f"volume taken to be in {vs}" if option is None else None)
        else:
            self.volume = ("volume", "coin")
            self.notes.add(f"volume converted from coins to {vs} at the close")

    def _has_market_caps(self, piece: pl.DataFrame) -> bool:
        return "market_cap" in self.roles and bool((numbers(piece["market_cap"], self.sign) > 0).any())

    def _is_swapped(self, piece: pl.DataFrame) -> bool:
        """Whether coins and money are the other way round: then money times the price makes coins."""
        coins, money, close = (numbers(piece[name], self.sign) for name in ("volume", "quote_volume", "close"))
        fair, turned = ((a / (b * close)).fill_nan(None).median() for a, b in ((money, coins), (coins, money)))
        return not _is_near_one(fair) and _is_near_one(turned)

    # --- a piece

    def _typed(self, piece: pl.DataFrame) -> pl.DataFrame:
        if "symbol" in self.roles:
            piece = self._own_rows(piece)
        if "currency" in self.roles:
            self._check_currency(piece)
        if not self.decided and len(piece):
            self._decide(piece)
        close = numbers(piece["close"], self.sign)
        self.notes.count(close.null_count(), "row", "without a price left out")
        piece = piece.filter(close.is_not_null())
        unknown = pl.lit(None, dtype=pl.Float64())
        columns = {name: self._numbers(piece, name) if name in self.roles else unknown for name in PRICES}
        columns["volume"] = unknown if self.volume is None else self._numbers(piece, self.volume[0])
        if self.volume is not None and self.volume[1] == "coin":
            columns["volume"] *= columns["close"]
        columns["market_cap"] = self._numbers(piece, "market_cap") if "market_cap" in self.roles else unknown
        columns["rank"] = pl.col("rank") if "symbol" in self.roles else pl.lit(0, pl.Int8())
        columns["file"] = pl.lit(self.origin, pl.Categorical())
        bars = piece.select(ROW, time=self._micros(piece), **columns)
        return self._with_sound_ranges(bars.with_columns(pl.when(pl.col("market_cap") > 0).then("market_cap")))

    def _with_sound_ranges(self, bars: pl.DataFrame) -> pl.DataFrame:
        """range_known; a bar whose high and low contradict its open or close, or which lacks one, keeps its close."""
        lacking = pl.any_horizontal(pl.col(RANGE).is_null())
        checks = bars.select(lacking=lacking, broken=~lacking & broken_range().fill_null(value=False))
        broken = int(checks["broken"].sum())
        if "high" in self.roles:
            self.notes.count(int(checks["lacking"].sum()), "bar", "without open, high or low made close-only")
        self.notes.count(broken, "bar", "whose high and low contradict open or close made close-only")
        bars = bars.with_columns(range_known=~(checks["lacking"] | checks["broken"]))
        return bars.with_columns(pl.when("range_known").then(name).otherwise("close").alias(name) for name in RANGE)

    def _own_rows(self, piece: pl.DataFrame) -> pl.DataFrame:
        """The rows whose symbol is not of another coin or currency, with its rank."""
        name = self.roles["symbol"]
        symbols = piece["symbol"].cast(pl.String).fill_null("").replace(NUMBERS.get(name, {}))
        # A column `coin` is one of ours: its ids are exact.
        ranks = {text: self.target.rank(text, is_id=name == "coin") for text in symbols.unique()}
        for text in ranks.keys() - self.symbols.keys():
            row = piece[ROW][symbols.eq(text).arg_max() or 0]
            self.symbols[text] = ranks[text], f"{self.origin}, row {row}: {name}"
        ranked = piece.with_columns(rank=symbols.replace_strict(ranks, return_dtype=pl.Int8()))
        own = ranked.filter(pl.col("rank") < OTHER_CURRENCY)
        self.notes.count(len(piece) - len(own), "row", "of other symbols left out")
        return own

    def _check_currency(self, piece: pl.DataFrame) -> None:
        currency = piece["currency"].cast(pl.String).fill_null("").str.to_uppercase()
        other = ~currency.is_in(self.target.currencies)
        vs = self.target.vs.upper()
        if other.any():
            raise self._fail(piece, "currency", other.arg_max() or 0, f"not {vs}: name the currency with --vs")
        for text in currency.unique():
            self.notes.add(f"prices in {text} count as {vs}" if text != vs else None)

    def _numbers(self, piece: pl.DataFrame, name: str) -> pl.Series:
        """A column of prices (positive), volumes or market caps (not negative)."""
        values = numbers(piece[name], self.sign)
        low = values < 0 if name in AMOUNTS else values <= 0
        wrong = (values.is_nan() | values.is_infinite() | low).fill_null(value=False)
        if not wrong.any():
            return values
        at = wrong.arg_max() or 0
        why = f"a {AMOUNTS[name]} cannot be negative" if name in AMOUNTS else "a price must be positive"
        if not math.isfinite(values[at]):
            why = "not a number" if math.isnan(values[at]) else "not a finite number"
        raise self._fail(piece, name, at, why)

    def _cells(self, piece: pl.DataFrame, name: str) -> pl.Series:
        """The cells as the file has them; those of the time with its time of day, where that stands by itself."""
        if name != "time" or len(self.times) == 1:
            return piece[self.times[0] if name == "time" else name]
        return piece["time"].cast(pl.String) + " " + piece["clock"].cast(pl.String)

    def _micros(self, piece: pl.DataFrame) -> pl.Series:
        times, naive = micros(self._cells(piece, "time"), order=self.order, zone=self.options.timezone)
        if naive:
            zone = self.options.timezone
            self.notes.add(f"times read as {zone}" if zone else "times name no time zone and were read as UTC")
        wrong = times.is_null() | ~times.is_between(EARLIEST, LATEST, closed="left")
        if not wrong.any():
            return times
        at = wrong.arg_max() or 0
        why = "not between 2009 and 2100"
        if times[at] is None:
            why = "not a time such as 2020-01-31, 2020-01-31T14:00:00Z or an epoch"
        raise self._fail(piece, "time", at, why)

    def _fail(self, piece: pl.DataFrame, name: str, at: int, why: str) -> DataError:
        cell = shown(self._cells(piece, name)[at])
        return DataError(f"{self.origin}, row {piece[ROW][at]}: {self.roles[name]} is {cell}, {why}.")


def _is_near_one(ratio: object) -> bool:
    return isinstance(ratio, float) and 0.2 < ratio < 5
