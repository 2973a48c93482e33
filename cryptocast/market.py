"""Which bars are meant: of which source, in which currency, of which length."""

import msgspec

from cryptocast.choices import Granularity


class Market(msgspec.Struct, frozen=True, order=True, gc=False):
    """Bars of one market are never joined to those of another, and no model of one forecasts the other."""

    source: str
    vs: str
    granularity: Granularity

    def __str__(self) -> str:
        return f"{self.source}, {self.vs}, {self.granularity}"


class OfMarket:
    """What belongs to a market, and names the parts of it as its own."""

    __slots__ = ()
    market: Market

    @property
    def source(self) -> str:
        """The name of the source of its bars."""
        return self.market.source

    @property
    def vs(self) -> str:
        """The quote currency."""
        return self.market.vs

    @property
    def granularity(self) -> Granularity:
        """The length of its bars."""
        return self.market.granularity
