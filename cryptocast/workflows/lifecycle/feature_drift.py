"""Feature drift: whether what a version sees now is spread as what it, or one before it, learned from.

A version that is refreshed every week never has bars enough since its own training. Then those count that followed the
training of the youngest version before it that has enough.

A feature with a long memory is never spread over two months as over years, with nothing wrong. So the stability index
of the bars since the training is held not only against the usual bound, but against those that stretches as long had
within the training itself.
"""

import logging
from bisect import bisect_right
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
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


def drift_of(
    context: Context,
    registry: Registry,
    request: Resolved,
    pool: CoinPool,
    version: Version,
    matrices: dict[Hashable, Matrix] | None = None,
) -> FeatureDrift:
    """The features of the version at the bars since a training, against those until then.

    The training is that of the youngest version of its lineage with DRIFT_BARS bars after it. matrices: of the same
    bars, which versions of one fit share.
    """
    lineage = registry.lineage(version.key, version.number)
    trained = [member.trained_to for member in lineage if member.trained_to is not None]
    closes = pool.bars[version.key.coin].candles.frame["close_time"].to_list()
    ends = [end for end in trained if len(closes) - bisect_right(closes, end) >= DRIFT_BARS]
    if not ends:
        return FeatureDrift(0, ())
    try:
        matrix = _matrix(context, request, pool, version, {} if matrices is None else matrices)
    except CryptocastError as error:
        log.info("no drift of %s: %s", version.name, error)
        return FeatureDrift(0, ())
    own = matrix.rows(matrix.coin_names == version.key.coin)
    drifts = (drifted(own, round(end.timestamp() * 1_000_000)) for end in ends)
    return next((drift for drift in drifts if drift.bars), FeatureDrift(0, ()))


def _matrix(
    context: Context, request: Resolved, pool: CoinPool, version: Version, matrices: dict[Hashable, Matrix]
) -> Matrix:
    features = feature_set_of(version, context.config)
    whole, _ = pool_of_fit(context, request, pool, version)
    horizons, names = version.manifest.horizons, version.manifest.features
    same = (whole.market, tuple(whole.bars), features.digest, horizons, names)
    if same not in matrices:
        matrices[same] = matrix_of(feature_table(whole, features.features), whole, horizons, names)
    return matrices[same]


def drifted(rows: Matrix, trained_to: int) -> FeatureDrift:
    """Of the rows of one coin, those after a moment (microseconds) against those until then.

    Nothing below DRIFT_BARS rows after it, nor where at most a tenth of the features lies beyond.
    """
    past = rows.issued_at <= trained_to
    bars = int((~past).sum())
    if bars < DRIFT_BARS or not past.any():
        return FeatureDrift(0, ())
    tenths = _Tenths(rows.features[past])
    usual = _usual(tenths, int(past.sum()), bars)
    pairs = zip(rows.feature_names, tenths.index(rows.features[~past]).tolist(), usual.tolist(), strict=True)
    drifts = [Drift(feature=name, psi=value, usual=most) for name, value, most in pairs]
    beyond = sorted((row for row in drifts if row.psi > row.usual), key=lambda row: -row.psi)
    return FeatureDrift(bars, tuple(beyond) if len(beyond) > SHARE * len(drifts) else ())


def _usual(tenths: "_Tenths", rows: int, bars: int) -> FloatArray:
    """(F,) the largest index of stretches of so many bars within the training, and at least the usual bound."""
    most, count = np.full(tenths.columns, UNSTABLE), min(STRETCHES, rows // bars)
    if count < LEAST_STRETCHES:
        return most
    for start in np.linspace(0, rows - bars, count).astype(np.int64).tolist():
        np.maximum(most, tenths.index_within(start, bars), out=most)
    return most


def psi(expected: FloatArray, values: FloatArray) -> float:
    """The population stability index: sum of (q - p) log(q / p) over the tenths of the expected values.

    NaN is left out; 0 where there is nothing to compare or the expected values do not vary. Above 0.25 the two are
    usually said to differ. Source: Siddiqi, Credit Risk Scorecards (2006).
    """
    return float(_Tenths(expected[:, None]).index(values[:, None])[0])


class _Tenths:
    """The tenths of each column of the expected values (n, F), found once."""

    def __init__(self, expected: FloatArray) -> None:
        self.columns = expected.shape[1]
        self._edges = _edges(expected)
        self._cells = self._placed(expected)
        self._shares, _ = self._spread(self._cells)

    def index(self, values: FloatArray) -> FloatArray:
        """(F,) the stability index of each column of values (m, F)."""
        return self._index(self._placed(values))

    def index_within(self, start: int, rows: int) -> FloatArray:
        """(F,) that of so many of the expected rows."""
        return self._index(self._cells[start : start + rows])

    def _index(self, cells: Int64Array) -> FloatArray:
        shares, is_known = self._spread(cells)
        index = ((shares - self._shares) * np.log(shares / self._shares)).sum(axis=1)
        varies = np.array([edges.size > 0 for edges in self._edges])
        return np.where(varies & is_known, index, 0.0)

    def _placed(self, values: FloatArray) -> Int64Array:
        """(m, F) the tenth of each value, counted through all columns; one more for what is not finite."""
        cells = np.full(values.shape, BINS, dtype=np.int64)
        for place, (edges, column) in enumerate(zip(self._edges, values.T, strict=True)):
            cells[:, place] = np.where(np.isfinite(column), np.searchsorted(edges, column, side="right"), BINS)
        return cells + (BINS + 1) * np.arange(self.columns)

    def _spread(self, cells: Int64Array) -> tuple[FloatArray, BoolArray]:
        """(F, tenths) the share of each, and (F,) whether any value is finite."""
        size = self.columns * (BINS + 1)
        counts = np.bincount(cells.ravel(), minlength=size).reshape(self.columns, -1)[:, :BINS]
        known = counts.sum(axis=1)
        return np.maximum(LEAST_EXPECTED, counts / np.maximum(known, 1)[:, None]), known > 0


def _edges(values: FloatArray) -> list[FloatArray]:
    """Between the tenths of each column; none where its finite values do not vary."""
    if not len(values):
        return [np.empty(0)] * values.shape[1]
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    finite = np.where(np.isfinite(values), values, np.nan)
    finite.sort(axis=0)  # NaN behind the others
    count = np.isfinite(finite).sum(axis=0)
    place = inner[:, None] * np.maximum(count - 1, 0)
    below, rest = place.astype(np.int64), place % 1.0
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    lower, upper = (np.take_along_axis(finite, at, axis=0) for at in (below, above))
    between = lower + rest * (upper - lower)
    largest = np.take_along_axis(finite, np.maximum(count - 1, 0)[None], axis=0)[0]
    varies = finite[0] < largest  # False where nothing is finite
    return [np.unique(edges) if wide else edges[:0] for edges, wide in zip(between.T, varies.tolist(), strict=True)]
