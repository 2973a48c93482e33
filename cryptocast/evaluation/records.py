"""Scores as they are written down: typed, frozen, JSON."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cryptocast.choices import Granularity
from cryptocast.config import COIN, COIN_PATTERN, VS, VS_PATTERN
from cryptocast.evaluation.answers import PlainAnswer, Question, Unanswered
from cryptocast.times import Moment

Count: TypeAlias = Annotated[int, Meta(ge=0)]
Bars: TypeAlias = Annotated[int, Meta(ge=1)]
Probability: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
CoinId: TypeAlias = Annotated[str, Meta(pattern=COIN_PATTERN)]
Text: TypeAlias = Annotated[str, Meta(max_length=10_000)]
# `\Z`, not `$`: `$` also matches before a final line break.
Word: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z")]
QuoteCurrency: TypeAlias = Annotated[str, Meta(pattern=VS_PATTERN)]
Sha256: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
RunId: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")]  # a folder name, so no path
Label: TypeAlias = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,1000}\Z")]  # one line, safe on a terminal
TrialCommand: TypeAlias = Literal["backtest", "tune"]
SERIES_PATTERN = rf"^[a-z][a-z0-9_]{{0,39}}/{VS}/(daily|hourly)/{COIN}\Z"


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that is stored as JSON and must read back as it was written."""


class IntervalCoverage(Record, frozen=True, kw_only=True):
    """How often one central interval held the outcome: 80 is the interval from the 10 to the 90 % quantile."""

    percent: Annotated[int, Meta(ge=1, le=99)]
    share: Probability
    se: Annotated[float, Meta(ge=0.0)]  # of the share, clustered by date, HAC
    n: Count


class HorizonScore(Record, frozen=True, kw_only=True):
    """The out-of-sample scores of one model at one horizon.

    Losses are on prices divided by the price at issue, averaged by date over coins and then over dates. answers: those
    of the evidence, in the order of the questions; unanswered: why there are none, and `cause` for a person, where the
    code does not say all.
    """

    horizon: Bars
    n: Count  # forecasts
    dates: Count  # distinct origins
    crps: dict[str, float]  # by kind or reference
    skill: dict[str, float]  # 1 - CRPS / CRPS of the reference, by reference
    p_better: dict[str, Probability | None]  # one-sided, by reference; None: too few dates to test
    p_worse_than_baseline: Probability | None
    coverage: tuple[IntervalCoverage, ...]
    tails: tuple[IntervalCoverage, ...] | None = None  # of intervals beyond the outer levels; null: an older record
    mape: float | None
    mape_random_walk: float | None
    answers: tuple[PlainAnswer, ...] = ()
    unanswered: Unanswered | None = None
    cause: Text | None = None

    @property
    def by_baseline(self) -> bool:
        """Whether the baseline answers in the model's place."""
        return self.unanswered is Unanswered.BASELINE_ANSWERS

    def answer(self, question: Question) -> PlainAnswer | None:
        """None where the question was not asked."""
        return next((one for one in self.answers if one.question is question), None)


class PooledAnswers(Record, frozen=True, kw_only=True):
    """What a model's forecasts of several coins together show at one horizon: they have the power that one lacks."""

    horizon: Bars
    coins: Annotated[int, Meta(ge=2)]
    answers: tuple[PlainAnswer, ...]


def pooled_answers(scores: Iterable[HorizonScore], coins: int) -> tuple[PooledAnswers, ...]:
    """Of the scores over a pool of so many coins; none of one coin, whose own answers say the same."""
    if coins < 2:
        return ()
    return tuple(PooledAnswers(horizon=one.horizon, coins=coins, answers=one.answers) for one in scores if one.answers)


class HoldOut(Record, frozen=True, kw_only=True):
    """The scores that a version is registered with, from bars that its first fit never saw.

    pooled: over all coins of the fit, if there are several. foreign: they came with an archive, and nobody here has
    made these forecasts. They are shown and weigh nothing.
    """

    schema: Literal["cryptocast.holdout/3"] = "cryptocast.holdout/3"
    start: Moment
    end: Moment
    coins: tuple[CoinId, ...]
    horizons: tuple[HorizonScore, ...]
    pooled: tuple[PooledAnswers, ...] = ()
    foreign: bool = False


