"""What `lightgbm` and `lstm` have in common: a correction of the volatility that is known at issue, and a linear view.

The log of the correction is shrunk towards none, the more the fewer independent blocks of time there were to learn
from. The median stays at the last price, unless a view of the direction proved itself on the stop block
(`models/drift_ridge.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Forecast, Rounds
from cryptocast.models.baseline import no_view_forecast
from cryptocast.models.drift_ridge import LinearView, Ridge, supported_penalties
from cryptocast.models.labels import independent_blocks
from cryptocast.models.student_mixture import StudentMixture, probability_of_rise

# Half of the shrinkage is reached with this many independent blocks of the horizon.
SHRINKAGE_BLOCKS: Final = 12.0


def shrinkage_of(train: Matrix) -> FloatArray:
    """(H,) the share of what these rows teach that is used at each horizon."""
    blocks = independent_blocks(train)
    return blocks / (blocks + SHRINKAGE_BLOCKS)


@dataclass(frozen=True, slots=True, eq=False)
class ScaleModel(ABC):
    """horizons and shrinkage (H,): the share of the learned log scale that is used.

    views: of the features that each part of the model reads, none where there is none; the mean of their locations is
    used. penalties (H,): they were fitted with, 0 at a horizon without a view.
    """

    horizons: Int64Array
    shrinkage: FloatArray
    penalties: tuple[int, ...]
    views: tuple[LinearView, ...]

    @abstractmethod
    def log_scale(self, rows: Matrix) -> FloatArray:
        """(n, H) log of what the volatility known at issue is multiplied by, at the fitted horizons."""

    @abstractmethod
    def read(self, rows: Matrix) -> Sequence[FloatArray]:
        """(n, F) for each part of the model: the features of its view."""

    def with_view(
        self,
        features: Iterable[FloatArray],
        labels: FloatArray,
        *,
        stop: Matrix | None,
        rounds: Rounds | None,
        share: FloatArray,
    ) -> Self:
        """The same with a view at the horizons where the stop block supports one, or did when the rounds were found.

        features (m, F) of the training rows, for each part of the model; labels (m, H) their standardised returns.
        stop: rows to judge by; None repeats the penalties of the rounds. share (H,): of each location that is used.
        """
        penalties = () if rounds is None else rounds.penalties
        if stop is None and not any(penalties):
            return self
        ridges = [Ridge.of(own, labels) for own in features]
        if stop is not None:
            penalties = supported_penalties(ridges, self.read(stop), stop, self.log_scale(stop), share)
        if not any(penalties):
            return self
        views = tuple(ridge.view(penalties).shrunk(share) for ridge in ridges)
        return replace(self, penalties=penalties, views=views)


def located(rows: Matrix, mixture: StudentMixture, location: FloatArray) -> Forecast:
    """The mixture around the location (n, H), in volatilities known at issue; around the last price where that is 0."""
    forecast = no_view_forecast(rows, rows.volatility * mixture.deviation, mixture.shape)
    if not location.any():
        return forecast
    values = forecast.values + (rows.volatility * location)[:, :, None]
    p_up = np.where(location == 0.0, forecast.p_up, probability_of_rise(location, mixture))
    return replace(forecast, values=values, p_up=p_up)
