"""A forecast as a file."""

from pathlib import Path

import msgspec
import polars as pl
import pytest

from cryptocast.errors import UsageError
from cryptocast.workflows.export import check_forecast_path, forecast_table, write_forecast
from cryptocast.workflows.reports import CoinError, ForecastDocument
from tests.cli.test_fan import forecast_of

DOCUMENT = ForecastDocument(
    forecasts=(forecast_of(100.0, (1, 7), (80, 95)),), errors=(CoinError(coin="dogecoin", error="none"),)
)


def test_json_is_the_document_itself(tmp_path: Path) -> None:
    file = tmp_path / "f.JSON"
    write_forecast(DOCUMENT, file)
    assert msgspec.json.decode(file.read_bytes(), type=ForecastDocument) == DOCUMENT


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_has_a_row_for_each_horizon_with_its_intervals(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"f{suffix}"
    write_forecast(DOCUMENT, file)
    table = pl.read_csv(file) if suffix == ".csv" else pl.read_parquet(file)
    assert table["horizon"].to_list() == [1, 7]
    (forecast,) = DOCUMENT.forecasts
    for row, horizon in zip(table.iter_rows(named=True), forecast.horizons, strict=True):
        assert (row["coin"], row["version"], row["price"]) == ("bitcoin", 1, 100.0)
        assert [row["lower_80"], row["upper_95"]] == pytest.approx(
            [horizon.intervals[0].lower, horizon.intervals[1].upper]
        )


def test_a_format_that_nobody_knows_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    for name in ("f.txt", "f", "f.json.gz"):
        with pytest.raises(UsageError, match=r"\.csv, \.parquet, \.json"):
            check_forecast_path(tmp_path / name)
        with pytest.raises(UsageError):
            write_forecast(DOCUMENT, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_table_of_nixtla_has_a_column_for_each_end_under_the_model_that_was_asked_for(tmp_path: Path) -> None:
    write_forecast(DOCUMENT, tmp_path / "f.csv", "nixtla")
    table = forecast_table(DOCUMENT, "nixtla")
    assert table.equals(pl.read_csv(tmp_path / "f.csv", try_parse_dates=True))
    assert table.columns == ["unique_id", "ds", "auto", "auto-lo-80", "auto-hi-80", "auto-lo-95", "auto-hi-95"]
    (forecast,) = DOCUMENT.forecasts
    first = forecast.horizons[0]
    # The bar behind the last one known, which closed as 2 January began and so is 1 January: it is 2 January.
    assert f"{table['ds'][0]:%Y-%m-%d %H:%M}" == "2020-01-02 00:00"
    assert table.row(0)[2:5] == (first.median, first.intervals[0].lower, first.intervals[0].upper)


def test_a_layout_is_of_a_table_and_of_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="layout nixtla"):
        check_forecast_path(tmp_path / "f.json", "nixtla")
    assert forecast_table(ForecastDocument(forecasts=()), "nixtla").is_empty()
