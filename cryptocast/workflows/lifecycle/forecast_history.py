"""What was forecast live and what came of it: the ledger, as people and tables read it."""

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from cryptocast.data.tables import check_table_path, write_table
from cryptocast.errors import DataError
from cryptocast.kinds import SHIPPED
from cryptocast.models.tails import interval_ends
from cryptocast.registry import PRODUCTION, LedgerOutcome, LedgerRow, Registry, VersionKey
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.forecast import BASELINE, Request, check_request
from cryptocast.workflows.lifecycle.conditions import answering
from cryptocast.workflows.reports import Document, KeyRow

AUTO: Final = "auto"
MEDIAN: Final = int(np.searchsorted(LEVELS, 0.5))


class PastInterval(Document, frozen=True, kw_only=True):
    """A central interval of the price. inside: whether the outcome fell into it; null: it is not known yet."""

    level: int
    lower: float
    upper: float
    inside: bool | None


class PastForecast(KeyRow, frozen=True, kw_only=True):
    """One live forecast. version: a number, or "shipped"; null for the baseline. by_baseline: it was left to that.

    price: at issue. outcome: the price that came, null until its bar has closed. crps: relative to the price at issue.
    """

    version: int | str | None
    by_baseline: bool
    issued_at: datetime
    horizon: int
    target_time: datetime
    price: float
    median: float
    p_up: float
    intervals: tuple[PastInterval, ...]
    outcome: float | None
    crps: float | None


class IntervalCount(KeyRow, frozen=True, kw_only=True):
    """How often the interval of one level held, of the forecasts shown whose outcome is known."""

    horizon: int
    level: int
    outcomes: int
    inside: int


class ForecastHistory(Document, frozen=True, kw_only=True):
    """Live forecasts by coin, model, time of issue and horizon, and how often their intervals held."""

    schema: Literal["cryptocast.forecast-history/1"] = "cryptocast.forecast-history/1"
    forecasts: tuple[PastForecast, ...]
    counts: tuple[IntervalCount, ...]


def forecast_history(context: Context, request: Request, out: Path | None = None) -> ForecastHistory:
    """The live forecasts of the coins: of the model that answers now (the baseline's where it has none), of the
    one named, or of one version alone. out: a file for them, .csv or .parquet.

    Of a model, each bar has the forecast of the version that was in production then. Looks at the registry only, and
    fetches nothing. Raises UsageError for a model or an interval that there is not, RegistryError for such a version,
    DataError if nothing was forecast live.
    """
    if out is not None:
        check_table_path(out)
    bars = request.selection.resolved(context.config)
    check_request(request, bars.granularity, context.config)
    intervals = request.intervals or context.config.forecast.intervals
    registry = context.registry(create=False)
    rows = tuple(
        _past(subject, row, outcome, intervals)
        for subject in _subjects(registry, request, bars, context.config.forecast.model)
        for row, outcome in registry.live_history(subject.key, subject.number, alone=subject.alone)
        if not request.horizons or row.horizon in request.horizons
    )
    if not rows:
        raise DataError(
            f"No live forecast of {', '.join(bars.coins)} is recorded here. A server records one each bar, and so does"
            " cryptocast registry score, run once a bar."
        )
    history = ForecastHistory(forecasts=rows, counts=tuple(_counts(rows)))
    if out is not None:
        write_history(history, out)
    return history


@dataclass(frozen=True, slots=True)
class _Subject:
    """Whose forecasts are shown. number: 0 for the baseline. alone: without those of the versions before it. shipped:
    the number that the model that came with the package has here, if it has one."""

    key: VersionKey
    number: int
    alone: bool
    shipped: int | None

    def mark(self, number: int) -> int | str | None:
        """What tells a version from the others of its key."""
        return SHIPPED if number == self.shipped else number or None


