"""The outcomes that still count: the last 2,000 bars, or 24 blocks of a long horizon."""

import numpy as np
import pytest

from cryptocast.models.recent_window import RECENT_BARS, RECENT_BLOCKS, recent, recent_bars

BAR_US = 3_600_000_000


@pytest.mark.parametrize("horizon", [1, 24, 200])
def test_the_window_ends_with_the_latest_and_holds_so_many_bars(horizon: int) -> None:
    issued = np.arange(10_000, dtype=np.int64) * BAR_US
    keep = recent(issued, horizon=horizon, bar_us=BAR_US)
    assert keep.sum() == recent_bars(horizon) == max(RECENT_BARS, RECENT_BLOCKS * horizon)
    assert keep[-1]
    assert not keep[: 10_000 - recent_bars(horizon)].any()


def test_the_order_of_the_rows_does_not_matter_and_nothing_gives_nothing() -> None:
    issued = np.arange(5_000, dtype=np.int64) * BAR_US
    order = np.random.default_rng(1).permutation(5_000)
    keep = recent(issued, horizon=1, bar_us=BAR_US)
    np.testing.assert_array_equal(recent(issued[order], horizon=1, bar_us=BAR_US), keep[order])
    assert recent(issued[:0], horizon=1, bar_us=BAR_US).size == 0
