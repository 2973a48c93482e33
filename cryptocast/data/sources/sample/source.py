"""The sample as a source of candles: inside the package, so that the first run works without a network."""

from datetime import datetime
from typing import ClassVar, Final

from cryptocast.config import Config
from cryptocast.data.schema import Candles, SeriesKey
from cryptocast.data.sources.base import Source
from cryptocast.data.sources.sample import SAMPLE_COINS, load_sample, what_it_lacks


class SampleSource(Source):
    """Real prices that end in 2020."""

    name: ClassVar[str] = "sample"
    title: ClassVar[str] = "the sample"
    kept_in_store: ClassVar[bool] = False

    def explain_missing(self, config: Config, key: SeriesKey) -> str:  # noqa: ARG002 - the settings say nothing of it
        """What it holds."""
        return what_it_lacks(key.coin, vs=key.vs, granularity=key.granularity)

    def holds(self, key: SeriesKey) -> bool:
        """Three coins, in days and dollars."""
        return key.coin in SAMPLE_COINS and key.vs == "usd" and key.granularity == "daily"

    def load(self, config: Config, key: SeriesKey) -> Candles:  # noqa: ARG002 - the settings say nothing of it
        """From the package."""
        return load_sample(key.coin, vs=key.vs, granularity=key.granularity)

    def described(self, last: datetime) -> str:
        """With whose prices they are."""
        return f"the sample, real Bitstamp prices that end {last:%Y-%m-%d}"


SAMPLE: Final = SampleSource()
