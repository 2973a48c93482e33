"""Which bars are meant: of which source, in which currency, of which length."""

import msgspec

from cryptocast.config import Granularity

__all__ = ["Market"]


class Market(msgspec.Struct, frozen=True, order=True, gc=False):
    """Bars of one market are never joined to those of another, and no model of one forecasts the other."""

    source: str
    vs: str
    granularity: Granularity

    def __str__(self) -> str:
        return f"{self.source}, {self.vs}, {self.granularity}"
