import inspect
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.config import QualityConfig
from cryptocast.data import quality
from cryptocast.data.quality import STABLECOINS, QualityReport, check_quality, is_stablecoin
from cryptocast.data.schema import CANDLE_SCHEMA, SeriesKey
from cryptocast.data.sources.file.reader import FileOptions, read_file
from cryptocast.data.sources.sample import load_sample
from cryptocast.data.sources.simulated.market import SimulatedMarket, simulate
from cryptocast.data.sources.simulated.processes import (
    GarchT,
    PlantedSignal,
    Process,
    RandomWalk,
    Regimes,
    VolatilityBreak,
)
from cryptocast.data.store import CandleStore
from cryptocast.market import Market

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


# Always the same examples: about one random walk in a thousand has a range that is an outlier by right.
@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.03, 0.2]))
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


def rules(report: QualityReport) -> set[str]:
    return {finding.rule for finding in report.findings}


def only_from(row: int, value: pl.Expr, otherwise: str) -> pl.Expr:
    return pl.when(pl.int_range(pl.len()) >= row).then(value).otherwise(otherwise)


PRICES = ("open", "high", "low", "close")


def pegged(days: int = 120, seed: int = 3) -> pl.DataFrame:
    """A dollar that quotes noisily, with one bad week."""
    rng = np.random.default_rng(seed)
    close = 1 + 0.002 * rng.standard_normal(days)
    close[40:44] = 0.96
    return walk(days).with_columns(pl.Series(name, close) for name in PRICES)


def simulated(process: Process, bars: int = 1500, seed: int = 7) -> pl.DataFrame:
    return simulate(SimulatedMarket(process, seed), ["bitcoin"], bars, "daily", START)


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_change_of_unit_of_volume_or_price_is_found_where_it_happens(factor: float, seed: int) -> None:
    frame = walk(200, seed)
    volume = check(frame.with_columns(volume=only_from(120, pl.col("volume") * factor, "volume")))
    price = check(frame.with_columns(only_from(80, pl.col(name) * factor, name).alias(name) for name in PRICES))
    assert [(jump.close_time - START).days for jump in volume.volume_jumps] == [120]
    assert volume.volume_jumps[0].factor == pytest.approx(factor, rel=1)
    assert [(jump.close_time - START).days for jump in price.price_jumps] == [80]
    assert (volume.price_jumps, price.volume_jumps) == ((), ())
    assert (volume.errors, price.errors) == (0, 0)
    assert {"volume_jump"} == rules(volume)
    assert "price_jump" in rules(price)


def test_a_single_bad_print_is_no_change_of_unit() -> None:
    frame = walk(200)
    close, volume = frame["close"][100], frame["volume"][60]
    report = check(put(put(frame, 100, close=close * 1e3, high=close * 1e3), 60, volume=volume * 1e6))
    assert (report.price_jumps, report.volume_jumps) == ((), ())
    assert "outlier" in rules(report)


def test_a_coin_that_rises_fifty_fold_in_a_quarter_has_changed_no_unit() -> None:
    frame = walk(200, volatility=0.06)
    lift = np.exp(np.clip((np.arange(200) - 60) / 90, 0, 1) * np.log(50))
    rising = frame.with_columns(pl.col(name) * lift for name in (*PRICES, "volume"))
    assert check(rising).price_jumps == check(rising).volume_jumps == ()


def test_a_corrected_supply_shows_in_the_market_cap_and_a_growing_one_does_not() -> None:
    frame = walk(200).with_columns(market_cap=pl.col("close") * 1e9 * 1.0005 ** pl.int_range(pl.len()))
    assert check(frame).supply_jumps == ()
    corrected = check(frame.with_columns(market_cap=only_from(90, pl.col("market_cap") * 1.2, "market_cap")))
    assert [((j.close_time - START).days, round(j.factor, 2)) for j in corrected.supply_jumps] == [(90, 1.2)]
    assert rules(corrected) == {"supply_jump"}


def test_amounts_that_are_none_are_errors_and_unknown_ones_are_not() -> None:
    frame = walk(100).with_columns(market_cap=pl.col("close") * 1e9)
    assert check(frame).findings == ()
    bad = put(put(put(frame, 1, volume=-1.0), 2, volume=float("inf")), 3, market_cap=float("nan"))
    report = check(put(put(bad, 4, market_cap=0.0), 95, market_cap=None))
    assert (report.bad_amounts, report.unknown_market_cap, report.errors) == (4, 1, 1)
    assert rules(report) == {"bad_amount", "unknown_market_cap"}


