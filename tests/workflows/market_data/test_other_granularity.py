"""Hours where days are wanted: never nothing, and never another source in silence."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from cryptocast.choices import Granularity
from cryptocast.data.schema import CANDLE_SCHEMA, SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.market import Market
from cryptocast.workflows.market_data.other_granularity import other_granularity, other_granularity_text

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def key(source: str, granularity: Granularity, vs: str = "usd") -> SeriesKey:
    return SeriesKey(Market(source, vs, granularity), "bitcoin")


def write(store: CandleStore, of: SeriesKey) -> None:
    start, step = (
        datetime(2024, 1, 1, tzinfo=UTC),
        timedelta(days=1) if of.granularity == "daily" else timedelta(hours=1),
    )
    rows = [("bitcoin", start + at * step, 1.0, 1.0, 1.0, 1.0, None, None, True) for at in range(1, 6)]
    store.write(of, pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row"), fetched_at=NOW)


@pytest.mark.parametrize(
    ("source", "vs", "there", "text"),
    [
        (
            *("file", "usd", "hourly"),
            "The store has hourly candles of bitcoin from your own file, to 2024-01-01 05:00, and no daily ones: add"
            " --granularity hourly to use them, or import the file with --granularity daily.",
        ),
        (
            *("file", "usd", "daily"),
            "The store has daily candles of bitcoin from your own file, to 2024-01-06, and no hourly ones: add"
            " --granularity daily to use them.",
        ),
        (
            *("bitstamp", "eur", "hourly"),
            "The store has hourly candles of bitcoin from Bitstamp, to 2024-01-01 05:00, and no daily ones: add"
            " --granularity hourly to use them, or fetch the others: cryptocast fetch bitcoin --source bitstamp"
            " --vs eur --granularity daily",
        ),
    ],
)
def test_the_bars_that_are_there_are_named_with_how_to_use_them(
    tmp_path: Path, source: str, vs: str, there: Granularity, text: str
) -> None:
    store = CandleStore(tmp_path, lock_timeout_s=1.0)
    wanted = key(source, "daily" if there == "hourly" else "hourly", vs)
    assert other_granularity(store, wanted) is None
    write(store, key(source, there, vs))
    other = other_granularity(store, wanted)
    assert other is not None
    assert other_granularity_text(other) == text
    assert other_granularity(store, key("kraken", wanted.granularity, vs)) is None
    write(store, wanted)
    assert other_granularity(store, wanted) is None
