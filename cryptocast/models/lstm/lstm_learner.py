"""The settings of `lstm`, which learn: torch is loaded when they do, and not before."""

from dataclasses import dataclass
from typing import ClassVar

from cryptocast.config import LSTMConfig
from cryptocast.features.matrix import Matrix
from cryptocast.kinds import check_learns
from cryptocast.models.base import FitRun, Rounds
from cryptocast.models.lstm.forecaster import KIND, LSTMForecaster


@dataclass(frozen=True, slots=True)
class LSTMLearner:
    """Settings of the networks and of their training."""

    settings: LSTMConfig = LSTMConfig()
    kind: ClassVar[str] = KIND
    calibrate: ClassVar[bool] = True

    def fit(
        self, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun
    ) -> LSTMForecaster:
        """All networks side by side, epoch by epoch, on all rows of all coins that have a window and a label.

        With a stop block the epoch with the least loss there is taken, and the view is judged there; `rounds` repeats
        both. Rows beyond [lstm] max_rows are thinned evenly. Raises NotInstalledError without torch.
        """
        check_learns(KIND)
        from cryptocast.models.lstm.training import fitted  # torch costs a second and 200 MB

        return fitted(self.settings, train, stop=stop, rounds=rounds, seed=seed, run=run)
