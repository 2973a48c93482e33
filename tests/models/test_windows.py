"""What the look-back windows hold, against an obvious loop; that nothing behind the issue or before a gap comes in."""

import dataclasses

import numpy as np
import pytest

from cryptocast.features.matrix import Matrix
from cryptocast.models.windows import CHANNELS, CONTEXT, LEAST_BARS, look_back
from tests.models.conftest import MakeMatrix

LOOKBACK = 40


def _slow_returns(matrix: Matrix, row: int) -> list[float]:
    """The returns of the unbroken run up to the row, oldest first, at most LOOKBACK of them."""
    close, position = matrix.panel.log_close, int(matrix.position[row])
    first = int(matrix.panel.start[matrix.coin[row]])
    found: list[float] = []
    while len(found) < LOOKBACK and position > first and np.isfinite(close[position - 1]):
        found.insert(0, float(close[position] - close[position - 1]))
        position -= 1
    return found


def test_a_window_is_what_a_loop_over_its_bars_gives(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin", "ethereum"), 150, drop=(60, 61, 100))
    windows = look_back(matrix, LOOKBACK)
    for row in range(0, len(matrix), 7):
        returns = np.array(_slow_returns(matrix, row))
        known = windows.present[row]
        assert known.sum() == len(returns)
        assert known[LOOKBACK - len(returns) :].all()
        assert windows.usable[row] == (len(returns) >= LEAST_BARS)
        if len(returns) == 0:
            continue
        floor = 0.05 * matrix.panel.volatility[matrix.position[row], 0]
        spread = max(float(np.median(np.abs(returns))) / 0.6745, floor)
        told = windows.bars[row, LOOKBACK - len(returns) :]
        np.testing.assert_allclose(told[:, 0], np.arcsinh(returns / spread), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(told[:, 1], 0.5 * np.log((returns / spread) ** 2 + 0.01) + 0.5, rtol=1e-4, atol=1e-5)
        assert (windows.bars[row, : LOOKBACK - len(returns)] == 0.0).all()


def test_a_window_never_reaches_over_a_gap_or_into_another_coin(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin", "ethereum"), 150, drop=(80, 81))
    windows = look_back(matrix, LOOKBACK)
    for coin in (0, 1):
        begin = int(matrix.panel.start[coin])
        for place, row in enumerate(np.flatnonzero(matrix.coin == coin).tolist()):
            offset = int(matrix.position[row]) - begin
            since = offset - 82 if offset >= 82 else offset
            assert windows.present[row].sum() == min(since, LOOKBACK), (coin, place)


def test_bars_behind_the_issue_and_before_the_gap_change_no_bit_of_a_window(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin",), 200, drop=(70,))
    row = int(np.flatnonzero(matrix.position == 130)[0])
    panel = matrix.panel
    outside = np.ones(len(panel.log_close), dtype=bool)
    outside[71:131] = False
    noise = np.random.default_rng(2).normal(size=len(panel.log_close))
    changed = dataclasses.replace(
        panel,
        log_close=np.where(outside, panel.log_close + noise, panel.log_close),
        variance=np.where(outside, np.abs(noise), panel.variance),
        volatility=np.where(outside[:, None], np.abs(noise)[:, None], panel.volatility),
    )
    one = matrix.rows(np.array([row]))
    before, after = look_back(one, 80), look_back(dataclasses.replace(one, panel=changed), 80)
    assert before.present[0].sum() == 59
    for field in ("bars", "present", "context", "usable"):
        np.testing.assert_array_equal(getattr(before, field), getattr(after, field))


@pytest.mark.parametrize("price", [1e-10, 1.0, 1e9])
def test_neither_the_price_nor_the_level_of_volatility_is_in_the_bars(make_matrix: MakeMatrix, price: float) -> None:
    ordinary = make_matrix(("bitcoin",), 120)
    windows = look_back(ordinary, LOOKBACK)
    other = look_back(make_matrix(("bitcoin",), 120, price=price), LOOKBACK)
    np.testing.assert_allclose(other.bars, windows.bars, atol=1e-4)
    panel = ordinary.panel
    wilder = dataclasses.replace(
        panel, log_close=3 * panel.log_close, variance=9 * panel.variance, volatility=3 * panel.volatility
    )
    scaled = look_back(dataclasses.replace(ordinary, panel=wilder), LOOKBACK)
    np.testing.assert_allclose(scaled.bars, windows.bars, atol=1e-5)
    np.testing.assert_allclose(scaled.context[:, :2], windows.context[:, :2], atol=1e-5)


def test_a_wick_moves_its_own_bar_and_hardly_the_others(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin",), 120)
    row = matrix.rows(np.array([len(matrix) - 1]))
    close = matrix.panel.log_close.copy()
    place = int(row.position[0]) - 10
    close[place] += 8.0  # a print that is three thousand times too high, and its way back
    struck = dataclasses.replace(row, panel=dataclasses.replace(matrix.panel, log_close=close))
    clean, dirty = look_back(row, LOOKBACK), look_back(struck, LOOKBACK)
    assert np.isfinite(dirty.bars).all()
    assert np.abs(dirty.bars).max() < 10
    untouched = [i for i in range(LOOKBACK) if i not in (LOOKBACK - 11, LOOKBACK - 10)]
    assert np.abs(dirty.bars[0, untouched, 0] - clean.bars[0, untouched, 0]).max() < 0.2


def test_still_and_short_series_give_finite_windows(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin",), 120)
    still = matrix.panel.log_close.copy()
    still[80:] = still[80]
    flat = dataclasses.replace(
        matrix, panel=dataclasses.replace(matrix.panel, log_close=still, variance=np.zeros_like(still))
    )
    windows = look_back(flat, 30)
    assert np.isfinite(windows.bars).all()
    assert np.isfinite(windows.context).all()
    assert windows.bars.shape[1:] == (30, CHANNELS)
    assert windows.context.shape[1] == CONTEXT
