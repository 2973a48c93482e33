from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from cryptocast.data.schema import CANDLE_SCHEMA
from cryptocast.data.sources.sample import SAMPLE_COINS, load_sample
from cryptocast.errors import DataError
from tests.data.sources.make_sample import convert, write_sample

ORIGINAL = Path(__file__).resolve().parents[3].parent / "shared/data/committable/bitstamp_btc_eth_ltc_usd_daily.csv"


@pytest.mark.parametrize(
    ("coin", "rows", "first", "close", "volume"),
    [  # counts from the README of the original, less its last, partial day; closes and coin volumes from its CSV
        ("bitcoin", 1864, "2014-11-29", 8710.15, 6713.26 * 8710.15),
        ("ethereum", 787, "2017-11-10", 164.09, 32297.64 * 164.09),
        ("litecoin", 924, "2017-06-26", 57.72, 22141.34 * 57.72),
    ],
)
def test_the_sample_holds_the_bars_of_the_original(
    coin: str, rows: int, first: str, close: float, volume: float
) -> None:
    candles = load_sample(coin)
    assert candles.frame.schema == CANDLE_SCHEMA
    assert len(candles.frame) == rows
    assert f"{candles.provenance.first:%Y-%m-%dT%H:%M%z}" == f"{first}T00:00+0000"
    assert f"{candles.provenance.last:%Y-%m-%dT%H:%M%z}" == "2020-01-17T00:00+0000"
    assert candles.frame["close"][-1] == close
    assert candles.frame["volume"][-1] == pytest.approx(volume)
    assert candles.frame["range_known"].all()
    assert candles.frame["market_cap"].null_count() == rows


def test_the_real_gap_of_the_original_is_left_in() -> None:
    times = load_sample("bitcoin").frame["close_time"].dt.strftime("%Y-%m-%d").to_list()
    at = times.index("2019-03-20")
    assert times[at + 1] == "2019-04-02"  # the days 2019-03-20 to 2019-03-31 would close on 03-21 to 04-01


@pytest.mark.parametrize(
    ("coin", "vs", "granularity"),
    [("ripple", "usd", "daily"), ("bitcoin", "eur", "daily"), ("bitcoin", "usd", "hourly")],
)
def test_what_the_sample_lacks_is_said(coin: str, vs: str, granularity: str) -> None:
    with pytest.raises(DataError, match="bitcoin, ethereum, litecoin"):
        load_sample(coin, vs=vs, granularity=granularity)


@pytest.mark.skipif(not ORIGINAL.is_file(), reason="the original table is not part of the repository")
def test_the_conversion_of_the_original_gives_the_shipped_files(tmp_path: Path) -> None:
    converted = convert(ORIGINAL)
    assert tuple(converted) == SAMPLE_COINS
    write_sample(ORIGINAL, tmp_path)
    for coin, candles in converted.items():
        shipped = load_sample(coin)
        assert_frame_equal(candles.frame, shipped.frame)
        assert candles.provenance == shipped.provenance
        assert (tmp_path / f"{coin}.parquet").is_file()