class Evidence(Record, frozen=True, kw_only=True):
    """What one walk through history found about a recipe: on the bars of one coin, or pooled over all of its coins.

    pooled: beside the scores of one coin, the answers over all of them. Raises ValueError if it contradicts itself: a
    span that ends before it starts, a coin that is not among the coins.
    """

    schema: Literal["cryptocast.evidence/3"] = "cryptocast.evidence/3"
    run: RunId  # the folder under runs/ that holds the forecasts and losses behind these scores
    recipe: Sha256  # kind, settings and features: see registry.recipe_hash
    kind: Word
    source: Word
    vs: QuoteCurrency
    granularity: Granularity
    coin: CoinId | None  # None: pooled over `coins`, losses averaged by date
    coins: Annotated[tuple[CoinId, ...], Meta(min_length=1)]  # all that were walked over
    start: Moment  # first origin
    end: Moment  # last origin
    step_bars: Bars
    refit_every_bars: Bars
    window_bars: Count  # longest stretch of history that a refit saw; 0: all of it
    embargo_bars: Count
    history_bars: Bars | msgspec.UnsetType = msgspec.UNSET  # of its coin that each forecast knew; unset: all of them
    scores: Annotated[tuple[HorizonScore, ...], Meta(min_length=1)]
    pooled: tuple[PooledAnswers, ...] = ()
    recorded_at: Moment

    def __post_init__(self) -> None:
        _check_span(self.start, self.end)
        if len(set(self.coins)) != len(self.coins):
            raise ValueError(f"coins are named twice: {', '.join(self.coins)}")
        if self.coin is not None and self.coin not in self.coins:
            raise ValueError(f"{self.coin} is not among the coins walked over: {', '.join(self.coins)}")
        horizons = [score.horizon for score in self.scores]
        if len(set(horizons)) != len(horizons):
            raise ValueError(f"horizons are scored twice: {horizons}")


class Trial(Record, frozen=True, kw_only=True):
    """One strategy or tuning configuration that was evaluated on given bars, kept or not.

    All of them count when the best one's Sharpe ratio is judged: Bailey and Lopez de Prado, The Deflated Sharpe Ratio,
    Journal of Portfolio Management 40 (2014). Raises ValueError if its span ends before it starts.
    """

    schema: Literal["cryptocast.trial/1"] = "cryptocast.trial/1"
    run: RunId
    at: Moment  # when it was evaluated
    command: TrialCommand
    series: Annotated[str, Meta(pattern=SERIES_PATTERN)]  # source/vs/granularity/coin
    start: Moment  # first bar it was evaluated on
    end: Moment  # last one
    name: Label  # of the strategy or trial, with its parameters
    recipe: Sha256 | None  # of the forecasts behind it; None: it needs none
    sharpe: float | None  # per bar, not annualized, after costs; None: no variance, or none was measured
    bars: Count  # that the Sharpe ratio or the score was measured on
    score: float | None  # mean CRPS, for tuning

    def __post_init__(self) -> None:
        _check_span(self.start, self.end)


def _check_span(start: datetime, end: datetime) -> None:
    for moment in (start, end):
        if moment.tzinfo is None:
            raise ValueError(f"{moment} has no time zone")
    if end < start:
        raise ValueError(f"the span ends at {end}, before it starts at {start}")


class BacktestRow(Record, frozen=True, kw_only=True):
    """One model, pooled over the coins or for one of them."""

    model: str
    coin: str | None  # null: pooled
    scores: tuple[HorizonScore, ...]


class Placebo(Record, frozen=True, kw_only=True):
    """The same backtest on prices whose returns were shuffled in blocks: whatever it finds there is false.

    better: runs in which any model was said to beat the baseline at any horizon; direction: in which any was said to
    have a view on direction.
    """

    runs: int
    block_bars: int
    better: int
    direction: int
    shares: tuple[float, float]  # the 95 % Wilson interval of better / runs


class SkillInterval(Record, frozen=True, kw_only=True):
    """1 - loss / loss of the reference, with the ends of its 95 % interval; None: too few dates to say."""

    reference: str
    value: float | None
    lower: float | None
    upper: float | None


class CoverageOfLevel(Record, frozen=True, kw_only=True):
    """How often the outcome was at or below the quantile of a level."""

    level: Probability
    share: Probability
    se: Annotated[float, Meta(ge=0.0)]


class CoverageOfGroup(Record, frozen=True, kw_only=True):
    """How often one central interval held in a part of the forecasts.

    volatility: thirds of the volatility that was forecast, within each coin; after breaks: at most 60 bars behind a
    return beyond four times the volatility that was expected of it.
    """

    by: Literal["coin", "volatility", "after breaks"]
    label: Text
    percent: Annotated[int, Meta(ge=1, le=99)]
    share: Probability
    se: Annotated[float, Meta(ge=0.0)]
    n: Count


class PitRecord(Record, frozen=True, kw_only=True):
    """Where the outcomes fell in their forecast distributions: shares of ten equal cells, and robust tests.

    bias above 0: outcomes above the forecast; spread above 0: too many in the tails. p: of uniformity, of no memory in
    the direction and of none in the size of the errors; None: too few dates.
    """

    shares: tuple[float, ...]
    bias: float
    spread: float
    p_uniform: Probability | None
    p_level_memory: Probability | None
    p_spread_memory: Probability | None


