"""The layouts of price files, recognised by their first lines; docs/data.md shows each."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from cryptocast.data.coins import shown
from cryptocast.errors import DataError

Stamp: TypeAlias = Literal["open", "close"]
VolumeUnit: TypeAlias = Literal["coin", "quote"]
Head: TypeAlias = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file of this shape means.

    volume: what its column `volume` counts, None if neither coins nor money. sparse: without trades there is no bar.
    header: the whole first line; marks: names of which a line with all of one set is this layout.
    """

    name: str
    volume: VolumeUnit | None
    sparse: bool = False
    header: tuple[str, ...] = ()
    marks: tuple[frozenset[str], ...] = ()


def _marks(*sets: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(names.split()) for names in sets)


KLINES: Final = Layout("Binance klines", "coin", marks=_marks("open_time close_time"))
KRAKEN: Final = Layout("Kraken OHLCVT", "coin", sparse=True)
CCXT: Final = Layout("ccxt rows", "coin", header=("timestamp", "open", "high", "low", "close", "volume"))
JSON: Final = Layout("freqtrade and ccxt JSON", "coin")
COINBASE: Final = Layout(
    "Coinbase rows", "coin", sparse=True, header=("time", "low", "high", "open", "close", "volume")
)
METATRADER_4: Final = Layout("MetaTrader 4", None, sparse=True)
YFINANCE_TICKERS: Final = Layout("yfinance with a Ticker line", "quote")
FREQTRADE: Final = Layout("freqtrade feather", "coin")
TIME_FIRST: Final = Layout("columns by name, timestamp first", "coin")
DATE_FIRST: Final = Layout("columns by name, date first", "quote")
# In the order in which they are tried.
LAYOUTS: Final = (
    *(KLINES, KRAKEN, CCXT, JSON, COINBASE, METATRADER_4, YFINANCE_TICKERS, FREQTRADE),
    Layout("MetaTrader 5", None, sparse=True, marks=_marks("date open tickvol")),
    Layout("CryptoDataDownload", "coin", marks=_marks("unix date symbol")),
    Layout("yfinance", "quote", marks=_marks("date adj_close", "date dividends")),
    Layout("CoinMarketCap", "quote", marks=_marks("timeopen timeclose")),
    Layout("Kaggle coin_Bitcoin", "quote", marks=_marks("sno marketcap")),
    Layout(
        *("Kaggle Bitcoin Historical Data", "coin"),
        sparse=True,
        header=("Timestamp", "Open", "High", "Low", "Close", "Volume"),
    ),
    Layout("Kaggle Bitcoin Historical Data, old", "coin", sparse=True, marks=_marks("volume_btc volume_currency")),
    Layout("Kaggle G-Research", "coin", marks=_marks("asset_id vwap")),
    Layout("CoinGecko", "quote", marks=_marks("snapped_at")),
    Layout("Coin Metrics", None, marks=_marks("time priceusd")),
    Layout("investing.com", "coin", marks=_marks("price vol change")),
    Layout("CoinAPI", "coin", marks=_marks("time_period_start px_close")),
    Layout("Nixtla long", None, marks=_marks("unique_id ds y")),
    Layout("TradingView", "coin", header=("time", "open", "high", "low", "close", "Volume")),
    *(TIME_FIRST, DATE_FIRST),
)
TIME_NAMES: Final = ("timestamp", "time", "unix", "open_time")

