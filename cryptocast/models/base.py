"""What every model is: settings that learn, a fitted thing that predicts, and the forecast that it gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.errors import ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.spread import Spread

# What a fitted model is saved as: file names and their bytes. Text, JSON and safetensors; never a pickle.
Artefacts: TypeAlias = Mapping[str, bytes]


# Beyond, a price is zero or infinite as a number, whatever the coin.
MOST_LOG_RETURN: Final = 500.0


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Quantiles of the log return over the next bars, for n (coin, time) pairs.

    coin, issued_at, price   (n,)       issued_at: close time, microseconds UTC, of the last bar the model saw
    horizons (H,) in bars, levels (q,)  both increasing; levels inside (0, 1)
    values                   (n, H, q)  log returns, non-decreasing along q
    volatility, p_up         (n, H)     of the log return; probability of a rise, 0.5 = no view
    """

    coin: npt.NDArray[np.str_]
    issued_at: Int64Array
    price: FloatArray
    horizons: Int64Array
    levels: FloatArray
    values: FloatArray
    volatility: FloatArray
    p_up: FloatArray

    def __post_init__(self) -> None:
        n, h, q = len(self.issued_at), len(self.horizons), len(self.levels)
        shapes = {"coin": (n,), "price": (n,), "values": (n, h, q), "volatility": (n, h), "p_up": (n, h)}
        for name, expected in shapes.items():
            shape = getattr(self, name).shape
            if shape != expected:
                raise ModelError(f"Forecast.{name} is {shape}, expected {expected} (times, horizons, levels).")
        if not ((np.abs(self.values) <= MOST_LOG_RETURN).all() and np.isfinite(self.volatility).all()):
            raise ModelError("Forecast holds a value that is not finite. A model must refuse the row instead.")
        if (np.diff(self.values, axis=-1) < 0).any():
            raise ModelError("Forecast quantiles cross. Sort them in the model, not in its callers.")
        if ((self.p_up < 0) | (self.p_up > 1)).any():
            raise ModelError("Forecast.p_up leaves [0, 1].")

    def __len__(self) -> int:
        return len(self.issued_at)

    def rows(self, keep: BoolArray | Int64Array) -> Self:
        """The rows of a mask or of positions, in that order."""
        return replace(
            self,
            coin=self.coin[keep],
            issued_at=self.issued_at[keep],
            price=self.price[keep],
            values=self.values[keep],
            volatility=self.volatility[keep],
            p_up=self.p_up[keep],
        )

    def prices(self) -> FloatArray:
        """(n, H, q): the quantiles as prices."""
        return self.price[:, None, None] * np.exp(self.values)


@dataclass(frozen=True, slots=True)
class FitRun:
    """What a fit reports to and may use: news of what it does, and the number of threads.

    done: hears of the kind behind each fit, where one work makes several.
    checkpoints: a folder for what a fit that is interrupted goes on from; whoever names it clears it. start: a model of
    the same learner on a part of the same rows, none of them later, which a fit that repeats rounds may go on from.
    spread: where the fits of a training are made, None: here, one after the other.
    """

    threads: int = 1
    step: Callable[[str], None] = lambda _: None
    done: Callable[[str], None] = lambda _: None
    checkpoints: Path | None = None
    start: "Forecaster | None" = None
    spread: Spread | None = None


@dataclass(frozen=True, slots=True)
class Rounds:
    """What a fit decided by its stop block, so that a refit on more rows can repeat it without one.

    counts: trees of each booster, or epochs; none where there is nothing to repeat. penalties (H,): of the view, 0 at a
    horizon without one; none where no view was looked for. members: of an ensemble, by name.
    """

    counts: tuple[int, ...] = ()
    penalties: tuple[int, ...] = ()
    members: Mapping[str, "Rounds"] = field(default_factory=dict)


class Forecaster(Protocol):
    """A fitted model."""

    kind: ClassVar[str]

    @property
    def rounds(self) -> Rounds:
        """What a refit repeats."""

    def predict(self, rows: Matrix) -> Forecast:
        """A forecast for each row, in their order. Raises ModelError if a feature that it was fitted on is missing."""

    def save(self) -> Artefacts:
        """The files that it can be loaded from."""

    @classmethod
    def load(cls, files: Artefacts) -> Self:
        """The model that was saved. Raises ModelError on files that are not as `save` writes them."""


class Learner(Protocol):
    """Frozen settings: cheap to build, to compare, to write into a manifest."""

    @property
    def kind(self) -> str:
        """What it is called in the table of kinds."""

    @property
    def calibrate(self) -> bool:
        """Whether its quantiles are moved by what happened out of fold."""

    def fit(self, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun) -> Forecaster:
        """Learn from rows with known labels (NaN labels are left out, horizon by horizon).

        stop: rows for early stopping; rounds: of an earlier fit, for a final one without a stop block. Raises DataError
        with the number needed if there are too few rows.
        """
