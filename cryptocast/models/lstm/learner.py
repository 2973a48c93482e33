"""The settings of `lstm` that learn: rows to examples, examples to networks, and whether there is a view."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from cryptocast.config import LSTMConfig
from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Rounds
from cryptocast.models.labels import LEAST_ROWS, LEAST_STOP_ROWS
from cryptocast.models.lstm.examples import Examples
from cryptocast.models.lstm.forecaster import KIND, LSTMForecaster, read_in_parts
from cryptocast.models.lstm.network import Shape, reproducible
from cryptocast.models.lstm.training import train_networks
from cryptocast.models.scale_model import shrinkage_of
from cryptocast.models.windows import look_back

__all__ = ["LSTMLearner"]

# Epochs where nobody can tell how many are too many.
UNSTOPPED_EPOCHS: Final = 8


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
        both. Rows beyond [lstm] max_rows are thinned evenly.
        """
        settings, counts = self.settings, () if rounds is None else rounds.counts
        examples = Examples.labelled(train, settings)
        if len(examples) < LEAST_ROWS:
            raise DataError(
                f"lstm needs {LEAST_ROWS} bars with a look-back window and a known return to learn from, there are "
                f"{len(examples)}. Fetch more bars or more coins, or use --model baseline."
            )
        stopping = None if stop is None or counts else Examples.labelled(stop, settings)
        if stopping is not None and len(stopping) < LEAST_STOP_ROWS:
            stopping = None
        searched = settings.epochs if stopping is not None else min(settings.epochs, UNSTOPPED_EPOCHS)
        shape = Shape(len(train.horizons), settings.patch, settings.hidden)
        with reproducible():
            limit = counts[0] if counts else searched
            networks, epochs = train_networks(
                settings, examples, stopping, shape=shape, limit=limit, seed=seed, run=run
            )
        share = shrinkage_of(train)
        made = LSTMForecaster(
            horizons=train.horizons,
            settings=settings,
            seed=seed,
            epochs=epochs,
            shrinkage=settings.strength * share,
            penalties=(0,) * len(train.horizons),
            members=networks,
            views=(),
        )
        judged = None
        if stop is not None and stopping is not None and rounds is None and settings.view:
            judged = stop.rows(look_back(stop, settings.lookback).usable)
        reads = (read_in_parts(network, examples.bars, examples.known, examples.context) for network in networks)
        labels = examples.standardised.numpy().astype(np.float64)
        return made.with_view(reads, labels, stop=judged, rounds=rounds, share=share)
