"""The sources of candles, one line each, and which of them `auto` means for a coin."""

from collections.abc import Mapping, Sequence
from typing import Final

from cryptocast.config import Config
from cryptocast.data.sources.base import Source
from cryptocast.data.sources.ccxt.source import CCXT, CcxtSource
from cryptocast.data.sources.coingecko.source import COINGECKO
from cryptocast.data.sources.exchanges.binance import BINANCE
from cryptocast.data.sources.exchanges.bitstamp import BITSTAMP
from cryptocast.data.sources.exchanges.bybit import BYBIT
from cryptocast.data.sources.exchanges.coinbase import COINBASE
from cryptocast.data.sources.exchanges.kraken import KRAKEN
from cryptocast.data.sources.exchanges.okx import OKX
from cryptocast.data.sources.file.source import FILE
from cryptocast.data.sources.sample.source import SAMPLE
from cryptocast.data.sources.simulated.source import SIMULATED


class SourceTable(dict[str, Source]):
    """Sources by name; those of ccxt are made when they are asked for."""

    def __missing__(self, name: str) -> Source:
        if name in self:
            return CcxtSource(name.removeprefix(CCXT))
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and name.startswith(CCXT))


SOURCES: Final[Mapping[str, Source]] = SourceTable(
    (source.name, source)
    for source in (
        COINGECKO,
        FILE,
        SAMPLE,
        SIMULATED,
        BITSTAMP,
        COINBASE,
        BINANCE,
        KRAKEN,
        OKX,
        BYBIT,
    )
)
AUTO: Final = "auto"
STAND_IN: Final[Source] = SAMPLE  # where auto finds nobody who could be asked


def candidates(config: Config) -> tuple[Source, ...]:
    """Where auto looks for a coin that it has no candles of, in this order; the last is asked without a list."""
    return (*(SOURCES[name] for name in config.data.exchanges), COINGECKO)


def settled_source(
    *, moved: str | None, stored: Sequence[str], promoted: Sequence[str], with_other_bars: Sequence[str] = ()
) -> Source | None:
    """The source of a coin, which stays: the one it was moved to, else a file, else that of its version in production,
    else that of its candles, the earlier ones first, those of the other length last. None for a coin that has none of
    these."""
    if moved is not None:
        return SOURCES[moved]
    if FILE.name in stored:
        return FILE
    names = (*promoted, *stored, *with_other_bars)
    last = FILE if FILE.name in with_other_bars else None
    return next((SOURCES[name] for name in names if is_fetched(name)), last)


def is_fetched(name: str) -> bool:
    """Whether a source is asked over the network; the bars of one that is not known here end where they end."""
    return name in SOURCES and SOURCES[name].is_fetched


def ages_by_clock(name: str) -> bool:
    """Whether the bars of a source are of a real market, and grow old."""
    return name in SOURCES and SOURCES[name].ages_by_clock


def is_real(name: str) -> bool:
    """Whether its prices were paid, and are kept in the store: those of several such sources may be learned from
    together, and a coin may be moved from one to another."""
    return name in SOURCES and SOURCES[name].kept_in_store
