"""Which features a fit is spared: constants, and near-duplicates of an earlier feature, seen on its training rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.features.matrix import COLUMNS_AT_ONCE

# Ranks are compared on this many rows, evenly spaced: enough to tell 0.999 from 0.99, and it takes milliseconds.
COMPARED_ROWS: Final = 1000
# Two features are comparable where both are known on this share of the rows on which either is.
SHARED_ROWS: Final = 0.99
# Below this many rows nothing is a duplicate: everything agrees on three bars.
LEAST_ROWS: Final = 100
# Pairs this far below the bound by the quick measure are not looked at by the exact one.
SCREEN: Final = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """columns (k,): those that stay, increasing. dropped: name of each other one -> why."""

    columns: Int64Array
    dropped: Mapping[str, str]


def choose_features(
    values: FloatArray,
    names: Sequence[str],
    *,
    max_correlation: float,
    needs: Mapping[str, int] | None = None,
    rows: Int64Array | None = None,
) -> Choice:
    """Leave out the columns that say nothing, or nothing new.

    values (n, F), or the given rows of them: the training rows, and no others; NaN is unknown. Left out is a column
    that is never known or has one value only; and one whose Spearman correlation with a column that stays is beyond
    +-max_correlation, if the two are known on the same rows (99 % of those where either is). Of such a pair the one
    stays that `needs` less (closes, not ranges or volumes: tomorrow's bar may lack them), then the one that stands
    first. Ranks, because a tree sees nothing else; they are taken on at most 1,000 rows, evenly spaced. With
    max_correlation 1 no column is a duplicate. If nothing would stay, everything does. Raises ValueError if names and
    columns disagree.
    """
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ValueError(f"values is {values.shape}, expected one column for each of {len(names)} names")
    rows = np.arange(len(values)) if rows is None else rows
    reasons = _constant(values, names, rows)
    if len(rows) >= LEAST_ROWS and max_correlation < 1.0:
        wants = needs or {}
        varying = [column for column, name in enumerate(names) if name not in reasons]
        varying.sort(key=lambda column: (wants.get(names[column], 0), column))
        places = np.linspace(0, len(rows) - 1, min(len(rows), COMPARED_ROWS)).round().astype(np.int64)
        some = values[rows[places]][:, varying]
        reasons |= _duplicates(some, [names[column] for column in varying], max_correlation)
    columns = [column for column, name in enumerate(names) if name not in reasons]
    if not columns:
        return Choice(np.arange(len(names), dtype=np.int64), {})
    return Choice(np.array(columns, dtype=np.int64), {name: reasons[name] for name in names if name in reasons})


def _constant(values: FloatArray, names: Sequence[str], rows: Int64Array) -> dict[str, str]:
    if len(rows) == 0:
        return {}
    low, high = np.empty(len(names)), np.empty(len(names))
    for begin in range(0, len(names), COLUMNS_AT_ONCE):  # no second copy of all of them
        columns = slice(begin, begin + COLUMNS_AT_ONCE)
        some = values[rows, columns]
        low[columns], high[columns] = np.fmin.reduce(some, axis=0), np.fmax.reduce(some, axis=0)
    unknown = {name: "never known" for name, empty in zip(names, np.isnan(low), strict=True) if empty}
    return unknown | {
        name: f"always {value:.6g}" for name, value, top in zip(names, low, high, strict=True) if value == top
    }


def _duplicates(values: FloatArray, names: Sequence[str], max_correlation: float) -> dict[str, str]:
    """values (n, F): a column for each name, on the rows that are compared."""
    ranks = _ranks(values)
    likely = np.abs(_alike(ranks)) > max_correlation - SCREEN
    dropped: dict[int, str] = {}
    for column in range(len(names)):
        for earlier in np.flatnonzero(likely[column, :column]).tolist():
            if earlier in dropped:
                continue
            correlation = _correlation(ranks[earlier], ranks[column])
            if abs(correlation) > max_correlation:
                dropped[column] = f"{names[earlier]} again: their ranks agree to {correlation:.5f}"
                break
    return {names[column]: why for column, why in dropped.items()}


def _ranks(values: FloatArray) -> FloatArray:
    """(F, n) ranks among the known values of each column, NaN where unknown; ties share."""
    frame = pl.DataFrame(values, schema=[str(column) for column in range(values.shape[1])])
    ranks = frame.select(pl.all().fill_nan(None).rank("average")).to_numpy()
    return np.ascontiguousarray(ranks.T, dtype=np.float64)


def _alike(ranks: FloatArray) -> FloatArray:
    """(F, F) correlations with unknown ranks taken for middling: right where little is unknown, and quick."""
    is_known = np.isfinite(ranks)
    middle = (is_known.sum(axis=1, keepdims=True) + 1) / 2.0
    apart = np.where(is_known, ranks - middle, 0.0)
    size = np.sqrt((apart**2).sum(axis=1, keepdims=True))
    unit = apart / np.where(size > 0.0, size, 1.0)
    # No BLAS: its threads wait for each other on a busy machine, for longer than this takes.
    return np.asarray(np.einsum("ij,kj->ik", unit, unit))


def _correlation(one: FloatArray, other: FloatArray) -> float:
    """Of the ranks where both are known; 0 where that is too seldom to compare them."""
    both = np.isfinite(one) & np.isfinite(other)
    either = np.isfinite(one) | np.isfinite(other)
    if both.sum() < max(SHARED_ROWS * either.sum(), LEAST_ROWS / 2):
        return 0.0
    left, right = one[both] - one[both].mean(), other[both] - other[both].mean()
    size = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return min(1.0, max(-1.0, float((left * right).sum()) / size)) if size > 0.0 else 0.0
