"""Which models cannot be told from the best one?"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array

CELLS: Final = 4_000_000  # resampled losses held at once, 32 MB


@dataclass(frozen=True, slots=True, eq=False)
class ConfidenceSet:
    """The models that are left when the worst is thrown out as long as that can be told."""

    p: FloatArray  # (m,) the model is in the set of confidence 1 - alpha if its p is above alpha
    order: tuple[int, ...]  # the models as they were thrown out, the worst first; the last one is never thrown out

    def members(self, alpha: float = 0.10) -> tuple[int, ...]:
        """The models of the set that holds the best one with probability 1 - alpha."""
        return tuple(np.flatnonzero(self.p > alpha).tolist())


def model_confidence_set(
    losses: FloatArray, indices: Int64Array, *, method: Literal["range", "max"] = "range"
) -> ConfidenceSet:
    """The model confidence set, from resampled rows of time.

    losses (T, m), one row for each date in order of time, m >= 2, no NaN; indices (draws, T): `stationary_indices`
    with blocks no shorter than the overlap. "range" throws out by the largest t of all pairs, "max" by the largest
    against the average model. Models with equal losses cannot be told apart. Raises ValueError for NaN or shapes that
    disagree. Source: Hansen, Lunde and Nason, Econometrica 79 (2011); equal to arch.bootstrap.MCS ("R", "max").
    """
    if losses.ndim != 2 or losses.shape[1] < 2 or not np.isfinite(losses).all():
        raise ValueError(f"losses is {losses.shape}, expected finite numbers (T, m) with m >= 2")
    if indices.ndim != 2 or indices.shape[1] != len(losses) or len(indices) == 0:
        raise ValueError(f"indices is {indices.shape}, expected (draws, {len(losses)})")
    strays = _resampled_means(losses - losses.mean(axis=0), indices)  # (draws, m)
    step = _range_step if method == "range" else _max_step
    included = np.ones(losses.shape[1], dtype=np.bool_)
    p, order, largest = np.ones(losses.shape[1]), list[int](), 0.0
    while included.sum() > 1:
        worst, p_step = step(losses.mean(axis=0), strays, included)
        largest = max(largest, p_step)
        for model in worst:
            included[model] = False
            p[model] = largest
            order.append(model)
    order.extend(np.flatnonzero(included).tolist())
    return ConfidenceSet(p, tuple(order))


def _resampled_means(deviation: FloatArray, indices: Int64Array) -> FloatArray:
    draws, length = indices.shape
    size = max(1, CELLS // (length * deviation.shape[1]))
    parts = [deviation[indices[begin : begin + size]].mean(axis=1) for begin in range(0, draws, size)]
    return np.concatenate(parts)


def _range_step(mean: FloatArray, strays: FloatArray, included: BoolArray) -> tuple[list[int], float]:
    """The model with the largest t against any other, and the p of all of them being equal."""
    models = np.flatnonzero(included)
    steps, simulated = (-np.inf, 0), np.full(len(strays), -np.inf)
    for i, model in enumerate(models.tolist()):
        pairs = strays[:, [model]] - strays[:, models]  # (draws, models left)
        spread = np.sqrt((pairs**2).mean(axis=0))
        spread[spread == 0.0] = np.inf  # the model itself, or one with the very same losses
        steps = max(steps, (float(((mean[model] - mean[models]) / spread).max()), -i))
        simulated = np.maximum(simulated, (pairs / spread).max(axis=1))
    statistic, worst = steps
    # No difference at all: nothing that is left can be thrown out, but the loop must end with one.
    return [int(models[-worst])], float((statistic < simulated).mean()) if statistic > 0.0 else 1.0


def _max_step(mean: FloatArray, strays: FloatArray, included: BoolArray) -> tuple[list[int], float]:
    """The models with the largest t against the average of those left, and the p of all of them being equal."""
    models = np.flatnonzero(included)
    around = strays[:, models] - strays[:, models].mean(axis=1, keepdims=True)
    spread = np.sqrt((around**2).mean(axis=0))
    spread[spread == 0.0] = np.inf
    t = (mean[models] - mean[models].mean()) / spread
    worst = models[t == t.max()].tolist()
    # All that are left tie: none of them can be thrown out, but the loop must end with one.
    p = 1.0 if len(worst) == len(models) else float((t.max() < (around / spread).max(axis=1)).mean())
    return worst[: len(models) - 1], p