def test_more_volume_than_market_cap_is_reported() -> None:
    frame = walk(50).with_columns(market_cap=pl.col("close") * 1e9)
    report = check(put(frame, 7, volume=1e15))
    assert report.volume_over_market_cap == 1
    assert "volume_over_market_cap" in rules(report)


def test_flat_bars_are_those_that_could_have_moved() -> None:
    frame = put(walk(50), 20, open=100.0, high=100.0, low=100.0, close=100.0)
    assert [(at - START).days for at in check(frame).flat_bars] == [20]
    assert check(frame.with_columns(range_known=pl.lit(value=False))).flat_bars == ()


def test_a_series_is_stale_by_its_own_clock_only() -> None:
    frame, last = walk(50), START + timedelta(days=49)
    for hours, late, stale in ((0, 0, False), (23, 0, False), (71, 2, False), (72, 3, True), (-30, 0, False)):
        report = check_quality(frame, "bitcoin", "daily", CONFIG, now=last + timedelta(hours=hours))
        assert (report.late_bars, report.stale, "stale" in rules(report)) == (late, stale, stale)
    assert not check(frame).stale
    assert check_quality(frame, "bitcoin", "daily", CONFIG, now=last + timedelta(days=1), stale_after_bars=0).stale


def test_a_stablecoin_is_known_by_its_moves_or_by_its_name() -> None:
    assert is_stablecoin(pegged())
    assert rules(check(pegged())) >= {"stablecoin"}
    assert is_stablecoin(walk(30).with_columns(coin=pl.lit("tether")))
    assert not is_stablecoin(pegged(60))  # too short a time to tell
    assert not is_stablecoin(walk(30).clear())
    assert "bitcoin" not in STABLECOINS


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.03, 0.2]), st.sampled_from([92, 365, 1000]))
def test_a_coin_that_is_free_to_move_is_no_stablecoin(seed: int, volatility: float, bars: int) -> None:
    assert not is_stablecoin(walk(bars, seed, volatility))


def clean() -> pl.DataFrame:
    """Everything known, nothing odd."""
    return walk(300).with_columns(market_cap=pl.col("close") * 1e9)


def jump(name: str, row: int) -> pl.DataFrame:
    return clean().with_columns(only_from(row, pl.col(name) * 1e3, name).alias(name))


SPOILED: dict[str, Callable[[], pl.DataFrame]] = {
    "duplicate": lambda: pl.concat([clean(), clean().slice(40, 2)]),
    "bad_price": lambda: put(clean(), 30, low=0.0),
    "bad_amount": lambda: put(clean(), 30, volume=float("nan")),
    "gap": lambda: pl.concat([clean().head(100), clean().tail(195)]),
    "stale": lambda: clean().head(290),
    "frozen": lambda: clean().with_columns(
        pl.when(pl.int_range(pl.len()).is_between(100, 110)).then(pl.col("close").get(100)).otherwise("close")
    ),
    "broken_range": lambda: put(clean(), 30, high=1.0),
    "close_only": lambda: clean().with_columns(range_known=pl.int_range(pl.len()) != 30),
    "flat": lambda: put(clean(), 30, open=80.0, high=80.0, low=80.0, close=80.0),
    "outlier": lambda: put(clean(), 30, high=1e4),
    "price_jump": lambda: clean().with_columns(only_from(150, pl.col(n) * 1e3, n).alias(n) for n in PRICES),
    "stablecoin": lambda: clean().with_columns(coin=pl.lit("tether")),
    "zero_volume": lambda: put(clean(), 30, volume=0.0),
    "unknown_volume": lambda: put(clean(), 30, volume=None),
    "unknown_market_cap": lambda: put(clean(), 30, market_cap=None),
    "volume_over_market_cap": lambda: put(clean(), 30, volume=1e13),
    "volume_jump": lambda: jump("volume", 150),
    "supply_jump": lambda: jump("market_cap", 150),
}


