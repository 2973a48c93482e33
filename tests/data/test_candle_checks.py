from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from cryptocast.data.candle_checks import candles_of, check_candles, content_hash, cut
from cryptocast.data.schema import SeriesKey
from cryptocast.errors import DataError
from cryptocast.market import Market
from tests.conftest import simulated_candles

KEY = SeriesKey(Market("file", "usd", "daily"), "bitcoin")
FRAME = simulated_candles(("bitcoin",), 5)
NOW = datetime(2021, 1, 1, tzinfo=UTC)


def test_sound_candles_pass() -> None:
    check_candles(FRAME, KEY)


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (FRAME.head(0), "has no candles"),
        (FRAME.drop("volume"), "has columns"),
        (FRAME.with_columns(close=pl.lit(None, pl.Float64())), "5 rows without close"),
        (FRAME.with_columns(coin=pl.lit("ethereum")), "holds rows of 'ethereum'"),
        (FRAME.reverse(), "not sorted by close time"),
        (pl.concat([FRAME, FRAME.tail(1)]), "without duplicates"),
        (FRAME.with_columns(pl.col("close_time") + timedelta(minutes=5)), "closes at 2020-01-02T00:05Z, off the daily"),
        (FRAME.with_columns(low=pl.lit(0.0)), "low 0.0 .* must be finite and positive"),
        (FRAME.with_columns(volume=pl.lit(-1.0)), "volume -1.0 .* must be finite and not negative"),
        (FRAME.with_columns(market_cap=pl.lit(float("inf"))), "market_cap inf"),
    ],
)
def test_each_fault_is_named_with_its_number_or_time(frame: pl.DataFrame, problem: str) -> None:
    with pytest.raises(DataError, match=rf"^bitcoin \(file, usd, daily\) .*{problem}"):
        check_candles(frame, KEY)


def test_the_hash_is_of_the_values_and_not_of_how_they_lie_in_memory() -> None:
    chunked = pl.concat([FRAME.head(2), FRAME.tail(3)], rechunk=False)
    assert content_hash(chunked) == content_hash(FRAME)
    for other in (FRAME.head(4), FRAME.rename({"open": "first"}), FRAME.with_columns(pl.col("close") * (1 + 1e-15))):
        assert content_hash(other) != content_hash(FRAME)


def test_a_cut_leaves_the_closed_bars_and_says_so_in_its_provenance() -> None:
    candles = candles_of(FRAME, KEY, fetched_at=NOW)
    third = FRAME["close_time"][2]
    part = cut(candles, third)
    assert (len(part.frame), part.provenance.rows, part.provenance.last) == (3, 3, third)
    assert part.provenance.content_hash == content_hash(FRAME.head(3))
    assert cut(candles, NOW) is candles
    with pytest.raises(DataError, match="first closes at 2020-01-02T00:00Z"):
        cut(candles, FRAME["close_time"][0] - timedelta(microseconds=1))
