"""What the commands and the server say, as types: one set of names for the terminal, the files and HTTP."""

from enum import StrEnum
from typing import Literal

import msgspec

from cryptocast.choices import Granularity, TouchOn
from cryptocast.evaluation.answer_words import (
    QUESTIONS,
    SHORT_QUESTIONS,
    UNANSWERED,
    WORDS,
    answer_numbers,
    answer_sentence,
    answer_words,
    over_horizons,
    two_digits,
)
from cryptocast.evaluation.answers import AnswerWord, PlainAnswer, Question, Unanswered
from cryptocast.evaluation.records import (
    BacktestRow,
    ConfidenceSetRecord,
    HoldOut,
    HonestyRecord,
    Placebo,
    PooledAnswers,
    StrategyRecord,
    TradingRecord,
)
from cryptocast.evaluation.verdicts import Verdict, VerdictReason, ab_sentence, comparison_sentence, p_number
from cryptocast.registry.reasons import Reason
from cryptocast.times import Moment
from cryptocast.workflows.fallbacks import Fallback, FallbackCode

__all__ = [
    "QUESTIONS",
    "SHORT_QUESTIONS",
    "UNANSWERED",
    "WORDS",
    "AbSide",
    "AnswerWord",
    "BacktestReport",
    "BacktestRow",
    "CoinError",
    "CoinForecast",
    "DataUsed",
    "Fallback",
    "FallbackCode",
    "ForecastDocument",
    "HonestyRecord",
    "HorizonForecast",
    "Interval",
    "KeyRow",
    "Placebo",
    "PlainAnswer",
    "PooledAnswers",
    "Question",
    "StrategyRecord",
    "TradingRecord",
    "TrainDecision",
    "TrainReport",
    "TrainedModel",
    "Unanswered",
    "Verdict",
    "VerdictReason",
    "ab_sentence",
    "answer_numbers",
    "answer_sentence",
    "answer_words",
    "comparison_sentence",
    "over_horizons",
    "p_number",
    "two_digits",
]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Part of an answer."""


class Interval(Document, frozen=True, kw_only=True):
    """A central interval of the price: `level` percent of outcomes are meant to fall inside."""

    level: int
    lower: float
    upper: float


class HorizonForecast(Document, frozen=True, kw_only=True):
    """The price `horizon` bars ahead."""

    horizon: int
    target_time: Moment
    median: float
    mean: float  # of the quantile distribution, see scoring.quantiles.mean_of_quantiles
    intervals: tuple[Interval, ...]
    volatility: float  # of the log return over the horizon
    p_up: float  # probability of a rise; 0.5 is no view
    confidence: float  # probability of the likelier direction; 0.5 is no view
    pooled: PooledAnswers | None  # over all coins of its fit, or of the walk; null: there is one coin, or no answer
    answers: tuple[PlainAnswer, ...]  # on the model's forecasts of this coin at this horizon
    unanswered: Unanswered | None  # why there are no answers
    evidence: Literal["hold-out", "walk-forward"] | None  # that the answers rest on; null: on none
    fallback_reason: Fallback | None  # why this horizon is the baseline's
    interpolated: tuple[int, ...] | None  # the fitted horizons that it lies between; null: it is one of them
    live_outcomes: int  # live forecasts, its own and inherited, whose outcomes moved the intervals; 0: as fitted
    touch: float | msgspec.UnsetType = msgspec.UNSET  # probability that the price asked for is touched by then


class AbSide(Document, frozen=True, kw_only=True):
    """The running A/B test of what was asked for, and which side of it answered."""

    test: str
    side: Literal["production", "challenger"]


class Touch(Document, frozen=True, kw_only=True):
    """A price of which the forecast says whether it will be touched, and the paths that say so."""

    price: float
    on: TouchOn
    paths: int
    seed: int


class CoinForecast(Document, frozen=True, kw_only=True):
    """The forecast of one coin, and what it rests on."""

    coin: str
    vs: str
    granularity: str
    source: str
    model_requested: str
    model_used: str
    version: int | str | None  # a number, or "shipped"; null for the baseline, which has none
    fallback_reason: Fallback | None  # why `model_used` is not `model_requested`; null: it is
    as_of: Moment  # close of the last bar known
    stale_after: Moment
    stale: bool
    price: float
    notices: tuple[str, ...]
    horizons: tuple[HorizonForecast, ...]
    ab: AbSide | None = None  # null: no test is running
    touch: Touch | msgspec.UnsetType = msgspec.UNSET


class MarketRow(Document, frozen=True, kw_only=True):
    """Something of one market."""

    source: str
    vs: str
    granularity: Granularity


class KeyRow(MarketRow, frozen=True, kw_only=True):
    """A line about the versions of one coin, kind and market."""

    coin: str
    kind: str


class CoinError(Document, frozen=True, kw_only=True):
    """A coin that could not be answered for, beside those that could."""

    coin: str
    error: str


class HorizonRisk(Document, frozen=True, kw_only=True):
    """What a position may lose within `horizon` bars, in the quote currency; a loss is positive."""

    horizon: int
    level: int  # in percent
    value_at_risk: float  # exceeded with probability 1 - level
    expected_shortfall: float  # the mean loss where it is exceeded


class PositionRisk(Document, frozen=True, kw_only=True):
    """The risk of a position in several coins, from paths on which they move together."""

    vs: str
    value: float  # at the last prices
    amounts: dict[str, float]  # units of each coin; negative: short
    paths: int
    horizons: tuple[HorizonRisk, ...]


class ForecastDocument(Document, frozen=True, kw_only=True):
    """Forecasts of several coins."""

    schema: Literal["cryptocast.forecast/3"] = "cryptocast.forecast/3"
    forecasts: tuple[CoinForecast, ...]
    errors: tuple[CoinError, ...] = ()
    names: dict[str, str] | msgspec.UnsetType = msgspec.UNSET  # by what a coin was asked for, if not by its id
    risk: PositionRisk | msgspec.UnsetType = msgspec.UNSET  # of the position, if one was given


class CoinPaths(Document, frozen=True, kw_only=True):
    """Sample paths of one coin, and what they rest on."""

    coin: str
    source: str
    model_used: str
    version: int | str | None
    as_of: Moment
    stale: bool
    price: float
    target_times: tuple[Moment, ...]  # close of each bar ahead
    prices: tuple[tuple[float, ...], ...]  # by path, at each bar; path k of all coins is one history


class PathsDocument(Document, frozen=True, kw_only=True):
    """Sample paths of several coins."""

    schema: Literal["cryptocast.paths/1"] = "cryptocast.paths/1"
    vs: str
    granularity: str
    paths: int  # of each coin; fewer than were asked for where they would be too many prices
    seed: int
    coins: tuple[CoinPaths, ...]
    errors: tuple[CoinError, ...] = ()
    names: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class DataUsed(Document, frozen=True, kw_only=True):
    """The candles of one coin that a command rested on."""

    coin: str
    source: str
    market: str | None = None
    rows: int
    first: Moment
    last: Moment
    content_hash: str
    stale: bool
    notice: str | None


class TrainDecision(StrEnum):
    """What became of a trained model."""

    NO_VERSION = "no_version"  # the baseline has none
    PROMOTED = "promoted"  # to production: no other version answers, and the gate lets it through
    REFUSED = "refused"  # no other version answers, and the gate does not; `reasons` say why
    CHALLENGER = "challenger"  # another version is in production


class TrainedModel(Document, frozen=True, kw_only=True):
    """One kind of model for one coin: its hold-out, and the version it became (none for the baseline)."""

    coin: str
    kind: str
    version: int | None = None
    aliases: tuple[str, ...] = ()
    decision: TrainDecision = TrainDecision.NO_VERSION
    reasons: tuple[Reason, ...] = ()  # those of the gate, where it refused
    fit_id: str | None = None
    seconds: float = 0.0
    hold_out: HoldOut
    pooled: HoldOut  # over all coins of the pool


class TrainReport(Document, frozen=True, kw_only=True):
    """What a training did."""

    schema: Literal["cryptocast.train/3"] = "cryptocast.train/3"
    granularity: Granularity
    vs: str
    horizons: tuple[int, ...] = ()
    data: tuple[DataUsed, ...] = ()
    left_out: tuple[CoinError, ...] = ()
    models: tuple[TrainedModel, ...] = ()
    notes: tuple[str, ...] = ()
    forecast: ForecastDocument
    seconds: float = 0.0


class FoldRow(Document, frozen=True, kw_only=True):
    """One refit of a walk-forward."""

    fold: int
    refit_at: Moment
    train_rows: int
    origins: int


class BacktestReport(Document, frozen=True, kw_only=True):
    """What a backtest found."""

    schema: Literal["cryptocast.backtest/3"] = "cryptocast.backtest/3"
    mode: Literal["hold-out", "walk-forward"]
    run: str  # the folder below runs/ of the store: manifest and forecasts
    granularity: Granularity
    vs: str
    start: Moment
    end: Moment
    step_bars: int
    refit_every_bars: int | None
    window_bars: int  # that each fit learned from; 0: all bars before it
    history_bars: int = 0  # of its coin that each forecast knew; 0: all bars before it
    data: tuple[DataUsed, ...]
    left_out: tuple[CoinError, ...]
    folds: tuple[FoldRow, ...]
    rows: tuple[BacktestRow, ...]
    honesty: tuple[HonestyRecord, ...]  # over all named coins
    confidence_sets: tuple[ConfidenceSetRecord, ...]
    trading: TradingRecord | None  # null: not asked for, or too few bars
    placebo: Placebo | None  # null: not asked for
    conventions: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float
