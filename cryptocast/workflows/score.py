"""Live scoring: the forecast of now into the ledger, outcomes beside what was forecast, drift, and what is degraded."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from cryptocast.errors import CryptocastError, ModelError
from cryptocast.models.base import Forecast
from cryptocast.models.calibrated import Calibrated
from cryptocast.models.kinds import forecaster_type
from cryptocast.registry import (
    CHALLENGER,
    PRODUCTION,
    CalibrationState,
    LedgerRow,
    MaturedRow,
    Outcome,
    Registry,
    Version,
    VersionKey,
)
from cryptocast.registry.live import LiveScore, matured_outcome
from cryptocast.workflows.card import live_of
from cryptocast.workflows.context import Context, Resolved, Selection
from cryptocast.workflows.feature_sets import feature_set_of
from cryptocast.workflows.forecast import baseline_forecast, model_forecast, pool_of_fit, served_matrix
from cryptocast.workflows.panel import Pool, feature_table, gather, matrix_of, moment

__all__ = [
    "Drift",
    "Online",
    "ScoreReport",
    "ScoreRow",
    "advance",
    "ledger_rows",
    "psi",
    "replay",
    "score",
    "write_ledger",
]

log = logging.getLogger(__name__)

DRIFT_BARS: Final = 60
DRIFTED: Final = 0.25  # the usual bound of a population stability index that calls for a look
BINS: Final = 10
LEAST_EXPECTED: Final = 1e-4


class Online(Protocol):
    """The online calibration of one version at one horizon, as pure steps: state, forecast and outcome -> state."""

    def start(self, version: Version, horizon: int) -> Mapping[str, object]:
        """The state before the first outcome."""
        ...

    def step(self, state: Mapping[str, object], row: LedgerRow, outcome: Outcome) -> Mapping[str, object]:
        """The state that has seen one more outcome."""
        ...


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """A feature whose recent values are not spread as in training: its population stability index."""

    feature: str
    psi: float


class ScoreRow(msgspec.Struct, frozen=True, kw_only=True):
    """One version live."""

    name: str
    coin: str
    kind: str
    source: str
    vs: str
    granularity: str
    number: int
    aliases: tuple[str, ...]
    scores: tuple[LiveScore, ...]
    drift: tuple[Drift, ...]  # above the bound, worst first
    degraded: tuple[str, ...]


class ScoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was written, what matured, and how the versions do."""

    schema: Literal["cryptocast.score/1"] = "cryptocast.score/1"
    written: int
    matured: int
    waiting: int
    rows: tuple[ScoreRow, ...]
    errors: tuple[str, ...]


def write_ledger(registry: Registry, rows: Sequence[LedgerRow]) -> int:
    """Keep forecasts: one row for each version, bar and horizon; what is there stands. Returns how many were given."""
    registry.write_ledger(rows)
    return len(rows)


def score(context: Context, selection: Selection, *, online: Online | None = None) -> ScoreReport:
    """Write the forecast of now of production and challenger, join the ledger with closed bars, and judge.

    A coin whose candles cannot be had, or a version that cannot answer, stands in `errors` beside the others.
    """
    asked = selection.resolved(context.config)
    registry = context.registry()
    errors: list[str] = []
    written = matured = 0
    rows: list[ScoreRow] = []
    context.progress.begin("scoring", len(asked.coins))
    for pool in gather(context, asked, pool=()):
        errors += [f"{error.coin}: {error.error}" for error in pool.left_out]
        outcomes = _outcomes(registry, pool, context.wall_clock())
        states = {} if online is None else _advanced(registry, online, outcomes)
        registry.write_outcomes(outcomes, states)
        matured += len(outcomes)
        for coin in pool.named:
            versions = _versions(registry, pool, coin)
            made, failed = ledger_rows(context, registry, asked, pool, coin, versions)
            written += write_ledger(registry, made)
            errors += failed
            rows += [_row(context, registry, asked, pool, version) for version in versions]
            context.progress.step(coin)
    context.progress.end()
    return ScoreReport(
        written=written, matured=matured, waiting=len(registry.unscored()), rows=tuple(rows), errors=tuple(errors)
    )


