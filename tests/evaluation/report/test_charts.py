"""What the charts are given: bands, ticks, thinned curves."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.evaluation.report.charts import (
    MOST_POINTS,
    SkillPoint,
    central_bands,
    drawdown,
    equity,
    fan,
    month_starts,
    skill,
)
from cryptocast.evaluation.trading import Curve
from cryptocast.scoring.quantiles import LEVELS
from tests.evaluation.report.demo import DAY, START, demo_page


def milliseconds(year: int, month: int, day: int = 1) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


def test_the_bands_are_the_central_intervals_nearest_to_95_80_and_50() -> None:
    assert central_bands(LEVELS) == {95: (0, 12), 80: (2, 10), 60: (3, 9)}
    assert central_bands(np.array([0.1, 0.5, 0.9])) == {80: (0, 2)}
    assert central_bands(np.array([0.1, 0.5, 0.8])) == {}


def test_months_are_marked_evenly() -> None:
    assert month_starts(milliseconds(2024, 3, 10), milliseconds(2024, 6, 20), 4) == [
        milliseconds(2024, month) for month in (4, 5, 6)
    ]
    assert month_starts(milliseconds(2022, 1), milliseconds(2025, 4), 4) == [
        milliseconds(year, 1) for year in (2022, 2023, 2024, 2025)
    ]
    assert month_starts(milliseconds(2024, 3, 2), milliseconds(2024, 3, 20), 4) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4_000), st.integers(1, 9_000), st.integers(2, 8))
def test_months_are_inside_the_span_and_not_too_many(first: int, days: int, most: int) -> None:
    start, end = milliseconds(2010, 1) + first * 86_400_000, milliseconds(2010, 1) + (first + days) * 86_400_000
    found = month_starts(start, end, most)
    assert len(found) <= most
    assert all(start <= at <= end for at in found)


def curve(values: list[float]) -> Curve:
    return Curve("one", "strategy", START + DAY * np.arange(len(values), dtype=np.int64), np.array(values))


def test_a_drawdown_keeps_its_deepest_point_when_it_is_thinned() -> None:
    rng = np.random.default_rng(3)
    values = np.cumprod(1 + 0.02 * rng.normal(size=5_000))
    (rows,) = drawdown([curve(values.tolist())]).rows.values()
    deepest = 100 * (values / np.maximum.accumulate(values) - 1).min()
    assert len(rows) <= MOST_POINTS + 1
    assert min(float(row["value"] or 0) for row in rows) == float(f"{deepest:.5g}")


def test_equity_starts_where_it_starts_and_is_linear_where_someone_is_ruined() -> None:
    plot = equity([curve([1.0, 1.1, 0.0, 0.0])])
    (rows,) = plot.rows.values()
    assert rows[0]["value"] == 1.0
    assert '"type": "linear"' in str(plot.spec()).replace("'", '"')
    assert '"type": "log"' in str(equity([curve([1.0, 1.1])]).spec()).replace("'", '"')


def test_an_axis_fits_its_values_and_leaves_little_room() -> None:
    points = [SkillPoint("1 day", "a", 0.01, -0.01, 0.03), SkillPoint("7 days", "a", None, None, None)]
    (low, high) = skill(points, ["a"]).spec()["layer"][1]["encoding"]["x"]["scale"]["domain"]
    assert -1.2 < low < -1.0
    assert 3.0 < high < 3.2
    readings = equity([curve([1.0, 8.0, 4.0])]).readings
    assert readings is not None
    assert 0.9 < readings.y[0] < 1.0
    assert 8.0 < readings.y[1] < 9.0


def test_what_is_read_off_a_fan_is_what_was_forecast_at_each_horizon() -> None:
    shown = demo_page(coins=1, origins=6).fans[0]
    readings = fan(shown).readings
    assert readings is not None
    lower, upper = readings.columns["80% interval"]
    for due, prices in zip(shown.due_at[-1], shown.prices[-1], strict=True):
        place = list(readings.at).index(round(due / 60e6))
        assert (lower[place], upper[place]) == (float(f"{prices[2]:.7g}"), float(f"{prices[10]:.7g}"))
    start = min(row["at"] for rows in fan(shown).rows.values() for row in rows if row.get("start"))
    assert lower[list(readings.at).index(round(start / 60_000))] is None
    close = [value for value in readings.columns["close"][0] if value is not None]
    assert set(close) <= {float(f"{price:.7g}") for price in shown.close}
    assert list(accumulate(json.loads(readings.json())["steps"])) == sorted(set(readings.at))


def test_curves_are_read_at_times_that_all_share() -> None:
    rng = np.random.default_rng(4)
    curves = [replace(curve(np.cumprod(1 + 0.02 * rng.normal(size=900)).tolist()), name=name) for name in "ab"]
    readings = drawdown(curves).readings
    assert readings is not None
    assert all(value is not None for (values,) in readings.columns.values() for value in values)


def test_fans_of_one_coin_do_not_overlap_in_time() -> None:
    shown = demo_page(coins=1, origins=40).fans[0]
    rows = [row for rows in fan(shown).rows.values() for row in rows if "fan" in row]
    spans: dict[int, list[int]] = {}
    for row in rows:
        spans.setdefault(int(row["fan"] or 0), []).append(int(row["at"] or 0))
    ordered = [spans[number] for number in sorted(spans)]
    assert len(ordered) > 1
    assert all(max(before) <= min(after) for before, after in pairwise(ordered))
