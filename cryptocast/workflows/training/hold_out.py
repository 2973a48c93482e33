"""What the fits of a training are worth on the bars that their first fit did not see, beside the baseline."""

from collections.abc import Mapping
from typing import TypeAlias

from cryptocast.config import SplitConfig
from cryptocast.evaluation.records import HoldOut, pooled_answers
from cryptocast.evaluation.scores import ScoreSheet, TableRow, judge, score_row
from cryptocast.features.matrix import Matrix
from cryptocast.folds import split_by_time
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.fitting import TrainingResult
from cryptocast.workflows.coin_pool import PoolRows, moment

# By kind and coin; by kind and None over all coins of the pool.
HoldOuts: TypeAlias = Mapping[tuple[str, str | None], HoldOut]


def hold_outs(
    rows: PoolRows,
    split: SplitConfig,
    fits: Mapping[str, TrainingResult],
    fallbacks: Mapping[str, Mapping[int, str]],
) -> HoldOuts:
    """The scores of each fit and of the baseline; those of a coin have the answers of the pool beside them.

    fallbacks: by coin, the horizons that the baseline answers, and why.
    """
    pool, judgement = rows.pool, _judge(rows.matrix, split, fits)
    issued = judgement.rows.issued_at
    scores: dict[tuple[str, str | None], HoldOut] = {}
    for kind in ("baseline", *fits):
        together = score_row(_row(judgement, kind, None, fallbacks))
        for coin in (None, *pool.named):
            scores[kind, coin] = HoldOut(
                start=moment(int(issued.min())),
                end=moment(int(issued.max())),
                coins=pool.coins if coin is None else (coin,),
                horizons=together if coin is None else score_row(_row(judgement, kind, coin, fallbacks)),
                pooled=() if coin is None else pooled_answers(together, len(pool.coins)),
            )
    return scores


def _judge(matrix: Matrix, split: SplitConfig, fits: Mapping[str, TrainingResult]) -> ScoreSheet:
    """All models on the rows of the hold-out, beside the baseline fitted at its beginning."""
    parts = split_by_time(matrix.spans, fit=split.fit, stop=split.stop)
    bare = matrix.bare()
    rows = bare.rows(parts.test)
    baseline = BaselineLearner().fit(bare.known_at(parts.test_start)).predict(rows)
    return judge(rows, {"baseline": baseline, **{kind: f.hold_out.forecast for kind, f in fits.items()}}, step=1)


def _row(judgement: ScoreSheet, kind: str, coin: str | None, fallbacks: Mapping[str, Mapping[int, str]]) -> TableRow:
    if coin is None:
        return TableRow(judgement, kind)
    return TableRow(judgement.of_coin(coin), kind, {} if kind == "baseline" else fallbacks[coin])