def ledger_rows(
    context: Context, registry: Registry, asked: Resolved, pool: Pool, coin: str, versions: Iterable[Version]
) -> tuple[list[LedgerRow], list[str]]:
    """The forecasts of the coin's last bar by each version and by the baseline, and what could not be made."""
    rows, errors = list[LedgerRow](), list[str]()
    horizons = context.config.horizons(asked.granularity)
    now = context.wall_clock()
    try:
        made = baseline_forecast(pool, coin, horizons)
        rows += _as_rows(_baseline_key(pool, coin), 0, made, pool.bar_us, now)
    except CryptocastError as error:
        return [], [f"{coin}: {error}"]
    for version in versions:
        own = tuple(sorted(set(horizons) & set(version.manifest.horizons)))
        try:
            made = _forecast(context, registry, asked, pool, version, own)
            rows += _as_rows(version.key, version.number, made, pool.bar_us, now)
        except CryptocastError as error:
            errors.append(f"{version.name}: {error}")
    return rows, errors


def _forecast(
    context: Context, registry: Registry, asked: Resolved, pool: Pool, version: Version, horizons: tuple[int, ...]
) -> Forecast:
    """What the version says at the coin's last bar. ModelError if it learned from later bars."""
    as_of = pool.bars[version.key.coin].candles.provenance.last
    learned = max(data.last for data in version.manifest.coins)
    if learned > as_of:
        raise ModelError(
            f"it learned from bars up to {learned:%Y-%m-%d %H:%M} and the last bar closed {as_of:%Y-%m-%d %H:%M}: what "
            "it says of that time is no live forecast"
        )
    model = Calibrated.load(registry.load_files(version.fit_id), forecaster_type(version.manifest.kind))
    whole, _ = pool_of_fit(context, asked, pool, version)
    matrix = served_matrix(model, whole, horizons, feature_set_of(version, context.config))
    baseline_at = [int(horizon) for horizon in version.calibration.state.get("baseline_at", {})]
    return model_forecast(model, matrix, version.key.coin, horizons, baseline_at=baseline_at)


def _baseline_key(pool: Pool, coin: str) -> VersionKey:
    return VersionKey(coin, pool.source, pool.vs, pool.granularity, "baseline")


def _as_rows(key: VersionKey, number: int, made: Forecast, bar_us: int, now: datetime) -> list[LedgerRow]:
    issued = int(made.issued_at[0])
    return [
        LedgerRow(
            coin=key.coin,
            source=key.source,
            vs=key.vs,
            granularity=key.granularity,
            kind=key.kind,
            number=number,
            issued_at=moment(issued),
            horizon=horizon,
            target_at=moment(issued + horizon * bar_us),
            price=float(made.price[0]),
            volatility=float(made.volatility[0, column]),
            p_up=float(made.p_up[0, column]),
            quantiles=tuple(made.values[0, column].tolist()),
            written_at=now,
        )
        for column, horizon in enumerate(made.horizons.tolist())
    ]


def _versions(registry: Registry, pool: Pool, coin: str) -> list[Version]:
    """Production and challenger of every kind, each once."""
    where = {"coin": coin, "source": pool.source, "vs": pool.vs}
    found = {
        (version.key, version.number): version
        for alias in (PRODUCTION, CHALLENGER)
        for version in registry.versions(**where, granularity=pool.granularity, alias=alias)
    }
    return list(found.values())


def _outcomes(registry: Registry, pool: Pool, now: datetime) -> list[Outcome]:
    """What came of forecasts whose target bar has closed. A bar that is missing leaves its forecasts unscored."""
    closes: dict[str, dict[datetime, float]] = {}
    found = []
    for row in registry.unscored():
        if (row.source, row.vs, row.granularity) != (
            pool.source,
            pool.vs,
            pool.granularity,
        ) or row.coin not in pool.bars:
            continue
        if row.coin not in closes:
            frame = pool.bars[row.coin].candles.frame
            closes[row.coin] = dict(zip(frame["close_time"].to_list(), frame["close"].to_list(), strict=True))
        close = closes[row.coin].get(row.target_at)
        if close is not None and close > 0:
            found.append(matured_outcome(row, math.log(close / row.price), now=now))
    return found


