"""What a report shows: the records of a backtest, and beside them what is only drawn.

Times are int64 microseconds, UTC. Shares and probabilities are in [0, 1]. None means not known or not asked for, and so
does NaN in an array. Horizons are counted in bars.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.evaluation.records import BacktestRow, ConfidenceSetRecord, HonestyRecord, Placebo
from cryptocast.evaluation.trading import Trading


@dataclass(frozen=True, slots=True, eq=False)
class ForecastFan:
    """The forecasts of one coin by one model at its last origins, and the prices that followed.

    closed_at, close    (m,)       the closes around those origins: time and price
    issued_at           (n,)       increasing
    due_at              (n, H)     close time of the bar forecast
    levels              (q,)       increasing, inside (0, 1), symmetric about 0.5 for bands
    prices              (n, H, q)  quantiles
    outcome             (n, H)     price at due_at, NaN where not known
    H counts the page's horizons.
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

    @property
    def pooled(self) -> tuple[BacktestRow, ...]:
        """The rows over all coins, one a model."""
        return tuple(row for row in self.rows if row.coin is None)

    @property
    def models(self) -> tuple[str, ...]:
        """Their names, references not among them."""
        return tuple(row.model for row in self.pooled)