def _subjects(registry: Registry, request: Request, bars: Resolved, usual: str) -> Iterator[_Subject]:
    """In each market of each coin."""
    source = None if bars.source == AUTO else bars.source
    for coin in bars.coins:
        keys = registry.ledger_keys(coin=coin, source=source, vs=bars.vs, granularity=bars.granularity)
        for market in dict.fromkeys(key.market for key in keys):
            reference, model = request.version, request.model or usual
            if reference is None and model == SHIPPED:
                reference = f"{coin}/lightgbm@{SHIPPED}"
            if reference is not None:
                version = registry.get(reference, market)
                key, number = version.key, version.number
            else:
                key = VersionKey(coin, market, _kind(registry, VersionKey(coin, market, model), keys))
                number = 0 if key.kind == BASELINE else _number(registry, key)
            if key in keys:
                shipped = registry.alias(key, SHIPPED)
                yield _Subject(key, number, reference is not None, None if shipped is None else shipped.number)


def _kind(registry: Registry, key: VersionKey, keys: Collection[VersionKey]) -> str:
    """The kind that is meant: of `auto` that of the version that answers, if anything of it is among the keys."""
    if key.kind != AUTO:
        return key.kind
    version = answering(registry, key.coin, key.market)
    return BASELINE if version is None or version.key not in keys else version.key.kind


def _number(registry: Registry, key: VersionKey) -> int:
    """That of the version in production, else of the newest that is there."""
    production = registry.alias(key, PRODUCTION)
    if production is not None:
        return production.number
    return max((version.number for version in registry.listing(**key.columns)), default=0)


def _past(subject: _Subject, row: LedgerRow, outcome: LedgerOutcome | None, levels: Iterable[int]) -> PastForecast:
    return PastForecast(
        **subject.key.columns,
        version=subject.mark(row.number),
        by_baseline=row.by_baseline,
        issued_at=row.issued_at,
        horizon=row.horizon,
        target_time=row.target_at,
        price=row.price,
        median=row.price * math.exp(row.quantiles[MEDIAN]),
        p_up=row.p_up,
        intervals=tuple(_interval(row, outcome, level) for level in levels),
        outcome=None if outcome is None else row.price * math.exp(outcome.log_return),
        crps=None if outcome is None else outcome.crps,
    )


def _interval(row: LedgerRow, outcome: LedgerOutcome | None, level: int) -> PastInterval:
    lower, upper = (float(end[0]) for end in interval_ends(np.array([row.quantiles]), level))
    return PastInterval(
        level=level,
        lower=row.price * math.exp(lower),
        upper=row.price * math.exp(upper),
        inside=None if outcome is None else lower <= outcome.log_return <= upper,
    )


def _counts(rows: Iterable[PastForecast]) -> Iterator[IntervalCount]:
    for (*_, horizon), group in groupby(sorted(rows, key=_series), key=_series):
        mature = [row for row in group if row.outcome is not None]
        for intervals in zip(*(row.intervals for row in mature), strict=True):
            inside = sum(interval.inside is True for interval in intervals)
            columns = {name: getattr(mature[0], name) for name in KeyRow.__struct_fields__}
            yield IntervalCount(
                **columns, horizon=horizon, level=intervals[0].level, outcomes=len(intervals), inside=inside
            )


def _series(row: PastForecast) -> tuple[str, str, str, int]:
    return row.coin, row.source, row.kind, row.horizon


def write_history(history: ForecastHistory, path: Path) -> None:
    """A row for each forecast, with lower_80, upper_80 and inside_80 for each level. Raises as `write_table`."""
    write_table(pl.DataFrame([_flat(row) for row in history.forecasts], infer_schema_length=None), path)


def _flat(row: PastForecast) -> dict[str, Any]:
    facts = {name: getattr(row, name) for name in row.__struct_fields__ if name != "intervals"}
    facts["version"] = None if row.version is None else str(row.version)  # a column has one type
    for one in row.intervals:
        facts |= {f"{name}_{one.level}": getattr(one, name) for name in ("lower", "upper", "inside")}
    return facts