# Our column and the plain names it goes by, best first. `clock` is the time of day beside a date.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "open_time": ("open_time", "opentime", "open_timestamp", "timeopen", "time_period_start"),
    "close_time": ("close_time", "closetime", "close_timestamp", "timeclose", "time_period_end", "snapped_at"),
    "time": ("unix", "timestamp", "datetime", "date", "day", "ds", "time", "index_level_0", ""),
    "clock": ("time",),
    "open": ("open", "open_price", "px_open"),
    "high": ("high", "high_price", "px_high"),
    "low": ("low", "low_price", "px_low"),
    "close": ("close", "close_price", "px_close", "price", "priceusd", "y"),
    "quote_volume": ("quote_volume", "quote_asset_volume", "volume_quote", "volume_currency"),
    "volume": ("volume", "total_volume", "vol", "sx_sum"),
    "market_cap": ("market_cap", "marketcap", "capmrktcurusd"),
    "symbol": ("coin", "symbol", "pair", "ticker", "unique_id", "asset_id", "name"),
    "currency": ("currency", "quote_currency", "vs_currency"),
}
KLINE: Final = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume"),
    *("count", "taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
PRICES: Final = ("open", "high", "low", "close", "volume")
NUMBER: Final = re.compile(r"[+-]?\d*\.?\d+(e[+-]?\d+)?", re.IGNORECASE)
EPOCH: Final = re.compile(r"\d{9,19}(\.\d*)?")
TRADES: Final = frozenset({"amount", "qty", "quantity", "size", "side", "is_buyer_maker"})


@dataclass(frozen=True, slots=True)
class FileShape:
    """What the first lines say: the layout, a plain name for each column, how many lines stand above the rows.

    tickers: for each column the symbol above it, where there are any.
    """

    layout: Layout
    names: tuple[str, ...]
    above: int = 0
    tickers: tuple[str, ...] = ()


def plain(name: str) -> str:
    """A column's name in lower case, with _ for whatever is neither letter nor digit: `Volume_(BTC)` is volume_btc."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def is_read(name: str) -> bool:
    """Whether a column of this plain name can matter."""
    return name.startswith("volume_") or any(name in names for names in NAMES.values())


def recognise(head: Head, origin: str, *, json: bool = False, feather: bool = False) -> FileShape:
    """The shape of a file by its first lines, each a list of cells. DataError for ticks and for what has no names."""
    # An address or `sep=;` may stand above the header.
    above = next((at for at, line in enumerate(head) if len(line) > 1 and not line[0].startswith("sep=")), None)
    if above is None:
        above = next(at for at, line in enumerate(head) if line)
    first = [cell.strip() for cell in head[above]]
    if any(NUMBER.fullmatch(cell) for cell in first):
        return _without_header([line for line in head[above:] if line], origin, above, json=json)
    names = tuple(plain(name) for name in first)
    if len(names) < 2:
        raise DataError(f"{origin} has {len(names)} column ({shown(first[0])}); a time and a close are needed.")
    if TRADES & set(names) and "close" not in names and {"price", "rate"} & set(names):
        raise ticks(origin)
    if len(head) > above + 2 and head[above + 1][:1] == ["Ticker"]:
        tickers = tuple(head[above + 1])
        return FileShape(
            YFINANCE_TICKERS, (plain("".join(head[above + 2][:1])), *names[1:]), above + 3, ("", *tickers[1:])
        )
    if feather and names[0] == "date":
        return FileShape(FREQTRADE, names)
    return FileShape(_layout_of(tuple(first), names), names, above + 1)


def ticks(origin: str) -> DataError:
    """Trades are no bars."""
    return DataError(
        f"{origin} holds single trades, not bars. Export bars of a minute or longer, or resample it first."
    )


def _layout_of(header: tuple[str, ...], names: tuple[str, ...]) -> Layout:
    for layout in LAYOUTS:
        if header == layout.header or any(marks <= set(names) for marks in layout.marks):
            return layout
    return TIME_FIRST if names[0] in TIME_NAMES else DATE_FIRST


def _without_header(lines: Head, origin: str, above: int, *, json: bool) -> FileShape:
    first = [cell.strip() for cell in lines[0]]
    width = len(first)
    if EPOCH.fullmatch(first[0]):
        if width == 3:
            raise ticks(origin)
        if width == len(KLINE):
            return FileShape(KLINES, KLINE, above)
        if width == 7 and float(first[0]) < 1e11:  # seconds
            return FileShape(KRAKEN, ("time", *PRICES, "trades"), above)
        if width == 6:
            if _low_is_first(lines):
                return FileShape(COINBASE, COINBASE.header, above)
            return FileShape(JSON if json else CCXT, ("time", *PRICES), above)
    if width == 7 and re.fullmatch(r"\d{4}\.\d\d\.\d\d", first[0]):
        return FileShape(METATRADER_4, ("date", "time", *PRICES), above)
    raise DataError(
        f"{origin} has {width} columns and no header:"
        " name them in a first line such as Date,Open,High,Low,Close,Volume."
    )


def _low_is_first(lines: Head) -> bool:
    """Whether the four prices are low, high, open, close, and cannot be open, high, low, close."""
    try:
        bars = [[float(cell) for cell in line[1:5]] for line in lines]
    except ValueError:
        return False
    ordered = all(low <= min(first, last) and max(first, last) <= high for low, high, first, last in bars)
    return ordered and any(first > low for low, _, first, _ in bars)