@pytest.mark.parametrize("rule", SPOILED)
def test_each_rule_catches_its_case_and_leaves_the_clean_series_alone(rule: str) -> None:
    now = START + timedelta(days=299, hours=5)
    assert check_quality(clean(), "bitcoin", "daily", CONFIG, now=now).findings == ()
    found = check_quality(SPOILED[rule](), "bitcoin", "daily", CONFIG, now=now).findings
    (finding,) = (each for each in found if each.rule == rule)
    assert finding.count >= 1
    assert finding.severity == ("error" if rule in ("duplicate", "bad_price", "bad_amount") else "notice")
    assert finding.text.isprintable()


def test_no_rule_is_without_a_case() -> None:
    source = inspect.getsource(quality)
    named = re.findall(r'^ +(?:yield |\()"(\w+)", ', source, re.MULTILINE)
    assert set(named) == set(SPOILED)


def test_the_report_is_a_table_and_a_document_with_the_same_lines() -> None:
    report = check(put(put(walk(100), 10, close=-5.0), 50, volume=0.0))
    assert report.lines == tuple(finding.text for finding in report.findings)
    assert [(f.rule, f.severity, f.count) for f in report.findings[:1]] == [("bad_price", "error", 1)]
    again = msgspec.json.decode(msgspec.json.encode(report), type=QualityReport)
    assert again == report


def test_the_thresholds_are_those_of_the_settings() -> None:
    frame = put(walk(200), 21, close=walk(200)["close"][20]).with_columns(market_cap=pl.col("close") * 1e9)
    strict = msgspec.structs.replace(CONFIG, outlier_sigmas=3.1, frozen_bars=2, supply_jump_factor=1.0000001)
    moved = put(frame, 50, market_cap=frame["close"][50] * 1.01e9)
    lax, keen = check(moved), check_quality(moved, "bitcoin", "daily", strict)
    assert (lax.frozen_runs, lax.supply_jumps, lax.outliers) == ((), (), ())
    assert (len(keen.frozen_runs), len(keen.supply_jumps)) == (1, 2)
    assert keen.outliers
    wide = msgspec.structs.replace(CONFIG, peg_band=0.49, peg_days=10)
    assert is_stablecoin(walk(100, volatility=0.01), wide)


@pytest.mark.parametrize("process", [RandomWalk(), PlantedSignal(), VolatilityBreak(700)])
def test_simulated_markets_without_fat_tails_are_clean(process: Process) -> None:
    assert check(simulated(process)).findings == ()


def test_fat_tails_and_jumps_are_outliers_at_most() -> None:
    for process in (GarchT(), Regimes()):
        assert rules(check(simulated(process))) <= {"outlier"}


def test_what_an_import_repaired_stands_in_its_notes_and_is_gone_from_the_report(tmp_path: Path) -> None:
    frame = put(walk(60), 20, high=1.0)
    frame = pl.concat([frame, frame[30:32]])
    broken = check(frame)
    assert (broken.duplicates, broken.broken_ranges) == (2, 1)
    columns = frame.select(pl.col("close_time").dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("date"), *PRICES, "volume")
    columns.write_csv(tmp_path / "bars.csv")
    imported = read_file(
        tmp_path / "bars.csv",
        "bitcoin",
        now=START + timedelta(days=90),
        options=FileOptions(stamp="close", volume_unit="quote"),
    )
    store = CandleStore(tmp_path / "store", lock_timeout_s=5.0)
    key = SeriesKey(Market("file", "usd", "daily"), "bitcoin")
    store.write(key, imported.frame, fetched_at=START, notes=imported.notes)
    stored = store.read(key)
    assert stored is not None
    notes = " | ".join(stored.provenance.notes)
    assert "2 exact duplicates dropped" in notes
    assert "1 bar whose high and low contradict open or close made close-only" in notes
    report = check(stored.frame)
    assert (report.duplicates, report.broken_ranges, report.close_only, report.errors) == (0, 0, 1, 0)


def test_the_sample_shows_its_known_gap_and_outage() -> None:
    report = check_quality(load_sample("bitcoin").frame, "bitcoin", "daily", CONFIG)
    assert [(f"{gap.after:%Y-%m-%d}", gap.missing) for gap in report.gaps] == [("2019-03-20", 12)]
    assert [f"{run.first:%Y-%m-%d}" for run in report.frozen_runs] == ["2015-01-06"]  # Bitstamp was shut for days
