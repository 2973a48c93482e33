"""What a report shows: the records of a backtest, and beside them what is only drawn.

Times are int64 microseconds, UTC. Shares and probabilities are in [0, 1]. None means not known or not asked for, and so
does NaN in an array. Horizons are counted in bars.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.evaluation.records import BacktestRow, ConfidenceSetRecord, HonestyRecord, Placebo
from cryptocast.evaluation.trading import Trading

__all__ = ["FeatureShares", "FoldLosses", "ForecastFan", "ReportPage"]


@dataclass(frozen=True, slots=True, eq=False)
class ForecastFan:
    """What one model said of one coin at its last origins, and what happened.

    closed_at, close    (m,)       the closes around those origins: time and price
    issued_at           (n,)       increasing
    due_at              (n, H)     close time of the bar forecast
    levels              (q,)       increasing, inside (0, 1), symmetric about 0.5 for bands
    prices              (n, H, q)  quantiles
    outcome             (n, H)     price at due_at, NaN where not known
    H counts the page's horizons. Raises ValueError for other shapes.
    """

    coin: str
    model: str
    closed_at: Int64Array
    close: FloatArray
    issued_at: Int64Array
    due_at: Int64Array
    levels: FloatArray
    prices: FloatArray
    outcome: FloatArray

    def __post_init__(self) -> None:
        n, horizons, q = self.prices.shape
        _shape("close", self.close, self.closed_at.shape)
        _shape("issued_at", self.issued_at, (n,))
        _shape("due_at", self.due_at, (n, horizons))
        _shape("outcome", self.outcome, (n, horizons))
        _shape("levels", self.levels, (q,))


@dataclass(frozen=True, slots=True)
class FoldLosses:
    """One refit and the block that it forecast. losses by model: mean CRPS, None where there is none."""

    number: int
    train_start: int
    train_end: int
    test_start: int
    test_end: int
    train_rows: int
    test_rows: int
    losses: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class FeatureShares:
    """The features of one model and what each is worth, largest first: shares of the total."""

    model: str
    features: tuple[tuple[str, float], ...]
    method: str = "share of the total gain"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPage:
    """Everything that the report shows. Empty or None: that section is left out.

    title; coins; chosen: the model of the fans and of the coin charts; horizons in bars; bar: the noun of one bar
    ("day"); start and end: first and last origin; left_out: coins that are missing, and why.
    """

    title: str
    coins: tuple[str, ...]
    chosen: str
    horizons: tuple[int, ...]
    bar: str
    start: int
    end: int
    rows: tuple[BacktestRow, ...]
    honesty: tuple[HonestyRecord, ...] = ()
    confidence_sets: tuple[ConfidenceSetRecord, ...] = ()
    fans: tuple[ForecastFan, ...] = ()
    trading: Trading | None = None
    placebo: Placebo | None = None
    folds: tuple[FoldLosses, ...] = ()
    importance: tuple[FeatureShares, ...] = ()
    conventions: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    command: str = ""
    manifest: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if any(fan.prices.shape[1] != len(self.horizons) for fan in self.fans):
            raise ValueError(f"a fan has another number of horizons than the page, which has {len(self.horizons)}")

    @property
    def pooled(self) -> tuple[BacktestRow, ...]:
        """The rows over all coins, one a model."""
        return tuple(row for row in self.rows if row.coin is None)

    @property
    def judged(self) -> tuple[BacktestRow, ...]:
        """Those of the models that are held against the baseline."""
        return tuple(row for row in self.pooled if row.model != "baseline")

    @property
    def models(self) -> tuple[str, ...]:
        """Their names, references not among them."""
        return tuple(row.model for row in self.pooled)


def _shape(name: str, values: npt.NDArray[np.generic], expected: tuple[int, ...]) -> None:
    if values.shape != expected:
        raise ValueError(f"{name} is {values.shape}, expected {expected}")
