"""What lies in the store, and the closes that a picture shows."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from cryptocast.config import Config, StoreConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.sample import load_sample
from cryptocast.data.store import CandleStore
from cryptocast.errors import CryptocastError
from cryptocast.market import Market
from cryptocast.workflows.coin_pool import recent_closes
from cryptocast.workflows.context import Context
from cryptocast.workflows.market_data.inventory import check_store, list_store
from tests.cli.test_fan import forecast_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A store with one series from a file."""
    store = CandleStore(tmp_path, lock_timeout_s=1.0)
    frame = load_sample("bitcoin").frame
    store.write(SeriesKey(Market("file", "usd", "daily"), "bitcoin"), frame, fetched_at=NOW, notes=("mine",))
    return Config(store=StoreConfig(path=tmp_path))


def test_a_listing_tells_each_series_as_it_was_written(config: Config) -> None:
    (series,) = list_store(config).series
    assert (series.coin, series.source, series.rows, series.notes) == ("bitcoin", "file", 1864, ("mine",))
    assert series.last == datetime(2020, 1, 17, tzinfo=UTC)


def test_a_check_reads_every_file(config: Config) -> None:
    assert check_store(config).findings == ()
    (file,) = config.store.path.rglob("bitcoin.parquet")
    file.write_bytes(b"PAR1")
    (found,) = check_store(config).findings
    assert found.path == str(file)


def test_recent_closes_end_at_the_last_one_that_the_forecast_knew(config: Config) -> None:
    forecast = forecast_of(100.0)  # as of 2020-01-02, two weeks before the sample ends
    closes = recent_closes(Context(config=config), forecast, 5)
    assert [f"{time:%m-%d}" for time, _ in closes] == ["12-29", "12-30", "12-31", "01-01", "01-02"]
    frame = load_sample("bitcoin").frame
    assert [close for _, close in closes] == frame.filter(frame["close_time"] <= forecast.as_of)["close"].to_list()[-5:]


def test_closes_of_candles_that_went_away_are_an_error(config: Config) -> None:
    gone = msgspec.structs.replace(forecast_of(100.0), coin="dogecoin", source="file")
    with pytest.raises(CryptocastError, match="dogecoin"):
        recent_closes(Context(config=config), gone, 5)
