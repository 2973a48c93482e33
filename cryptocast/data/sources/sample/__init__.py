"""Real daily prices inside the package, read as they lie there. README.md beside this file has their provenance."""

from importlib import resources
from typing import Final

from cryptocast.data.schema import Candles, SeriesKey
from cryptocast.data.store import decode_series
from cryptocast.errors import DataError
from cryptocast.market import Market

__all__ = ["SAMPLE_COINS", "load_sample", "what_it_lacks"]

SAMPLE_COINS: Final = ("bitcoin", "ethereum", "litecoin")


def load_sample(coin: str, *, vs: str = "usd", granularity: str = "daily") -> Candles:
    """The sample's candles of a coin: real Bitstamp prices that end 2020-01-17. DataError for what it lacks."""
    if coin not in SAMPLE_COINS or vs != "usd" or granularity != "daily":
        raise DataError(what_it_lacks(coin, vs=vs, granularity=granularity))
    file = resources.files(__name__).joinpath(f"{coin}.parquet")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(
            f"The sample file {coin}.parquet is missing from the package. Install cryptocast again."
        ) from error
    key = SeriesKey(Market("sample", "usd", "daily"), coin)
    return decode_series(content, key, f"sample/{coin}.parquet", "Install cryptocast again.")


def what_it_lacks(coin: str, *, vs: str, granularity: str) -> str:
    """What to say of a series that is not in the sample."""
    return f"The sample has no {granularity} {coin} in {vs}: it holds daily bars in usd of {', '.join(SAMPLE_COINS)}."
