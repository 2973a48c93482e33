"""Several coins as one portfolio, against a slow ledger of what is owned: coins that join late, miss bars, leave."""

from dataclasses import replace

import numpy as np
import pytest

from cryptocast.arrays import FloatArray
from cryptocast.config import StrategyConfig
from cryptocast.evaluation.scores import ScoreSheet, judge
from cryptocast.evaluation.trading import TradedBars, Trading, trade
from cryptocast.features.matrix import Matrix
from cryptocast.models.baseline import BaselineLearner
from tests.models.conftest import MakeMatrix
from tests.models.conftest import make_matrix as make_matrix

LATE, GAP, LEAVES = 420, (500, 507), 560


@pytest.fixture(scope="module")
def judged(make_matrix: MakeMatrix) -> ScoreSheet:
    """Three coins from bar 300 on; ethereum has its first origin at bar 420, lacks bars, and litecoin leaves."""
    matrix = make_matrix(("bitcoin", "ethereum", "litecoin"), 640, horizons=(1, 7))
    bar = matrix.position - matrix.panel.start[matrix.coin]
    keep = (bar >= 300) & np.isfinite(matrix.returns).all(axis=1)
    keep &= (matrix.coin_names != "ethereum") | ((bar >= LATE) & ~((bar >= GAP[0]) & (bar < GAP[1])))
    keep &= (matrix.coin_names != "litecoin") | (bar <= LEAVES)
    rows = matrix.rows(keep)
    return judge(rows, {"baseline": BaselineLearner().fit(rows).predict(rows)}, step=1)


def bars_of(rows: Matrix, coin: str) -> TradedBars:
    panel = rows.panel
    index = panel.coins.index(coin)
    part = slice(int(panel.start[index]), int(panel.start[index + 1]))
    close, times = np.exp(panel.log_close[part]), panel.close_time[part]
    place = np.arange(len(close))
    there = np.ones(len(close), dtype=np.bool_)
    if coin == "ethereum":
        there = (place < GAP[0]) | (place >= GAP[1])
    if coin == "litecoin":
        there = place <= LEAVES
    return TradedBars(coin, times[there], close[there], close[there], ranges_known=False)


def traded(judged: ScoreSheet, fee: float) -> tuple[Trading, list[TradedBars]]:
    bars = [bars_of(judged.rows, coin) for coin in judged.rows.panel.coins]
    settings = StrategyConfig(draws=100, fee_bps=fee, slippage_bps=0.0, close_only_slippage_bps=0.0)
    found = trade(judged, ["baseline"], bars, settings, rng=np.random.default_rng(2))
    assert found is not None
    return found, bars


def ledger(judged: ScoreSheet, bars: list[TradedBars], rate: float) -> FloatArray:
    """Buy and hold in equal parts, in money: what each coin is worth at each close, and what is paid to level it."""
    rows = judged.rows
    begins = {b.coin: int(rows.issued_at[rows.coin_names == b.coin].min()) for b in bars}
    last = int(rows.issued_at.max()) + rows.bar_us
    bars = [
        replace(b, close_time=b.close_time[b.close_time <= last], close=b.close[b.close_time <= last]) for b in bars
    ]
    prices = {
        b.coin: {
            t: p for t, p in zip(b.close_time.tolist(), b.close.tolist(), strict=True) if begins[b.coin] <= t <= last
        }
        for b in bars
    }
    times = sorted({t for known in prices.values() for t in known})
    cash, owned, seen = 1.0, dict.fromkeys(prices, 0.0), dict.fromkeys(prices, 0.0)
    worth = []
    for number, now in enumerate(times):
        for coin, known in prices.items():
            if now in known:
                owned[coin] *= known[now] / seen[coin] if seen[coin] else 1.0
                seen[coin] = known[now]
        total = cash + sum(owned.values())
        after = [c for c, known in prices.items() if min(known) <= now < max(known)]
        if number < len(times) - 1:
            paid = 0.0
            for coin, known in prices.items():
                meant = total / len(after) if coin in after else 0.0
                # What has no bar now, or none at the next close, cannot be levelled at a known price.
                if now in known or coin not in after:
                    paid += rate * abs(meant - owned[coin])
                owned[coin] = meant
            cash = 0.0
            owned = {coin: value * (1.0 - paid / total) for coin, value in owned.items()}
            total -= paid
        worth.append(total)
    return np.array(worth)


def test_the_portfolio_is_worth_what_is_owned(judged: ScoreSheet) -> None:
    found, bars = traded(judged, fee=0.0)
    (held,) = [curve for curve in found.curves if curve.name == "buy and hold"]
    np.testing.assert_allclose(held.equity, ledger(judged, bars, 0.0), rtol=1e-10)


def test_levelling_the_parts_is_paid_for(judged: ScoreSheet) -> None:
    free, _ = traded(judged, fee=0.0)
    found, bars = traded(judged, fee=30.0)
    held, cheap = (next(c for c in one.curves if c.name == "buy and hold") for one in (found, free))
    paid = 1.0 - held.equity[-1] / cheap.equity[-1]
    expected = 1.0 - ledger(judged, bars, 0.003)[-1] / cheap.equity[-1]
    assert paid == pytest.approx(expected, rel=0.05)
    assert paid > 0.01


def test_nobody_holds_a_coin_before_its_first_forecast(judged: ScoreSheet) -> None:
    """Else the strategy would be held against a baseline that knew of more coins than it."""
    alone = judged.rows_where(judged.rows.coin_names == "ethereum")
    found = trade(
        alone,
        ["baseline"],
        [bars_of(judged.rows, "ethereum")],
        StrategyConfig(draws=100),
        rng=np.random.default_rng(2),
    )
    assert found is not None
    assert found.curves[0].close_time[0] == alone.rows.issued_at.min()


def test_a_coin_that_joins_at_the_very_end_changes_nothing_before(judged: ScoreSheet) -> None:
    rows = judged.rows
    late = (rows.coin_names != "ethereum") | (rows.issued_at >= rows.issued_at.max() - rows.bar_us)
    some = judged.rows_where(late & (judged.rows.coin_names != "litecoin"))
    bitcoin = judged.rows_where(judged.rows.coin_names == "bitcoin")
    curves = []
    for one in (some, bitcoin):
        bars = [bars_of(judged.rows, coin) for coin in ("bitcoin", "ethereum")]
        found = trade(one, ["baseline"], bars, StrategyConfig(draws=100), rng=np.random.default_rng(2))
        assert found is not None
        curves.append(found.curves[0].equity)
    np.testing.assert_allclose(curves[0][:-3], curves[1][:-3], rtol=1e-12)
