"""Bad prints and redenominations: what they are, when they are known, and that nothing else is one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.arrays import FloatArray
from cryptocast.data.bad_prints import NEVER, find_jumps, without_jumps
from cryptocast.data.schema import CANDLE_SCHEMA
from cryptocast.data.sources.sample import load_sample

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def walk(bars: int, seed: int) -> FloatArray:
    return 100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, 0.02, bars)))


def candles(close: FloatArray) -> pl.DataFrame:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "coin": ["bitcoin"] * len(close),
            "close_time": [start + timedelta(days=day) for day in range(len(close))],
            "open": close,
            "high": close * 1.02,
            "low": close * 0.98,
            "close": close,
            "volume": np.ones(len(close)),
            "market_cap": [None] * len(close),
            "range_known": [True] * len(close),
        },
        schema=CANDLE_SCHEMA,
    )


series = st.builds(walk, st.integers(8, 60), st.integers(0, 1000))
factors = st.floats(-6, 6).map(lambda k: 10.0**k).filter(lambda factor: max(factor, 1 / factor) >= 8)


@given(series, factors, st.data())
def test_a_print_that_is_gone_the_next_day_is_found_and_replaced_by_a_price_between_its_neighbours(
    close: FloatArray, factor: float, data: st.DataObject
) -> None:
    bar = data.draw(st.integers(0, len(close) - 4))
    spoiled = close.copy()
    spoiled[bar] *= factor
    clean, jumps = without_jumps(candles(spoiled))
    assert np.flatnonzero(jumps.known < NEVER).tolist() == [bar]
    assert jumps.units == ()
    others = np.delete(np.arange(len(close)), bar)
    assert clean["close"].to_numpy()[others] == pytest.approx(close[others], rel=1e-12)
    neighbours = close[[max(bar - 1, 0), bar + 1]] if bar else close[[1, 1]]
    assert neighbours.min() * 0.999 <= clean["close"][bar] <= neighbours.max() * 1.001
    assert clean["range_known"].to_list() == [index != bar for index in range(len(close))]


@given(st.integers(15, 60), st.integers(0, 1000), factors.filter(lambda f: max(f, 1 / f) >= 30), st.data())
def test_after_a_redenomination_the_bars_since_count(bars: int, seed: int, factor: float, data: st.DataObject) -> None:
    close = walk(bars, seed)
    first = data.draw(st.integers(7, bars - 7))
    close[first:] *= factor
    clean, jumps = without_jumps(candles(close))
    assert jumps.units == ((first, first + 6),)
    assert len(clean) == bars - first
    assert clean["close"].to_list() == close[first:].tolist()


@given(series, st.lists(st.tuples(st.integers(0, 59), st.floats(-3, 3)), max_size=4), st.data())
def test_what_is_known_at_a_bar_does_not_depend_on_later_bars(
    close: FloatArray, blows: list[tuple[int, float]], data: st.DataObject
) -> None:
    for bar, power in blows:
        lasting = bar % 3 == 0
        close[bar : len(close) if lasting else bar + 1 + bar % 2] *= 10.0**power
    whole = find_jumps(close)
    cut = data.draw(st.integers(1, len(close)))
    before = find_jumps(close[:cut])
    known = np.where(whole.known < cut, whole.known, NEVER)
    last = max((first for first, at in whole.units if at < cut), default=0)
    assert before.units == tuple(unit for unit in whole.units if unit[1] < cut)
    assert before.known[last:].tolist() == known[last:cut].tolist()


def test_where_the_next_bar_opens_is_where_a_bad_print_closed() -> None:
    close = walk(60, 3)
    frame = candles(close * np.where(np.arange(60) == 30, 1e4, 1.0))
    opens = np.concatenate([close[:1], close[:-1]])
    clean, _ = without_jumps(frame.with_columns(open=opens))
    assert clean["close"].to_numpy() == pytest.approx(close, rel=1e-12)
    # An open that is no price either says nothing.
    line, _ = without_jumps(frame.with_columns(open=opens * np.where(np.arange(60) == 31, 1e4, 1.0)))
    assert line["close"][30] == pytest.approx(np.sqrt(close[29] * close[31]), rel=1e-12)


@given(series, st.lists(st.tuples(st.integers(0, 59), st.floats(-3, 3)), max_size=4), st.data())
def test_what_becomes_known_later_was_undecided_till_then(
    close: FloatArray, blows: list[tuple[int, float]], data: st.DataObject
) -> None:
    for bar, power in blows:
        close[bar : bar + 1 + bar % 9] *= 10.0**power
    whole = find_jumps(close)
    cut = data.draw(st.integers(8, len(close)))
    before = find_jumps(close[:cut])
    start = max((first for first, _ in before.units), default=0)
    bad = np.flatnonzero((whole.known >= cut) & (whole.known < NEVER))
    units = [first for first, at in whole.units if first < cut <= at]
    later = {*bad[(bad < cut) & (bad >= start + 7)].tolist(), *units}
    assert later <= set(before.undecided.tolist())


def test_a_crash_and_a_rally_are_the_market() -> None:
    close = walk(60, 1)
    close[30:] *= 0.3
    close[50:] *= 4.0
    assert not find_jumps(close)
    assert without_jumps(candles(close))[0].equals(candles(close))


def test_the_bars_between_a_print_and_its_end_are_those_that_did_not_know_it() -> None:
    close = walk(40, 2)
    close[20:22] *= 100
    jumps = find_jumps(close)
    assert jumps.known[20:22].tolist() == [22, 22]
    assert jumps.pending.tolist() == [20, 21]


@pytest.mark.parametrize("coin", ["bitcoin", "ethereum", "litecoin"])
def test_no_bar_of_the_sample_is_excluded(coin: str) -> None:
    assert not find_jumps(load_sample(coin).frame["close"].to_numpy())


@pytest.mark.skipif(not SHARED.is_dir(), reason="the development coins lie beside the repository")
def test_no_bar_of_the_development_coins_is_excluded() -> None:
    files = sorted(SHARED.glob("*.daily.parquet"))
    assert len(files) == 12
    for file in files:
        assert not find_jumps(pl.read_parquet(file)["close"].to_numpy()), file
