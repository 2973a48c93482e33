"""Feature drift: whether what a version sees now is spread as what it, or one before it, learned from.

A version that is refreshed every week never has bars enough since its own training. Then those count that followed the
training of the youngest version before it that has enough.

A feature with a long memory is never spread over two months as over years, with nothing wrong. So the stability index
of the bars since the training is held not only against the usual bound, but against those that stretches as long had
within the training itself.
"""

import logging
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.errors import CryptocastError
from cryptocast.features.matrix import Matrix
from cryptocast.registry import Registry, Version
from cryptocast.registry.live_status import Drift
from cryptocast.workflows.coin_pool import CoinPool, feature_table, matrix_of
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.feature_sets import feature_set_of
from cryptocast.workflows.forecast import pool_of_fit

log = logging.getLogger(__name__)

DRIFT_BARS: Final = 60  # since the training, at least
UNSTABLE: Final = 0.25  # the usual bound of a population stability index that calls for a look
STRETCHES: Final = 20  # of the training, at most; below LEAST_STRETCHES only the usual bound counts
LEAST_STRETCHES: Final = 5
# About one feature in twenty lies beyond by chance.
SHARE: Final = 0.1
BINS: Final = 10
LEAST_EXPECTED: Final = 1e-4


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """bars since the training, 0 where they are too few to tell; features beyond, the worst first, if they are many."""

    bars: int
    features: tuple[Drift, ...]


def drift_of(context: Context, registry: Registry, request: Resolved, pool: CoinPool, version: Version) -> FeatureDrift:
    """The features of the version at the bars since a training, against those until then.

    The training is that of the youngest version of its lineage with DRIFT_BARS bars after it.
    """
    lineage = registry.lineage(version.key, version.number)
    trained = [member.trained_to for member in lineage if member.trained_to is not None]
    closes = pool.bars[version.key.coin].candles.frame["close_time"].to_list()
    ends = [end for end in trained if len(closes) - bisect_right(closes, end) >= DRIFT_BARS]
    if not ends:
        return FeatureDrift(0, ())
    try:
        features = feature_set_of(version, context.config)
        whole, _ = pool_of_fit(context, request, pool, version)
        table = feature_table(whole, features.features)
        matrix = matrix_of(table, whole, version.manifest.horizons, version.manifest.features)
    except CryptocastError as error:
        log.info("no drift of %s: %s", version.name, error)
        return FeatureDrift(0, ())
    own = matrix.rows(matrix.coin_names == version.key.coin)
    drifts = (drifted(own, round(end.timestamp() * 1_000_000)) for end in ends)
    return next((drift for drift in drifts if drift.bars), FeatureDrift(0, ()))


def drifted(rows: Matrix, trained_to: int) -> FeatureDrift:
    """Of the rows of one coin, those after a moment (microseconds) against those until then.

    Nothing below DRIFT_BARS rows after it, nor where at most a tenth of the features lies beyond.
    """
    past = rows.issued_at <= trained_to
    bars = int((~past).sum())
    if bars < DRIFT_BARS or not past.any():
        return FeatureDrift(0, ())
    drifts = [
        Drift(feature=name, psi=psi(column[past], column[~past]), usual=_usual(column[past], bars))
        for name, column in zip(rows.feature_names, rows.features.T, strict=True)
    ]
    beyond = sorted((row for row in drifts if row.psi > row.usual), key=lambda row: -row.psi)
    return FeatureDrift(bars, tuple(beyond) if len(beyond) > SHARE * len(drifts) else ())


def _usual(expected: FloatArray, bars: int) -> float:
    """The largest index of stretches of so many bars within the training, and at least the usual bound."""
    count = min(STRETCHES, len(expected) // bars)
    if count < LEAST_STRETCHES:
        return UNSTABLE
    starts = np.linspace(0, len(expected) - bars, count).astype(np.int64)
    index = _Index(expected)
    return max(UNSTABLE, *(index.of(expected[start : start + bars]) for start in starts.tolist()))


def psi(expected: FloatArray, values: FloatArray) -> float:
    """The population stability index: sum of (q - p) log(q / p) over the tenths of the expected values.

    NaN is left out; 0 where there is nothing to compare or the expected values do not vary. Above 0.25 the two are
    usually said to differ. Source: Siddiqi, Credit Risk Scorecards (2006).
    """
    return _Index(expected).of(values)


class _Index:
    """The tenths of the expected values, found once."""

    def __init__(self, expected: FloatArray) -> None:
        there = expected[np.isfinite(expected)]
        self._varies = there.size > 0 and float(np.ptp(there)) > 0.0
        if self._varies:
            self._edges = np.unique(np.quantile(there, np.linspace(0, 1, BINS + 1)[1:-1]))
            self._shares = self._spread(there)

    def of(self, values: FloatArray) -> float:
        there = values[np.isfinite(values)]
        if there.size == 0 or not self._varies:
            return 0.0
        shares = self._spread(there)
        return float(((shares - self._shares) * np.log(shares / self._shares)).sum())

    def _spread(self, values: FloatArray) -> FloatArray:
        place = np.searchsorted(self._edges, values, side="right")
        return np.maximum(LEAST_EXPECTED, np.bincount(place, minlength=self._edges.size + 1) / values.size)
