"""The expected direction of the next bars, as far as it is linear in the features; and whether to use it.

A ridge regression of the standardised return on all features, horizon by horizon. Trees, and gradient descent with
dropout, find the same only in part: of a planted signal that explains a tenth of a bar boosters found 74 to 95 % in
three markets, the regression 76 to 99 %; a network's own head found 64 % where the regression found 88. Real prices
seldom hold such a signal, so a view is used at a horizon only if it was clearly better than the last price on the stop
block, which the regression has not seen; otherwise the median stays at the last price.

Source: Hoerl and Kennard, Technometrics 12 (1970).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from threadpoolctl import threadpool_limits

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.features.matrix import Matrix
from cryptocast.models.labels import LEAST_ROWS, LEAST_STOP_ROWS, standardised_returns
from cryptocast.models.student_mixture import supports_view

# Ridge penalties that the stop block chooses from; features have variance 1.
PENALTIES: Final = (100, 1_000, 10_000, 100_000)
# Features and labels count at most this many standard deviations: one bad print must not turn the view.
BOUND: Final = 5.0
# The location in volatilities is bounded: outside, the model is extrapolating.
LOCATION_BOUND: Final = 1.0
# Rows that are standardised at a time: a copy of all of a large panel would double the memory of a training.
ROWS_AT_ONCE: Final = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class LinearView:
    """centre and spread (F,) of the features, weights (H, F); a horizon without a view has zeros."""

    centre: FloatArray
    spread: FloatArray
    weights: FloatArray

    def shrunk(self, shares: FloatArray) -> Self:
        """The same, with a share (H,) of each horizon's location."""
        return replace(self, weights=self.weights * shares[:, None])

    def location(self, features: FloatArray, columns: Int64Array) -> FloatArray:
        """(n, len(columns)): where the return is expected, in volatilities known at issue."""
        out = np.zeros((len(features), len(columns)))
        if not self.weights[columns].any():
            return out
        for part in _parts(len(features)):
            out[part] = _standard(features[part], self.centre, self.spread) @ self.weights[columns].T
        return np.clip(out, -LOCATION_BOUND, LOCATION_BOUND)


@dataclass(frozen=True, slots=True, eq=False)
class Ridge:
    """Sums over the rows that a ridge regression of K labels needs, so that any penalty can be tried on them.

    centre and spread (F,) of the features; gram (K, F, F) and moment (K, F) over the rows (K,) with a label.
    """

    centre: FloatArray
    spread: FloatArray
    gram: FloatArray
    moment: FloatArray
    rows: Int64Array

    @classmethod
    def of(cls, features: FloatArray, labels: FloatArray) -> Self:
        """The sums of features (n, F) and standardised returns (n, K), NaN where not known."""
        count, horizons = features.shape[1], labels.shape[1]
        centre, spread = _centre_and_spread(features)
        gram, moment = np.zeros((horizons, count, count)), np.zeros((horizons, count))
        with one_thread():
            for part in _parts(len(features)):
                standard = _standard(features[part], centre, spread)
                for column in range(horizons):
                    usable = np.isfinite(labels[part, column])
                    rows = standard[usable]
                    gram[column] += rows.T @ rows
                    moment[column] += np.clip(labels[part, column][usable], -BOUND, BOUND) @ rows
        return cls(centre, spread, gram, moment, np.isfinite(labels).sum(axis=0).astype(np.int64))

    def view(self, penalties: Sequence[int]) -> LinearView:
        """The view with these penalties (K,), one for each horizon; 0: no view there."""
        weights: FloatArray = np.zeros(self.moment.shape)
        for column, penalty in enumerate(penalties):
            if penalty > 0 and weights.shape[1]:
                ridge = self.gram[column] + penalty * np.eye(weights.shape[1])
                with one_thread():
                    weights[column] = np.linalg.solve(ridge, self.moment[column])
        return LinearView(self.centre, self.spread, weights)


def supported_penalties(
    ridges: Sequence[Ridge], features: Sequence[FloatArray], stop: Matrix, log_scale: FloatArray, shares: FloatArray
) -> tuple[int, ...]:
    """(H,) the penalty that served best on the stop block, 0 where no view was clearly better than the last price.

    ridges and features (n, F): of one regression, or of several whose locations are averaged. log_scale (n, H): what
    the model says of the volatility of the stop rows, beyond the one known at issue. shares (H,): of the
    location that would be used.
    """
    outcome, bar = standardised_returns(stop), stop.issued_at // stop.bar_us
    columns = np.arange(len(stop.horizons))
    # (P, n, H)
    locations = np.array([_location(ridges, features, (penalty,) * len(columns), columns) for penalty in PENALTIES])
    chosen_penalties = []
    for column in columns.tolist():
        usable = np.isfinite(outcome[:, column])
        if usable.sum() < LEAST_STOP_ROWS or min(int(ridge.rows[column]) for ridge in ridges) < LEAST_ROWS:
            chosen_penalties.append(0)
            continue
        errors = np.mean((outcome[usable, column] - locations[:, usable, column]) ** 2, axis=1)
        best = int(np.argmin(errors))
        location = shares[column] * locations[best, :, column]
        horizon = int(stop.horizons[column])
        supported = supports_view(outcome[:, column], log_scale[:, column], location, bar, horizon)
        chosen_penalties.append(PENALTIES[best] if supported else 0)
    return tuple(chosen_penalties)


def _location(
    ridges: Sequence[Ridge], features: Sequence[FloatArray], penalties: Sequence[int], columns: Int64Array
) -> FloatArray:
    views = [ridge.view(penalties).location(own, columns) for ridge, own in zip(ridges, features, strict=True)]
    return np.asarray(np.mean(views, axis=0))


def _centre_and_spread(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(F,) each, over the known values; a feature that does not vary, or is never known, has spread 1."""
    count, total, square = (np.zeros(features.shape[1]) for _ in range(3))
    for part in _parts(len(features)):
        count += np.isfinite(features[part]).sum(axis=0)
        total += np.nansum(features[part], axis=0)
    centre = total / np.maximum(count, 1)
    for part in _parts(len(features)):
        square += np.nansum((features[part] - centre) ** 2, axis=0)
    spread = np.sqrt(square / np.maximum(count, 1))
    return centre, np.where(spread > 1e-12 * np.maximum(1.0, np.abs(centre)), spread, 1.0)


def _standard(features: FloatArray, centre: FloatArray, spread: FloatArray) -> FloatArray:
    """(n, F) centred, of variance 1, bounded; what is not known is in the middle."""
    standard = (features - centre) / spread
    return np.nan_to_num(np.clip(standard, -BOUND, BOUND), copy=False, nan=0.0)


def one_thread() -> AbstractContextManager[object]:
    """For products of matrices. How one is split among threads moves its last digits, and the same fit must give the
    same bits anywhere; and threads that wait for each other cost a small one ten times what it takes."""
    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def _parts(rows: int) -> list[slice]:
    return [slice(begin, begin + ROWS_AT_ONCE) for begin in range(0, rows, ROWS_AT_ONCE)]
