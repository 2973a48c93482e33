"""The sources of candles, one line each, and the order in which `auto` tries them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

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
AUTO: Final = (FILE, COINGECKO, SAMPLE)  # the sample stands in where nobody can be asked


@dataclass(frozen=True, slots=True)
class SourceOrder:
    """Which sources a choice tries for a coin, in this order.

    here: nobody needs to be asked for their candles. fetched: the one that is asked over the network. stand_ins: what
    answers where that one cannot be asked.
    """

    here: tuple[Source, ...]
    fetched: Source | None
    stand_ins: tuple[Source, ...]


def rule_of(choice: str) -> SourceOrder:
    """The order of a choice: `auto`, or one source alone."""
    order = AUTO if choice == "auto" else (SOURCES[choice],)
    at = next((index for index, source in enumerate(order) if source.is_fetched), len(order))
    return SourceOrder(here=order[:at], fetched=order[at] if at < len(order) else None, stand_ins=order[at + 1 :])


def is_fetched(name: str) -> bool:
    """Whether a source is asked over the network; the bars of one that is not known here end where they end."""
    return name in SOURCES and SOURCES[name].is_fetched


def ages_by_clock(name: str) -> bool:
    """Whether the bars of a source are of a real market, and grow old."""
    return name in SOURCES and SOURCES[name].ages_by_clock
