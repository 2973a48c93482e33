"""The simulated market as a source of candles: made anew from its settings whenever it is asked."""

from typing import ClassVar, Final

from cryptocast.config import Config
from cryptocast.data.schema import Candles, SeriesKey
from cryptocast.data.sources.base import Source
from cryptocast.data.sources.simulated.market import load_simulated, what_it_lacks


class SimulatedSource(Source):
    """Prices whose law is known."""

    name: ClassVar[str] = "simulated"
    title: ClassVar[str] = "the simulated market"
    ages_by_clock: ClassVar[bool] = False
    kept_in_store: ClassVar[bool] = False

    def explain_missing(self, config: Config, key: SeriesKey) -> str:  # noqa: ARG002 - the settings say nothing of it
        """Which coins it has."""
        return what_it_lacks(key.coin)

    def load(self, config: Config, key: SeriesKey) -> Candles:
        """By the settings."""
        return load_simulated(key.coin, config.simulated, vs=key.vs, granularity=key.granularity)


SIMULATED: Final = SimulatedSource()