def _advanced(
    registry: Registry, online: Online, outcomes: Sequence[Outcome]
) -> dict[tuple[VersionKey, int], list[CalibrationState]]:
    """The online calibration of each version that has new outcomes."""
    states: dict[tuple[VersionKey, int], list[CalibrationState]] = {}
    for key, number in dict.fromkeys((o.key, o.number) for o in outcomes if o.number):
        version = registry.get(
            f"{key.coin}/{key.kind}:{number}", source=key.source, vs=key.vs, granularity=key.granularity
        )
        issued = {(row.issued_at, row.horizon): row for row in registry.ledger(key, number)}
        own = [(issued[o.issued_at, o.horizon], o) for o in outcomes if (o.key, o.number) == (key, number)]
        known = registry.calibration_states(key, number)
        if any(row.horizon in known and row.issued_at <= known[row.horizon].through for row, _ in own):
            # A bar that was missing has come: counted anew, so that the states stay those of the ledger in order.
            own, known = [*registry.matured(key, number), *own], {}
        states[key, number] = advance(online, version, own, known)
    return states


def advance(
    online: Online, version: Version, matured: Sequence[MaturedRow], known: Mapping[int, CalibrationState]
) -> list[CalibrationState]:
    """The states after these outcomes, in the order of issue; one that a state has seen is not entered again."""
    states = []
    for horizon in sorted({row.horizon for row, _ in matured}):
        before = known.get(horizon)
        state = online.start(version, horizon) if before is None else before.state
        through = None if before is None else before.through
        own = sorted((row.issued_at, row, o) for row, o in matured if row.horizon == horizon)
        for issued, row, outcome in own:
            if through is None or issued > through:
                state, through = online.step(state, row, outcome), issued
        if through is not None:
            states.append(
                CalibrationState(key_number=version.number, horizon=horizon, through=through, state=dict(state))
            )
    return states


def replay(online: Online, registry: Registry, version: Version) -> list[CalibrationState]:
    """The states counted anew from ledger and outcomes: what those that are kept must be."""
    return advance(online, version, registry.matured(version.key, version.number), {})


def _row(context: Context, registry: Registry, asked: Resolved, pool: Pool, version: Version) -> ScoreRow:
    live = live_of(registry, context.config.gate, version)
    key = version.key
    return ScoreRow(
        name=version.name,
        coin=key.coin,
        kind=key.kind,
        source=key.source,
        vs=key.vs,
        granularity=key.granularity,
        number=version.number,
        aliases=version.aliases,
        scores=live.scores,
        drift=_drift(context, asked, pool, version),
        degraded=live.degraded,
    )


def _drift(context: Context, asked: Resolved, pool: Pool, version: Version) -> tuple[Drift, ...]:
    """Features of the bars since training, at least DRIFT_BARS of them, against those of training."""
    data = version.manifest.data(version.key.coin)
    if data is None:
        return ()
    try:
        features = feature_set_of(version, context.config)
        whole, _ = pool_of_fit(context, asked, pool, version)
        table = feature_table(whole, features.features)
        matrix = matrix_of(table, whole, version.manifest.horizons, version.manifest.features)
    except CryptocastError as error:
        log.info("no drift of %s: %s", version.name, error)
        return ()
    own = matrix.rows(matrix.coin_names == version.key.coin)
    known = own.issued_at <= round(data.last.timestamp() * 1_000_000)
    if int((~known).sum()) < DRIFT_BARS:
        return ()
    found = [
        Drift(feature=name, psi=psi(own.features[known, i], own.features[~known, i]))
        for i, name in enumerate(own.feature_names)
    ]
    return tuple(sorted((row for row in found if row.psi > DRIFTED), key=lambda row: -row.psi))


def psi(expected: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> float:
    """The population stability index: sum of (q - p) log(q / p) over the tenths of the expected values.

    NaN is left out; 0 where there is nothing to compare or the expected values do not vary. Above 0.25 the two are
    usually said to differ. Source: Siddiqi, Credit Risk Scorecards (2006).
    """
    one, other = expected[np.isfinite(expected)], found[np.isfinite(found)]
    edges = np.unique(np.quantile(one, np.linspace(0, 1, BINS + 1)[1:-1])) if one.size else np.empty(0)
    if one.size == 0 or other.size == 0 or float(np.ptp(one)) == 0.0:
        return 0.0
    shares = [
        np.maximum(
            LEAST_EXPECTED, np.bincount(np.searchsorted(edges, x, side="right"), minlength=edges.size + 1) / x.size
        )
        for x in (one, other)
    ]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
