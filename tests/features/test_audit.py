"""The audit finds what knows the future, and leaves what does not in peace."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import polars as pl
import pytest

from cryptocast.data.schema import BAR_US
from cryptocast.features.audit import AuditReport, audit
from cryptocast.features.builder import select_features
from cryptocast.features.catalogue import FEATURES, Feature, Scope

MakeBars = Callable[..., pl.DataFrame]
DAY = BAR_US["daily"]

CLOSE = pl.col("close")
RETURNS = (CLOSE / CLOSE.shift(1)).log()


def _feature(expr: pl.Expr, *, warmup: int = 0, memory: int = 30, scope: Scope = "coin") -> Feature:
    return Feature("suspect", "price", expr, warmup, memory, "planted", "log", scope=scope)


def _audit(candles: pl.DataFrame, features: Sequence[Feature], *, cuts: int = 4) -> AuditReport:
    return audit(candles, features, bar_us=DAY, cuts=cuts, seed=3)


def test_a_finding_names_the_bar_and_both_values(make_bars: MakeBars) -> None:
    candles = make_bars(100, coins=["bitcoin"])
    report = _audit(candles, [_feature((CLOSE.shift(-1) / CLOSE).log())])
    prefix = report.checks[0]
    finding = prefix.findings[0]
    row = candles.with_columns(x=(CLOSE.shift(-1) / CLOSE).log()).filter(pl.col("close_time") == finding.close_time)
    assert (prefix.name, finding.coin, finding.value_without) == ("prefix", "bitcoin", None)
    assert finding.value_with == pytest.approx(row["x"].item())
    assert prefix.found == prefix.runs == 6  # four random cuts, the first moment and the last but one


def test_a_feature_that_depends_on_the_order_of_coins_is_found(make_bars: MakeBars) -> None:
    neighbour = _feature(pl.col("close").shift(1).log() - pl.col("close").log(), scope="moment")
    report = _audit(make_bars(120), [neighbour])
    assert report.leaks == ("suspect",)
    assert [check.name for check in report.checks if check.found and check.name != "warmup"] == ["coins"]


def test_wrong_facts_are_found(make_bars: MakeBars) -> None:
    candles = make_bars(120, coins=["bitcoin"])
    early = _feature(RETURNS.rolling_mean(20), warmup=25, memory=20)
    late = _feature(RETURNS.rolling_mean(20), warmup=15, memory=20)
    short = _feature(RETURNS.rolling_mean(20, min_samples=5), warmup=5, memory=6)
    infinite = _feature((RETURNS - RETURNS) / 0.0, warmup=1, memory=1)
    for feature, check in ((early, "warmup"), (late, "warmup"), (short, "memory"), (infinite, "warmup")):
        report = _audit(candles, [feature])
        assert report.misdeclared == ("suspect",)
        assert report.leaks == ()
        assert check in [c.name for c in report.checks if c.found]


def test_the_catalogue_is_clean_on_awkward_candles(make_bars: MakeBars) -> None:
    candles = make_bars(400)
    row = pl.int_range(pl.len()).over("coin")
    awkward = candles.filter((row % 37 != 5) & ((pl.col("coin") != "zcoin") | (row > 150))).with_columns(
        range_known=row % 60 < 45, volume=pl.when(row % 50 == 7).then(0.0).otherwise("volume")
    )
    report = _audit(awkward, FEATURES, cuts=3)
    assert (report.leaks, report.misdeclared) == ((), ())
    assert report.passed
    assert all(check.cells > 0 and check.runs > 0 for check in report.checks)
    assert [check.name for check in report.checks] == [
        "prefix",
        "perturbation",
        "streaming",
        "coins",
        "warmup",
        "memory",
    ]


def test_clean_random_walks_raise_no_alarm(make_bars: MakeBars) -> None:
    features = tuple(f for f in FEATURES if f.warmup + f.memory < 130)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        bars = int(rng.integers(40, 200))
        report = audit(make_bars(bars, seed=100 + seed), features, bar_us=DAY, cuts=3, seed=seed)
        assert report.passed, [check.findings for check in report.checks]


def test_what_could_not_run_is_said(make_bars: MakeBars) -> None:
    report = _audit(make_bars(60, coins=["bitcoin"]), select_features(["vol_365", "ret_1"]))
    said = {check.name: " ".join(check.not_run) for check in report.checks}
    assert "vol_365: null on all 60 rows (warm-up 183)" in said["prefix"]
    assert "memory on these candles: 60 moments" in said["streaming"]
    assert "fewer than two beside bitcoin" in said["coins"]


def test_an_empty_or_tiny_frame_is_reported_and_not_raised(make_bars: MakeBars) -> None:
    for candles in (make_bars(1, coins=["bitcoin"]), make_bars(3).clear()):
        report = _audit(candles, select_features(["ret_1"]))
        assert not report.passed
        assert "nothing to cut" in report.checks[0].not_run[0]


def test_a_feature_that_cannot_be_computed_is_reported_and_not_raised(make_bars: MakeBars) -> None:
    report = _audit(make_bars(50), [_feature(pl.col("no_such_column") + 1)])
    assert not report.passed
    assert "no_such_column" in report.checks[0].not_run[0]
    off_grid = pl.concat([make_bars(50, coins=["a"])] * 2)
    assert "twice" in _audit(off_grid, select_features(["ret_1"])).checks[0].not_run[0]


def test_the_report_is_json_and_the_same_for_the_same_seed(make_bars: MakeBars) -> None:
    candles = make_bars(80)
    features = [*select_features(["ret_7"]), _feature(CLOSE.shift(-1) / CLOSE)]
    first, second = (msgspec.json.encode(_audit(candles, features)) for _ in range(2))
    assert first == second
    assert msgspec.json.decode(first)["schema"] == "cryptocast.audit/1"
    assert msgspec.json.decode(first, type=AuditReport).leaks == ("suspect",)
