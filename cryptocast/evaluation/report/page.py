"""What a report shows, as plain values: filled from a backtest, drawn by `render`.

Times are int64 microseconds, UTC. Shares and probabilities are in [0, 1], skills 1 - loss / loss of the reference
(0.02: 2 % lower). None means not known or not asked for, and so does NaN in an array. Horizons are counted in bars.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "CoinScore",
    "ConfidenceSet",
    "CostRow",
    "CoverageRow",
    "CrossValidatedPaths",
    "Curve",
    "DelayRow",
    "Estimate",
    "Fan",
    "FoldRow",
    "Importance",
    "Page",
    "Pit",
    "Placebo",
    "Problem",
    "Reliability",
    "Scores",
    "SkillRow",
    "StatedProbability",
    "StrategyRow",
    "Trading",
    "Verdict",
]

FloatArray: TypeAlias = npt.NDArray[np.float64]
Int64Array: TypeAlias = npt.NDArray[np.int64]
Word: TypeAlias = Literal["better", "worse", "cannot tell"]
LiesIn: TypeAlias = tuple[Literal["width", "direction"], ...]
Named: TypeAlias = tuple[tuple[str, float | None], ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and the ends of its 95 % interval, where it has one."""

    value: float | None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the backtest says of one model at one horizon, over all coins, after correction for the whole table."""

    model: str
    horizon: int
    word: Word
    n: int  # dates: origins, not forecasts
    reference: str  # the strongest one
    skill: Estimate  # against that reference
    p: float | None = None  # of the word said, after correction
    lies_in: LiesIn | None = None  # None: not tested, or there is no skill to place
    smallest: float | None = None  # the smallest true skill that this much data would have shown; None: too few
    note: str | None = None  # why there is no test, or who answers instead


@dataclass(frozen=True, slots=True)
class SkillRow:
    """One model against one reference at one horizon, over all coins."""

    model: str
    horizon: int
    reference: str
    skill: Estimate
    n: int  # dates


@dataclass(frozen=True, slots=True)
class CoinScore:
    """One coin, model and horizon: a cell of the coin by coin table."""

    coin: str
    model: str
    horizon: int
    word: Word
    n: int  # dates
    skill: Estimate  # against the strongest reference


@dataclass(frozen=True, slots=True)
class Scores:
    """The losses and other scores of one model or reference at one horizon, by name, in the order to be shown."""

    model: str
    horizon: int
    n: int  # forecasts
    values: Named


@dataclass(frozen=True, slots=True)
class ConfidenceSet:
    """The models that are not shown to be worse than the best at one horizon."""

    horizon: int
    models: tuple[str, ...]
    left_out: tuple[str, ...]
    alpha: float


@dataclass(frozen=True, slots=True, eq=False)
class Fan:
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


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """How often the central intervals of each nominal level held: levels, observed, se (q,); se clustered by date."""

    model: str
    horizon: int
    levels: FloatArray
    observed: FloatArray
    se: FloatArray
    n: int  # forecasts

    def __post_init__(self) -> None:
        _shape("observed", self.observed, self.levels.shape)
        _shape("se", self.se, self.levels.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Pit:
    """Where the outcomes fell in their forecast distributions: shares (b,) of b equal cells of [0, 1], adding to 1.

    se (b,) of each share, robust to overlap, or None; p of a test for uniformity that is robust to autocorrelation.
    """

    model: str
    horizon: int
    shares: FloatArray
    se: FloatArray | None
    n: int  # forecasts
    p: float | None = None

    def __post_init__(self) -> None:
        if self.se is not None:
            _shape("se", self.se, self.shares.shape)


@dataclass(frozen=True, slots=True, eq=False)
class StatedProbability:
    """Stated probabilities of a rise, binned: their mean, the observed share of rises, its se, the count; all (b,)."""

    model: str
    horizon: int
    stated: FloatArray
    observed: FloatArray
    se: FloatArray
    n: Int64Array

    def __post_init__(self) -> None:
        for name in ("observed", "se", "n"):
            _shape(name, getattr(self, name), self.stated.shape)


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """How often one interval held in one part of the data. percent 80: from the 10 to the 90 % quantile."""

    group: Literal["horizon", "coin", "volatility", "after breaks"]
    label: str  # of the part: a horizon's, a coin's, "lowest third", "within 60 bars of a break"
    model: str
    percent: int
    share: float
    se: float  # clustered by date
    n: int  # forecasts


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The equity of one strategy or baseline after costs, starting at 1: closed_at, equity (m,)."""

    name: str
    kind: Literal["strategy", "baseline"]
    closed_at: Int64Array
    equity: FloatArray

    def __post_init__(self) -> None:
        _shape("equity", self.equity, self.closed_at.shape)


