"""What the fits of a training are worth on the bars that their first fit did not see, beside the baseline."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from cryptocast.arrays import BoolArray
from cryptocast.config import SplitConfig
from cryptocast.evaluation.records import HoldOut, HorizonScore, PooledAnswers, pooled_answers
from cryptocast.evaluation.scores import ScoreSheet, TableRow, judge, score_row
from cryptocast.features.matrix import Matrix
from cryptocast.folds import split_by_time
from cryptocast.models.base import Forecast
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.fitting import TrainingResult
from cryptocast.workflows.coin_pool import moment

# By kind and coin; by kind and None over all coins of the pool.
HoldOuts: TypeAlias = Mapping[tuple[str, str | None], HoldOut]


def hold_outs(
    matrix: Matrix,
    coins: Iterable[str],
    split: SplitConfig,
    fits: Mapping[str, TrainingResult],
    fallbacks: Mapping[str, Mapping[int, str]],
) -> HoldOuts:
    """The scores of each fit and of the baseline over all rows, and of the named coins, which have the answers of all
    beside them.

    fallbacks: by coin, the horizons that the baseline answers, and why.
    """
    parts = split_by_time(matrix.spans, fit=split.fit, stop=split.stop)
    forecasts = {kind: fit.hold_out.forecast for kind, fit in fits.items()}
    sheet = judged(matrix, parts.test, parts.test_start, forecasts)
    together = {kind: score_row(TableRow(sheet, kind)) for kind in ("baseline", *fits)}
    names = matrix.panel.coins
    whole: HoldOuts = {(kind, None): _record(sheet, names, scores) for kind, scores in together.items()}
    pooled = {kind: pooled_answers(scores, len(names)) for kind, scores in together.items()}
    return {**whole, **coin_hold_outs(sheet, coins, pooled, fallbacks)}


def judged(matrix: Matrix, keep: BoolArray, test_start: int, forecasts: Mapping[str, Forecast]) -> ScoreSheet:
    """All models on these rows of the matrix, beside the baseline fitted when the hold-out begins (microseconds)."""
    bare = matrix.bare()
    rows = bare.rows(keep)
    baseline = BaselineLearner().fit(bare.known_at(test_start)).predict(rows)
    return judge(rows, {"baseline": baseline, **forecasts}, step=1)


def coin_hold_outs(
    sheet: ScoreSheet,
    coins: Iterable[str],
    pooled: Mapping[str, tuple[PooledAnswers, ...]],
    fallbacks: Mapping[str, Mapping[int, str]],
) -> HoldOuts:
    """The scores of each model for each coin. pooled: by kind, the answers of the whole pool."""
    scores: dict[tuple[str, str | None], HoldOut] = {}
    for coin in coins:
        own = sheet.of_coin(coin)
        for kind, answers in pooled.items():
            row = TableRow(own, kind, {} if kind == "baseline" else fallbacks[coin])
            scores[kind, coin] = _record(sheet, (coin,), score_row(row), answers)
    return scores


def _record(
    sheet: ScoreSheet, coins: tuple[str, ...], scores: tuple[HorizonScore, ...], pooled: tuple[PooledAnswers, ...] = ()
) -> HoldOut:
    issued = sheet.rows.issued_at
    start, end = moment(int(issued.min())), moment(int(issued.max()))
    return HoldOut(start=start, end=end, coins=coins, horizons=scores, pooled=pooled)