class StatedBin(Record, frozen=True, kw_only=True):
    """Stated probabilities of a rise between two bounds: their mean, and how often it rose, with a Wilson interval."""

    stated: Probability
    observed: Probability
    lower: Probability
    upper: Probability
    n: Count


class IntervalQuality(Record, frozen=True, kw_only=True):
    """The Winkler score and the mean width of one central interval, both as shares of the price at issue."""

    percent: Annotated[int, Meta(ge=1, le=99)]
    score: float
    width: float


class PointScores(Record, frozen=True, kw_only=True):
    """Scores of the median. They mostly measure how much prices moved, and select nothing.

    mae, rmse: of prices divided by the price at issue; r2: of log returns. None where undefined. views: forecasts that
    state a direction; direction: the share of them that was right, with its interval.
    """

    mae: float | None
    rmse: float | None
    mape: float | None
    smape: float | None
    mase: float | None
    r2: float | None
    views: Count
    direction: float | None
    direction_lower: float
    direction_upper: float


class HonestyRecord(Record, frozen=True, kw_only=True):
    """What a backtest shows of one model at one horizon beyond its score, over all its coins.

    confidence_p: of belonging to the models that are not shown to be worse than the best.
    """

    model: str
    horizon: Bars
    n: Count
    skills: tuple[SkillInterval, ...]
    confidence_p: Probability | None
    pit: PitRecord
    levels: tuple[CoverageOfLevel, ...]
    coverage: tuple[CoverageOfGroup, ...]
    stated: tuple[StatedBin, ...]
    brier: float | None
    intervals: tuple[IntervalQuality, ...]
    points: PointScores


class ConfidenceSetRecord(Record, frozen=True, kw_only=True):
    """The models and references that are not shown to be worse than the best one at a horizon, at this alpha."""

    horizon: Bars
    alpha: Probability
    members: tuple[str, ...]
    left_out: tuple[str, ...]


class StrategyRecord(Record, frozen=True, kw_only=True):
    """One strategy or baseline after costs, on all coins held in equal parts. Returns and drawdown are shares.

    sharpe, sortino, calmar and turnover are annual; intervals of 95 % from a stationary block bootstrap, the difference
    to buy and hold from paired draws (of random entries: the middle 95 % of the draws). beaten: the share of random
    entries with the same exposure whose Sharpe ratio was lower. psr, dsr: probability that the true Sharpe ratio is
    above 0, and above what the luckiest of all recorded trials would show. None: undefined.
    """

    name: str
    kind: Literal["strategy", "baseline"]
    model: str | None
    total_return: float | None = None
    annual_return: float | None = None
    sharpe: float | None = None
    sharpe_lower: float | None = None
    sharpe_upper: float | None = None
    sharpe_per_bar: float | None = None
    difference: float | None = None
    difference_lower: float | None = None
    difference_upper: float | None = None
    sortino: float | None = None
    calmar: float | None = None
    max_drawdown: float | None = None
    turnover: float | None = None
    exposure: float | None = None
    beaten: float | None = None
    psr: float | None = None
    dsr: float | None = None


class CostRecord(Record, frozen=True, kw_only=True):
    """The annual Sharpe ratio of one strategy at each cost (bps of the traded value, sharpe), and the cost at which its
    mean return over the coins is gone; None: no cost takes it."""

    name: str
    sharpe_by_bps: tuple[tuple[float, float | None], ...]
    break_even_bps: float | None


class DelayRecord(Record, frozen=True, kw_only=True):
    """The annual Sharpe ratio of one strategy as executed, and with everything done one and two bars later."""

    name: str
    sharpe_by_delay: tuple[float | None, ...]


class PathsRecord(Record, frozen=True, kw_only=True):
    """The annual Sharpe ratio of one way to choose a strategy, on each combinatorial purged path."""

    name: str
    sharpe: tuple[float | None, ...]


class TradingRecord(Record, frozen=True, kw_only=True):
    """What strategies on the forecasts would have earned.

    periods: bars in a year, from the stamps. trials: strategies ever evaluated on these series, those of this run
    included. pbo: probability that the best of `pbo_configurations` in one half of the time is below the median in the
    other.
    """

    start: Moment
    end: Moment
    bars: Count
    periods: float
    execution: Literal["next_bar", "same_bar"]
    filled_at: Literal["next open", "same close"]
    fee_bps: float
    slippage_bps: float
    target_volatility: float
    rows: tuple[StrategyRecord, ...]
    costs: tuple[CostRecord, ...]
    delays: tuple[DelayRecord, ...]
    paths: tuple[PathsRecord, ...]
    trials: Count | None
    pbo: Probability | None
    pbo_configurations: Count
    notes: tuple[str, ...]
