"""Scores as they are written down: typed, frozen, JSON."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

__all__ = ["HoldOut", "HorizonScore", "IntervalCoverage", "Record"]

Count: TypeAlias = Annotated[int, Meta(ge=0)]
Bars: TypeAlias = Annotated[int, Meta(ge=1)]
Probability: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]
CoinId: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,99}\Z")]
Text: TypeAlias = Annotated[str, Meta(max_length=10_000)]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that is stored as JSON and must read back as it was written."""


class IntervalCoverage(Record, frozen=True, kw_only=True):
    """How often one central interval held the outcome: 80 is the interval from the 10 to the 90 % quantile."""

    percent: Annotated[int, Meta(ge=1, le=99)]
    share: Probability
    se: Annotated[float, Meta(ge=0.0)]  # of the share, clustered by date, HAC
    n: Count


class HorizonScore(Record, frozen=True, kw_only=True):
    """The out-of-sample scores of one model at one horizon. Losses are on prices divided by the price at issue."""

    horizon: Bars
    n: Count  # forecasts
    dates: Count  # distinct origins
    crps: dict[str, float]  # by kind or reference
    skill: dict[str, float]  # 1 - CRPS / CRPS of the reference, by reference
    p_better: dict[str, Probability | None]  # one-sided, by reference; None: too few dates to test
    p_worse_than_baseline: Probability | None
    coverage: tuple[IntervalCoverage, ...]
    mape: float | None
    mape_random_walk: float | None
    verdict: Text
    fallback: Text | None = None  # why this horizon answers with the baseline; None: it does not


class HoldOut(Record, frozen=True, kw_only=True):
    """The scores that a version is registered with, from bars that its first fit never saw."""

    schema: Literal["cryptocast.holdout/1"] = "cryptocast.holdout/1"
    start: Moment
    end: Moment
    coins: tuple[CoinId, ...]
    horizons: tuple[HorizonScore, ...]
