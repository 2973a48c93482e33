"""The origins of a walk as somebody sees them who knows only the last bars of the coin: `--history-bars`."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from cryptocast.arrays import BoolArray, Int64Array
from cryptocast.errors import DataError, TooFewBarsError
from cryptocast.evaluation.plan import WalkPlan, origins
from cryptocast.evaluation.walk_forward import ShortHistory
from cryptocast.features.as_known import with_copies
from cryptocast.features.grid import microseconds
from cryptocast.features.matrix import VOLATILITY_WARMUP, Matrix
from cryptocast.models.base import Forecast
from cryptocast.models.out_of_fold import concatenate
from cryptocast.workflows.coin_pool import PoolRows, last_rows, pool_at
from cryptocast.workflows.context import Context, steps
from cryptocast.workflows.forecast import baseline_forecast, last_row

# With fewer bars there is no volatility, and no forecast.
LEAST_BARS: Final = VOLATILITY_WARMUP + 1


def short_history(context: Context, rows: PoolRows, plan: WalkPlan) -> ShortHistory | None:
    """The origins of the named coins from `plan.history` bars each; None where no coin has more of them.

    A coin's own bars are cut, others are as they were: features of the market see them whole. Where the bars that are
    left state no volatility nothing can be forecast, and the origin is not scored. Raises DataError if none is left.
    """
    matrix = rows.matrix
    scored = origins(matrix, plan)
    cut = np.flatnonzero(scored & _deeper(rows, plan.history)).astype(np.int64)
    if len(cut) == 0:
        return None
    place, seen, plain = list[int](), list[Matrix](), list[Forecast]()
    with steps(context.progress, "short histories", len(cut)) as step:
        for row, one, forecast in _seen(rows, plan.history, cut):
            place.append(row)
            seen.append(one)
            plain.append(forecast)
            step(str(matrix.coin_names[row]))
    if not place:
        raise DataError(f"{plan.history} bars state a volatility at no origin. Give more: --history-bars {LEAST_BARS}.")
    copies = np.array(place, dtype=np.int64)
    scored[cut] = False
    return ShortHistory(
        matrix=with_copies(matrix, copies, seen),
        stands_for=np.concatenate([np.arange(len(matrix)), copies]),
        scored=np.concatenate([scored, np.ones(len(copies), dtype=np.bool_)]),
        baseline=concatenate(plain),
    )


def _deeper(rows: PoolRows, bars: int) -> BoolArray:
    """(n,) whether the row is of a named coin, with more than so many bars at its issue."""
    matrix, deeper = rows.matrix, np.zeros(len(rows.matrix), dtype=np.bool_)
    for coin in rows.pool.named:
        own = matrix.coin_names == coin
        times = microseconds(rows.pool.bars[coin].candles.frame["close_time"])
        deeper[own] = np.searchsorted(times, matrix.issued_at[own], side="right") > bars
    return deeper


def _seen(rows: PoolRows, bars: int, cut: Int64Array) -> Iterator[tuple[int, Matrix, Forecast]]:
    """Each row that can be forecast from so many bars, as it looks then, and the baseline's forecast of it."""
    matrix, features = rows.matrix, rows.features.features
    for row in cut.tolist():
        coin = str(matrix.coin_names[row])
        pool = pool_at(rows.pool, int(matrix.issued_at[row]), {coin: bars})
        try:
            own = last_row(last_rows(pool, rows.horizons, features), coin)
            yield row, own, baseline_forecast(pool, coin, rows.horizons)
        except TooFewBarsError:
            continue
