"""The oddities of real prices that are known by name, and the gap of the sample on its way through the features."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cryptocast.choices import Granularity
from cryptocast.config import QualityConfig
from cryptocast.data.quality import QualityReport, check_quality, is_stablecoin
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA
from cryptocast.data.sources.sample import load_sample
from cryptocast.features import add_features
from cryptocast.features.catalogue import FEATURES

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
OLD = ("bitcoin", "ethereum", "litecoin", "ripple", "dogecoin", "monero", "stellar")
DAILY = (*OLD, "cardano", "binancecoin", "chainlink", "tron", "eos")

shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the development data is not here")


def bars(coin: str, granularity: Granularity = "daily") -> pl.DataFrame:
    """A file of the development data (stamped at the open) as candles."""
    raw = pl.read_parquet(SHARED / f"{coin}.{granularity}.parquet")
    length = timedelta(microseconds=BAR_US[granularity])
    return raw.select(
        pl.lit(coin).alias("coin"),
        (pl.col("timestamp") + length).alias("close_time"),
        "open",
        "high",
        "low",
        "close",
        "volume",
        "market_cap",
        pl.lit(value=True).alias("range_known"),
    ).cast(CANDLE_SCHEMA)


@pytest.fixture(scope="module")
def reports() -> dict[str, QualityReport]:
    return {coin: check_quality(bars(coin), coin, "daily", QualityConfig()) for coin in DAILY}


def day(close_time: datetime) -> date:
    """The day that a bar covers."""
    return (close_time - timedelta(days=1)).date()


def outliers(report: QualityReport) -> set[date]:
    return {day(outlier.close_time) for outlier in report.outliers}


def supply(report: QualityReport) -> dict[date, float]:
    return {day(jump.close_time): jump.factor for jump in report.supply_jumps}


@shared
def test_real_bars_hold_no_error_no_stablecoin_and_no_change_of_unit(reports: dict[str, QualityReport]) -> None:
    for report in reports.values():
        assert (report.errors, report.broken_ranges, report.close_only, report.stablecoin) == (0, 0, 0, False)
        assert (report.price_jumps, report.volume_jumps, report.frozen_runs) == ((), (), ())


@shared
def test_zero_volumes_missing_days_and_unknown_market_caps_are_counted(reports: dict[str, QualityReport]) -> None:
    zero = {coin: report.zero_volume for coin, report in reports.items() if report.zero_volume}
    assert zero == {"bitcoin": 242, "litecoin": 242, "ripple": 144, "dogecoin": 11}
    gaps = {coin: report.missing_bars for coin, report in reports.items() if report.gaps}
    assert gaps == {"monero": 1}
    assert day(reports["monero"].gaps[0].after) == date(2014, 6, 4)
    unknown = {coin: report.unknown_market_cap for coin, report in reports.items() if report.unknown_market_cap}
    assert unknown == {"tron": 14, "eos": 1}


@shared
def test_flat_candles_are_listed_by_day(reports: dict[str, QualityReport]) -> None:
    flat = {coin: [day(at) for at in report.flat_bars] for coin, report in reports.items() if report.flat_bars}
    assert flat == {"bitcoin": [date(2013, 8, 7)], "ripple": [date(2014, 12, 12)]}


@shared
@pytest.mark.parametrize(
    ("coin", "when"),
    [
        ("monero", date(2014, 8, 4)),
        ("stellar", date(2021, 6, 23)),
        ("tron", date(2017, 9, 16)),
        ("tron", date(2017, 9, 19)),
        ("dogecoin", date(2013, 12, 16)),
        ("dogecoin", date(2021, 1, 28)),
        ("ripple", date(2017, 4, 2)),
        ("ripple", date(2017, 4, 3)),
        *((coin, date(2020, 3, 12)) for coin in ("bitcoin", "ethereum", "chainlink")),
    ],
)
def test_wicks_bad_prints_and_extreme_days_are_outliers_and_no_errors(
    coin: str, when: date, reports: dict[str, QualityReport]
) -> None:
    assert when in outliers(reports[coin])
    assert {f.severity for f in reports[coin].findings if f.rule == "outlier"} == {"notice"}


@shared
def test_corrected_supplies_are_found_and_smooth_ones_left_alone(reports: dict[str, QualityReport]) -> None:
    known = [
        ("ripple", date(2014, 8, 26), 3.51),
        ("stellar", date(2014, 11, 8), 2.33),
        ("tron", date(2017, 10, 2), 3.97),
        ("binancecoin", date(2019, 7, 18), 1.42),
        ("cardano", date(2020, 9, 15), 1.20),
    ]
    for coin, when, factor in known:
        assert supply(reports[coin])[when] == pytest.approx(factor, abs=0.01)
    assert reports["bitcoin"].supply_jumps == reports["litecoin"].supply_jumps == ()


@shared
def test_reported_volume_above_the_market_cap_is_counted(reports: dict[str, QualityReport]) -> None:
    counts = {coin: reports[coin].volume_over_market_cap for coin in ("bitcoin", "litecoin", "tron", "eos")}
    assert counts == {"bitcoin": 0, "litecoin": 215, "tron": 240, "eos": 216}


@shared
def test_the_calmest_quarters_of_real_coins_are_not_pegged() -> None:
    for coin in ("bitcoin", "litecoin"):
        frame = bars(coin)
        assert not any(is_stablecoin(frame[start : start + 91]) for start in range(0, len(frame) - 91, 7))


@shared
def test_the_outages_of_the_exchange_are_the_gaps_of_the_hours() -> None:
    report = check_quality(bars("bitcoin", "hourly"), "bitcoin", "hourly", QualityConfig())
    assert (len(report.gaps), report.missing_bars, report.zero_volume) == (26, 122, 2)
    early = check_quality(bars("ethereum", "hourly")[:2000], "ethereum", "hourly", QualityConfig())
    assert datetime(2017, 8, 22, 5, tzinfo=UTC) in {outlier.close_time for outlier in early.outliers}


# The sample's gap: the bars that cover 2019-03-20 to 2019-03-31 are missing.

BEFORE = datetime(2019, 3, 20, tzinfo=UTC)  # close of the last bar before it
BEHIND = datetime(2019, 4, 2, tzinfo=UTC)  # of the first behind it


@pytest.fixture(scope="module")
def features() -> pl.DataFrame:
    frame = load_sample("bitcoin").frame
    return add_features(frame.lazy(), bar_us=BAR_US["daily"]).collect()


def row(features: pl.DataFrame, close_time: datetime) -> int:
    return int(features["close_time"].search_sorted(close_time))


def test_the_gap_of_the_sample_is_twelve_rows_on_which_all_is_null(features: pl.DataFrame) -> None:
    inside = features.filter(pl.col("close_time").is_between(BEFORE, BEHIND, closed="none"))
    assert len(inside) == 12
    assert inside.drop("coin", "close_time").null_count().row(0) == (12,) * (len(features.columns) - 2)


def test_no_return_over_the_gap_passes_for_one_of_a_bar(features: pl.DataFrame) -> None:
    frame = load_sample("bitcoin").frame
    closes = dict(frame.select("close_time", "close").iter_rows())
    across = np.log(closes[BEHIND] / closes[BEFORE])
    assert abs(across) > 0.01  # else the test could not tell
    first = row(features, BEHIND)
    for bars_back in (1, 2, 3, 7):
        for offset in range(20):
            close_time = BEHIND + timedelta(days=offset)
            then = closes.get(close_time - timedelta(days=bars_back))
            value = features[f"ret_{bars_back}"][first + offset]
            assert value == (None if then is None else pytest.approx(np.log(closes[close_time] / then)))
    one_bar = features.filter(pl.col("close_time") >= BEHIND)["ret_1"]
    assert one_bar[0] is None
    assert not np.isclose(one_bar[1:10].to_numpy(), across).any()
    assert features["ret_14"][first] == pytest.approx(np.log(closes[BEHIND] / closes[BEHIND - timedelta(days=14)]))


def test_features_are_null_behind_the_gap_for_their_warmup_and_recover(features: pl.DataFrame) -> None:
    known_before = features.row(row(features, BEFORE), named=True)
    first = row(features, BEHIND)
    short = [f for f in FEATURES if f.scope == "coin" and not f.lenient and 0 < f.warmup <= 30]
    watched = [f for f in short if features[f.name][first] is None and known_before[f.name] is not None]
    assert len(watched) >= 10
    for feature in watched:
        assert features[feature.name][first + feature.warmup] is not None, feature.name
    recovered = features.row(first + 250, named=True)
    lost = [f.name for f in FEATURES if known_before[f.name] is not None and recovered[f.name] is None]
    assert lost == []


def test_a_restart_behind_the_gap_equals_a_series_that_begins_there(features: pl.DataFrame) -> None:
    late = load_sample("bitcoin").frame.filter(pl.col("close_time") >= BEHIND)
    fresh = add_features(late.lazy(), bar_us=BAR_US["daily"]).collect()
    first = row(features, BEHIND)
    for name in (f.name for f in FEATURES if f.scope == "segment"):
        ours, theirs = features[name][first:], fresh[name]
        np.testing.assert_array_equal(ours.is_null().to_numpy(), theirs.is_null().to_numpy(), err_msg=name)
        np.testing.assert_allclose(ours.drop_nulls().to_numpy(), theirs.drop_nulls().to_numpy(), err_msg=name)
