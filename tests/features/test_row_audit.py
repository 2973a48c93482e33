from collections.abc import Sequence

import polars as pl
import pytest

from cryptocast.data.schema import BAR_US
from cryptocast.features.audit import AuditCheck
from cryptocast.features.builder import select_features
from cryptocast.features.catalogue import Feature
from cryptocast.features.row_audit import audit_rows
from tests.features.conftest import make_bars

CLOSE = pl.col("close")
CANDLES = make_bars(120, coins=["bitcoin", "ether"])
IS_MONDAY = pl.col("close_time").dt.weekday() == 1


def feature(expr: pl.Expr, *, memory: int = 1) -> Feature:
    return Feature("mine", "price", expr, warmup=1, memory=memory, source="mine", unit="log")


def checks(features: Sequence[Feature]) -> dict[str, AuditCheck]:
    return {check.name: check for check in audit_rows(CANDLES, lambda: features, bar_us=BAR_US["daily"], seed=1)}


def test_features_of_the_catalogue_pass_every_check() -> None:
    by_name = checks(select_features(["ret_7", "vol_30", "rsi_14"]))
    assert list(by_name) == ["repeated", "past first", "rows"]
    assert all(check.ran and not check.found for check in by_name.values())
    assert by_name["rows"].cells == 3 * CANDLES.height


def test_a_look_ahead_on_mondays_only_is_found_row_by_row() -> None:
    peek = pl.when(IS_MONDAY).then((CLOSE.shift(-1) / CLOSE).log()).otherwise((CLOSE / CLOSE.shift(1)).log())
    rows = checks([feature(peek)])["rows"]
    assert rows.found
    assert {finding.feature for finding in rows.findings} == {"mine"}


def test_a_formula_that_remembers_its_last_call_is_found() -> None:
    calls: list[int] = []

    def remembers(series: pl.Series) -> pl.Series:
        calls.append(1)
        return series.cast(pl.Float64) + len(calls)

    mine = feature(CLOSE.map_batches(remembers, return_dtype=pl.Float64))
    assert checks([mine])["repeated"].found


@pytest.mark.parametrize("names", [["rank_ret_30"], ["rank_ret_30", "ret_1"]])
def test_what_looks_at_other_coins_is_said_to_be_left_out(names: list[str]) -> None:
    rows = checks(select_features(names))["rows"]
    assert rows.ran
    assert rows.not_run == ("rank_ret_30: it looks at other coins",)