@dataclass(frozen=True, slots=True)
class StrategyRow:
    """One strategy or baseline in numbers, after costs. Returns and drawdown are shares, annual by the page's bars."""

    name: str
    kind: Literal["strategy", "baseline"]
    annual_return: float | None
    sharpe: Estimate  # annual; interval from the bootstrap
    difference: Estimate  # of the Sharpe ratio to buy and hold, paired bootstrap; None for buy and hold itself
    sortino: float | None
    calmar: float | None
    max_drawdown: float | None
    turnover: float | None  # one-sided, per year
    psr: float | None = None  # probability that the true Sharpe ratio is above 0
    dsr: float | None = None  # the same, after the best of all recorded trials


@dataclass(frozen=True, slots=True)
class CostRow:
    """The annual Sharpe ratio of one strategy by cost in bps of the traded value, and the cost that eats it all."""

    name: str
    sharpe_by_bps: tuple[tuple[float, float | None], ...]
    break_even_bps: float | None  # None: loses at any cost, or never trades


@dataclass(frozen=True, slots=True)
class DelayRow:
    """The annual Sharpe ratio as executed, and when everything is done one bar later."""

    name: str
    sharpe: float | None
    sharpe_delayed: float | None


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidatedPaths:
    """The annual Sharpe ratio of one strategy on each combinatorial purged path: sharpe (paths,)."""

    name: str
    sharpe: FloatArray


@dataclass(frozen=True, slots=True)
class Trading:
    """The strategies on the forecasts, and their baselines. What is None or empty was not asked for and is left out."""

    curves: tuple[Curve, ...]
    rows: tuple[StrategyRow, ...]
    costs: tuple[CostRow, ...] = ()
    delays: tuple[DelayRow, ...] = ()
    paths: tuple[CrossValidatedPaths, ...] = ()
    trials: int | None = None  # recorded on this data, tuning included
    pbo: float | None = None  # probability of backtest overfitting
    pbo_configurations: int | None = None
    notes: tuple[str, ...] = ()  # execution, cost and sizing in words


@dataclass(frozen=True, slots=True)
class Placebo:
    """The whole pipeline on block-shuffled prices, where nothing can be found."""

    runs: int
    better: int  # runs that said "better" somewhere


@dataclass(frozen=True, slots=True)
class FoldRow:
    """One refit and the block that it forecast. losses by model: mean CRPS, NaN or None where there is none."""

    number: int
    train_start: int
    train_end: int
    test_start: int
    test_end: int
    train_rows: int
    test_rows: int
    losses: Named = ()
    seconds: float | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Importance:
    """The features of one model and what each is worth, largest first: shares of the total."""

    model: str
    features: tuple[tuple[str, float], ...]
    method: str = "share of the total gain"


@dataclass(frozen=True, slots=True)
class Problem:
    """A coin, model or fold that is missing or incomplete, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that the report shows. Empty or None: that section is left out.

    title, coins, models (references not among them), chosen: the model of the fans and of the coin charts;
    horizons in bars; bar: the noun of one bar ("day"); start and end: first and last origin.
    """

    title: str
    coins: tuple[str, ...]
    models: tuple[str, ...]
    chosen: str
    horizons: tuple[int, ...]
    bar: str
    start: int
    end: int
    verdicts: tuple[Verdict, ...]
    skills: tuple[SkillRow, ...] = ()
    coin_scores: tuple[CoinScore, ...] = ()
    scores: tuple[Scores, ...] = ()
    confidence_sets: tuple[ConfidenceSet, ...] = ()
    fans: tuple[Fan, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    pits: tuple[Pit, ...] = ()
    probabilities: tuple[StatedProbability, ...] = ()
    coverage: tuple[CoverageRow, ...] = ()
    trading: Trading | None = None
    placebo: Placebo | None = None
    folds: tuple[FoldRow, ...] = ()
    importance: tuple[Importance, ...] = ()
    conventions: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    command: str = ""
    manifest: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if any(fan.prices.shape[1] != len(self.horizons) for fan in self.fans):
            raise ValueError(f"a fan has another number of horizons than the page, which has {len(self.horizons)}")


def _shape(name: str, values: npt.NDArray[np.generic], expected: tuple[int, ...]) -> None:
    if values.shape != expected:
        raise ValueError(f"{name} is {values.shape}, expected {expected}")
