from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.config import QualityConfig
from cryptocast.data.quality import QualityReport, check_quality
from cryptocast.data.sample import load_sample
from cryptocast.data.schema import CANDLE_SCHEMA

START = datetime(2020, 1, 1, tzinfo=UTC)
CONFIG = QualityConfig()


def walk(bars: int, seed: int = 0, volatility: float = 0.03) -> pl.DataFrame:
    """A random walk with plausible ranges and volumes."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, volatility, bars)))
    opened = np.concatenate([[100.0], close[:-1]])
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    return pl.DataFrame(
        {
            "coin": ["bitcoin"] * bars,
            "close_time": [START + timedelta(days=d) for d in range(bars)],
            "open": opened,
            "high": top * (1 + 0.01 * rng.random(bars)),
            "low": bottom * (1 - 0.01 * rng.random(bars)),
            "close": close,
            "volume": 1e6 * np.exp(rng.normal(0, 0.3, bars)),
            "market_cap": [None] * bars,
            "range_known": [True] * bars,
        },
        schema=CANDLE_SCHEMA,
    )


def put(frame: pl.DataFrame, row: int, **values: float | None) -> pl.DataFrame:
    at = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(at).then(pl.lit(value, dtype=pl.Float64())).otherwise(name).alias(name)
        for name, value in values.items()
    )


def check(frame: pl.DataFrame) -> QualityReport:
    return check_quality(frame, "bitcoin", "daily", CONFIG)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0005, 0.03, 0.2]))
def test_a_random_walk_has_nothing_to_report(seed: int, volatility: float) -> None:
    report = check(walk(400, seed, volatility))
    assert report.lines == ()
    assert (report.rows, report.missing_bars, report.outliers, report.volume_jumps) == (400, 0, (), ())


def test_the_frame_is_not_changed() -> None:
    frame = put(walk(50), 3, close=-1.0)
    before = frame.clone()
    check(frame)
    assert frame.equals(before)


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(1, 58), max_size=30))
def test_gaps_are_the_bars_that_were_taken_out(taken: set[int]) -> None:
    frame = walk(60).filter(~pl.int_range(pl.len()).is_in(sorted(taken)))
    report = check(frame)
    assert report.missing_bars == len(taken)
    found = {(gap.after - START).days + offset for gap in report.gaps for offset in range(1, gap.missing + 1)}
    assert found == taken


def test_duplicates_bad_prices_and_broken_ranges_are_counted_in_any_order_of_rows() -> None:
    frame = walk(100)
    frame = put(frame, 10, close=-5.0)
    frame = put(frame, 11, open=float("nan"))
    frame = put(frame, 12, close=None)
    frame = put(frame, 20, high=1.0)
    frame = pl.concat([frame, frame[30:32]]).reverse()
    report = check(frame)
    assert (report.duplicates, report.non_positive) == (2, 3)
    assert report.broken_ranges >= 1
    assert (report.first, report.last) == (START, START + timedelta(days=99))


def test_a_frozen_source_is_found_and_a_gap_ends_its_run() -> None:
    frame = walk(60).with_columns(
        close=pl.when(pl.int_range(pl.len()).is_between(20, 27)).then(50.0).otherwise("close")
    )
    assert [(run.bars, (run.first - START).days) for run in check(frame).frozen_runs] == [(8, 20)]
    assert check(frame.filter(pl.int_range(pl.len()) != 24)).frozen_runs == ()


def test_a_bad_print_is_an_outlier_of_the_return_and_a_wick_one_of_the_range() -> None:
    frame = walk(200)
    close, high = frame["close"][100], frame["high"][150]
    report = check(put(put(frame, 100, close=close * 10, high=close * 10), 150, high=high * 8))
    kinds = {(outlier.kind, (outlier.close_time - START).days) for outlier in report.outliers}
    assert {("return", 100), ("return", 101), ("range", 150)} <= kinds
    assert any("clipped in features" in line for line in report.lines)


def test_the_wild_weeks_of_a_wild_coin_are_not_outliers() -> None:
    calm, wild = walk(200, 1, 0.02), walk(200, 2, 0.08)
    scale = calm["close"][-1] / 100
    wild = wild.with_columns(
        *[pl.col(name) * scale for name in ("open", "high", "low", "close")],
        close_time=pl.col("close_time").dt.offset_by("200d"),
    )
    assert check(pl.concat([calm, wild])).outliers == ()


def test_a_change_of_the_volume_unit_is_found_once_where_it_happens() -> None:
    frame = walk(200).with_columns(
        volume=pl.when(pl.int_range(pl.len()) >= 120).then(pl.col("volume") / 9_000).otherwise("volume")
    )
    (jump,) = check(frame).volume_jumps
    assert (jump.close_time - START).days == pytest.approx(120, abs=3)
    assert 1 / 30_000 < jump.factor < 1 / 3_000


def test_an_unknown_volume_and_close_only_bars_are_told() -> None:
    frame = walk(30).with_columns(volume=pl.lit(None, dtype=pl.Float64()), range_known=pl.lit(False))  # noqa: FBT003
    report = check(frame)
    assert (report.unknown_volume, report.close_only) == (30, 30)
    assert len(report.lines) == 2


def test_an_empty_frame_is_reported_as_empty() -> None:
    report = check(walk(5).clear())
    assert (report.rows, report.first, report.last, report.lines) == (0, None, None, ())


def test_the_sample_shows_its_known_gap_and_outage() -> None:
    report = check_quality(load_sample("bitcoin").frame, "bitcoin", "daily", CONFIG)
    assert [(f"{gap.after:%Y-%m-%d}", gap.missing) for gap in report.gaps] == [("2019-03-20", 12)]
    assert [f"{run.first:%Y-%m-%d}" for run in report.frozen_runs] == ["2015-01-06"]  # Bitstamp was shut for days
