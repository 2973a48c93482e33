"""Whether an outside series knows the future: the one check that looks at prices after the fact.

When a value was known is the user's word, and no cut of the data can show that it is wrong: a day's value that is dated
by the beginning of its day, and was published at its end, stands in every cut. It does show in what it goes with. What
is known changes with the price of the time before; what is known too early changes with the price of the time after it,
far more than any forecast does.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from cryptocast.arrays import FloatArray
from cryptocast.features.audit import AuditCheck, AuditFinding, Differences, check_of

FORESIGHT: Final = "changes of outside series do not go with what the price does after them"
LEAST_CHANGES: Final = 100
MOST: Final = 0.2  # rank correlation; honest series stay below 0.1, those of a day known a day too early reach 0.3
SIGMAS: Final = 5.0  # of the correlation of as many independent pairs


def audit_foresight(candles: pl.DataFrame, names: Sequence[str]) -> AuditCheck:
    """The check `foresight`. candles: with a column for each of these series, as bars see them.

    Of each series and coin, the change at every bar that brings one, and the log return from that bar to the bar of the
    next change: the rank correlation with it and with its size, the median over coins.
    """
    parts, beside = [], []
    for name in names:
        rows = [_foresight(bars, name) for bars in candles.sort("close_time").partition_by("coin")]
        enough = np.array([row for row in rows if row is not None])
        if not len(enough):
            beside.append(f"{name}: fewer than {LEAST_CHANGES} changes beside the prices of a coin")
            continue
        count, *strengths = np.median(enough, axis=0)
        strongest, most = max(strengths, key=abs), max(MOST, SIGMAS / np.sqrt(count))
        is_leak = bool(abs(strongest) > most)
        findings = [_finding(candles, name, strongest, most)] if is_leak else []
        parts.append(Differences(int(enough[:, 0].sum()), int(is_leak), tuple(findings)))
    return check_of("foresight", FORESIGHT, parts, tuple(beside))


def _finding(candles: pl.DataFrame, name: str, strength: float, most: float) -> AuditFinding:
    coin, last = candles.sort("close_time").select("coin", "close_time").row(-1)
    return AuditFinding(
        feature=name, coin=coin, close_time=last, value_with=round(float(strength), 3), value_without=round(most, 3)
    )


def _foresight(bars: pl.DataFrame, name: str) -> tuple[float, float, float] | None:
    """How many changes, and their rank correlations with the return after them and with its size."""
    changes = (
        bars.select(change=pl.col(name).diff(), price=pl.col("close").log())
        .filter(pl.col("change") != 0.0)
        .select("change", move=pl.col("price").shift(-1) - pl.col("price"))
        .filter(pl.all_horizontal(pl.all().is_finite()))
    )
    if len(changes) < LEAST_CHANGES:
        return None
    ranks = changes.with_columns(size=pl.col("move").abs()).select(pl.all().rank()).to_numpy()
    return float(len(changes)), _correlation(ranks[:, 0], ranks[:, 1]), _correlation(ranks[:, 0], ranks[:, 2])


def _correlation(one: FloatArray, other: FloatArray) -> float:
    return float(np.corrcoef(one, other)[0, 1]) if one.std() * other.std() > 0.0 else 0.0
