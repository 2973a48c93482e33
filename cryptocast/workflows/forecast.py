"""The forecast now: the version in production, or the step of the ladder below it, with the reason."""

import math
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np

from cryptocast.config import Granularity
from cryptocast.data.schema import BAR_US
from cryptocast.errors import CryptocastError, ModelError, RegistryError, UsageError
from cryptocast.evaluation.records import Evidence, HoldOut
from cryptocast.features.catalogue import required_history, select_features
from cryptocast.features.matrix import FloatArray, Matrix, build_matrix, volatility_rule
from cryptocast.models.base import Forecast
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.calibrated import Calibrated, too_short
from cryptocast.models.kinds import ALL_KINDS, TRAINABLE, forecaster_type
from cryptocast.models.recency import recent_bars
from cryptocast.registry import PRODUCTION, LiveMark, Registry, Version, VersionKey
from cryptocast.scoring.quantiles import LEVELS, interval_columns, intervals_on_offer, mean_of_quantiles
from cryptocast.workflows.candles import CoinBars, stale_after
from cryptocast.workflows.context import Context, Resolved, Selection
from cryptocast.workflows.documents import AbSide, CoinError, CoinForecast, ForecastDocument, HorizonForecast, Interval
from cryptocast.workflows.feature_sets import FeatureSet, feature_set_of
from cryptocast.workflows.late import bars_late, both_ends, from_late_bars
from cryptocast.workflows.panel import Pool, feature_table, gather, last_rows, moment, widen
from cryptocast.workflows.recalibration import Served, recalibrated, states_at

__all__ = ["Forecaster", "Request", "describe", "forecast"]

MAX_MODELS: Final = 256  # each one or two MB; a server that lives for years sees every retraining
MAX_TABLES: Final = 64  # each with the panel of its pool: 20 coins take 4 MB
OLDER: Final = "the last bar known is {late} bars old, older than the horizon"
NOT_BACKTESTED: Final = "not backtested"


@dataclass(frozen=True, slots=True)
class Request:
    """What a forecast is asked for; empty takes the setting."""

    selection: Selection = Selection()
    model: str | None = None
    horizons: tuple[int, ...] = ()
    intervals: tuple[int, ...] = ()
    version: str | None = None  # a reference such as bitcoin/lightgbm:3
    challenged: frozenset[str] = frozenset()  # A/B tests, by id, in which the challenger answers whoever asks


@dataclass(frozen=True, slots=True)
class Chosen:
    """The model that answers, and why it is not the one asked for."""

    kind: str
    version: Version | None
    fallback_reason: str | None
    ab: AbSide | None = None


@dataclass(slots=True)
class Forecaster:
    """Makes forecasts, and keeps the models that it asked last. Not for several threads at once."""

    context: Context
    _loaded: OrderedDict[str, Calibrated] = field(default_factory=OrderedDict)
    # The last rows of each fit's pool, by fit, horizons and the candles behind them.
    _tables: OrderedDict[Hashable, tuple[Matrix, tuple[str, ...]]] = field(default_factory=OrderedDict)

    def on(self, context: Context) -> "Forecaster":
        """One with the same models on other candles, for the same thread."""
        return Forecaster(context, self._loaded, self._tables)

    def forecast(self, request: Request) -> ForecastDocument:
        """One forecast for each coin; a coin that fails stands in `errors`. Raises if all of them fail."""
        config = self.context.config
        asked = request.selection.resolved(config)
        check_request(request, asked.granularity)
        request = Request(
            selection=request.selection,
            model=request.model or config.forecast.model,
            horizons=tuple(sorted(request.horizons)) or config.horizons(asked.granularity),
            intervals=request.intervals or config.forecast.intervals,
            version=request.version,
            challenged=request.challenged,
        )
        registry = self.context.registry(create=False)
        pools = gather(self.context, asked, pool=())
        answers: dict[str, CoinForecast] = {}
        errors = {error.coin: error for pool in pools for error in pool.left_out}
        failure: CryptocastError | None = None
        for pool in pools:
            for coin in pool.named:
                try:
                    answers[coin] = self._one(request, asked, registry, pool, coin)
                except CryptocastError as error:
                    failure = failure or error
                    errors[coin] = CoinError(coin=coin, error=str(error))
        if failure is not None and not answers:
            raise failure
        return ForecastDocument(
            forecasts=tuple(answers[coin] for coin in asked.coins if coin in answers),
            errors=tuple(errors[coin] for coin in asked.coins if coin in errors),
        )

    def _one(self, request: Request, asked: Resolved, registry: Registry, pool: Pool, coin: str) -> CoinForecast:
        bars, stale_bars = pool.bars[coin], self.context.config.data.stale_after_bars
        late = bars_late(bars, bar_us=pool.bar_us, stale_bars=stale_bars)
        chosen = choose(registry, VersionKey(coin, pool.source, asked.vs, asked.granularity, ""), request)
        if chosen.version is not None and late >= max(request.horizons):
            chosen = Chosen("baseline", None, f"{OLDER.format(late=late)}, so {chosen.kind} is not asked")
        if chosen.version is not None:
            try:
                _refuse_later_data(chosen.version, bars, pool.bar_us * stale_bars)
                served, notices = self.by_version(registry, chosen.version, asked, pool, request.horizons)
                found = registry.evidence_for(chosen.version.key, chosen.version.manifest.recipe)
                made = served.forecast if not late else _late(pool, coin, request.horizons, late, served.forecast)
                told = describe(
                    *(bars, chosen, made, request, pool.granularity, stale_bars),
                    evidence=found,
                    outcomes=served.outcomes,
                    late=late,
                )
                live = _degraded(registry.live_mark(chosen.version.key, chosen.version.number))
                return msgspec.structs.replace(told, notices=(*told.notices, *notices, *live))
            except (ModelError, RegistryError) as error:
                if request.version is not None:
                    raise
                if chosen.ab is not None and chosen.ab.side == "challenger":
                    other = self._one(replace(request, challenged=frozenset()), asked, registry, pool, coin)
                    reason = f"{chosen.version.name} cannot answer: {error}; production answers"
                    return msgspec.structs.replace(other, fallback_reason=other.fallback_reason or reason)
                chosen = Chosen("baseline", None, f"{chosen.version.name} cannot answer: {error}")
        horizons = request.horizons
        made = _late(pool, coin, horizons, late) if late else baseline_forecast(pool, coin, horizons)
        return describe(bars, chosen, made, request, pool.granularity, stale_bars, late=late)

    def by_version(
        self, registry: Registry, version: Version, asked: Resolved, pool: Pool, horizons: Sequence[int]
    ) -> tuple[Served, tuple[str, ...]]:
        """What the version says at the last bar of its coin, and what must be said about it.

        The pool is that of the fit, no more and no less. Raises ModelError or RegistryError if it cannot answer.
        """
        features = feature_set_of(version, self.context.config)
        model = self._load(registry, version)
        whole, lost = pool_of_fit(self.context, asked, pool, version)
        candles = tuple((coin, bars.candles.provenance.content_hash) for coin, bars in whole.bars.items())
        known = (version.fit_id, tuple(horizons), candles, lost)
        if known not in self._tables:
            notice = f"{', '.join(lost)} of the fit's pool could not be had: features of the market lack it"
            table = served_matrix(model, whole, horizons, features, names=version.manifest.features)
            self._tables[known] = (table, (notice,) if lost else ())
            while len(self._tables) > MAX_TABLES:
                self._tables.popitem(last=False)
        matrix, notices = self._tables[known]
        baseline_at = [int(horizon) for horizon in version.calibration.state.get("baseline_at", {})]
        fitted = model_forecast(model, matrix, version.key.coin, horizons, baseline_at=baseline_at)
        short = too_short(last_row(matrix, version.key.coin), model.least_blocks)[0]
        by_baseline = {*baseline_at, *matrix.horizons[short].tolist()}
        states = states_at(registry, version, moment(int(fitted.issued_at[0])))
        return recalibrated(fitted, states, by_baseline), notices

    def _load(self, registry: Registry, version: Version) -> Calibrated:
        if version.fit_id not in self._loaded:
            files = registry.load_files(version.fit_id)
            self._loaded[version.fit_id] = Calibrated.load(files, forecaster_type(version.manifest.kind))
            while len(self._loaded) > MAX_MODELS:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(version.fit_id)
        return self._loaded[version.fit_id]


def forecast(context: Context, request: Request) -> ForecastDocument:
    """The forecast now, for a command or a notebook."""
    return Forecaster(context).forecast(request)


def check_request(request: Request, granularity: Granularity) -> None:
    """Raises UsageError or ModelError, naming the choices, for what no model could answer."""
    if request.model is not None and request.model not in ("auto", *ALL_KINDS):
        raise UsageError(f"There is no model {request.model!r}. Choose among auto, {', '.join(ALL_KINDS)}.")
    if request.model in ALL_KINDS and request.model not in ("baseline", *TRAINABLE):
        forecaster_type(request.model)
    offered = intervals_on_offer(LEVELS)
    bad = [level for level in request.intervals if level not in offered]
    if bad:
        raise UsageError(f"There is no {bad[0]} % interval. On offer: {', '.join(map(str, offered))}.")
    wrong = [horizon for horizon in request.horizons if horizon < 1]
    if wrong or len(set(request.horizons)) != len(request.horizons):
        raise UsageError(f"Horizons are counted in {granularity} bars, each once and at least 1, e.g. 1,7.")


def choose(registry: Registry, key: VersionKey, request: Request) -> Chosen:
    """The version that answers: the one referred to, production of the kind asked for, or the best in production."""
    if request.version is not None:
        version = registry.get(request.version, source=key.source, vs=key.vs, granularity=key.granularity)
        if version.key.coin != key.coin:
            raise UsageError(f"{request.version} is a version of {version.key.coin}, not of {key.coin}.")
        return Chosen(version.key.kind, version, None)
    if request.model == "baseline":
        return Chosen("baseline", None, None)
    if request.model in (None, "auto"):
        best = registry.best(key.coin, source=key.source, vs=key.vs, granularity=key.granularity)
        if best is not None:
            return _by_side(registry, best, request.challenged)
        return Chosen("baseline", None, f"no version of {key.coin} is in production on {key.source} bars")
    wanted = VersionKey(key.coin, key.source, key.vs, key.granularity, request.model)
    version_or_none = registry.alias(wanted, PRODUCTION)
    if version_or_none is not None:
        return _by_side(registry, version_or_none, request.challenged)
    return Chosen(
        "baseline",
        None,
        f"no {request.model} of {key.coin} is in production on {key.source} bars; "
        f"train one: cryptocast train {key.coin}",
    )


def _by_side(registry: Registry, production: Version, challenged: frozenset[str]) -> Chosen:
    """Production, or the challenger of a running A/B test where that is the side of whoever asks."""
    key = production.key
    test = next((test.start for test in registry.ab_tests(key) if test.end is None), None)
    if test is None:
        return Chosen(key.kind, production, None)
    if test.test not in challenged:
        return Chosen(key.kind, production, None, AbSide(test=test.test, side="production"))
    reference = f"{key.coin}/{key.kind}:{test.challenger}"
    challenger = registry.get(reference, source=key.source, vs=key.vs, granularity=key.granularity)
    return Chosen(key.kind, challenger, None, AbSide(test=test.test, side="challenger"))


def _degraded(mark: LiveMark | None) -> tuple[str, ...]:
    """What must be said of a version that does not do live as it should."""
    if mark is None or not mark.degraded or mark.degraded_since is None:
        return ()
    return (
        f"this version is degraded since {mark.degraded_since:%Y-%m-%d}: {'; '.join(mark.degraded)}. Train it anew, or "
        "see cryptocast registry rollback",
    )


def pool_of_fit(context: Context, asked: Resolved, pool: Pool, version: Version) -> tuple[Pool, tuple[str, ...]]:
    """The coins that a version was fitted on, no more and no less, and those of them that could not be had."""
    members = [data.coin for data in version.manifest.coins]
    wide = widen(context, asked, pool, members)
    whole = replace(wide, bars={coin: wide.bars[coin] for coin in members if coin in wide.bars})
    return whole, tuple(coin for coin in members if coin not in wide.bars)


def served_matrix(
    model: Calibrated,
    pool: Pool,
    horizons: Sequence[int],
    features: FeatureSet,
    *,
    rows: int = 1,
    names: Sequence[str] | None = None,
) -> Matrix:
    """The last `rows` of each coin, from the tail of the candles that features can remember; names: of them only these.

    They equal those of all its candles to 1e-8.
    """
    wanted = features.features if names is None else select_features(names, features.features)
    rule = volatility_rule(pool.bar_us)
    # Enough for the features, the long volatility, and to tell whether a horizon has its independent blocks.
    history = required_history(features.features)
    tail = max(history, rule.window, (model.least_blocks + 2) * max(horizons)) + rows
    return last_rows(pool, horizons, wanted, tail=tail, rows=rows)


def model_forecast(
    model: Calibrated, matrix: Matrix, coin: str, horizons: Sequence[int], *, baseline_at: Sequence[int]
) -> Forecast:
    """The model's forecast at the coin's last bar; at the horizons of `baseline_at` its baseline answers."""
    if tuple(horizons) != tuple(matrix.horizons.tolist()):
        raise ValueError(f"the rows are made for {matrix.horizons.tolist()} bars ahead, not for {list(horizons)}")
    return model.predict(last_row(matrix, coin), baseline_at=baseline_at)


def _refuse_later_data(version: Version, bars: CoinBars, tolerance_us: int) -> None:
    """A forecast as of a past moment must not rest on what was learned after it."""
    as_of = bars.candles.provenance.last
    learned = max(data.last for data in version.manifest.coins)
    if learned > as_of + timedelta(microseconds=tolerance_us):
        raise ModelError(
            f"it learned from bars up to {learned:%Y-%m-%d %H:%M}, and the forecast is as of {as_of:%Y-%m-%d %H:%M}"
        )


def baseline_forecast(pool: Pool, coin: str, horizons: Sequence[int]) -> Forecast:
    """The baseline at the coin's last bar, from its own candles alone."""
    rule, longest = volatility_rule(pool.bar_us), max(horizons)
    # What the quantiles look at, and before it what the volatility of its first bar remembers to 1e-8.
    tail = recent_bars(longest) + longest + rule.window + math.ceil(27 * rule.half_life)
    table = feature_table(pool, (), [coin], tail=tail)
    matrix = build_matrix(table, [], horizons=sorted(horizons), bar_us=pool.bar_us, with_panel=False)
    if len(matrix) == 0:
        height = pool.bars[coin].candles.frame.height
        raise ModelError(f"{coin} has {height} bars; the baseline needs 21 to state a volatility. Fetch more of them.")
    return BaselineLearner().fit(matrix).predict(last_row(matrix, coin))


def last_row(matrix: Matrix, coin: str) -> Matrix:
    """The coin's latest row, which must be its last bar."""
    index = matrix.panel.coins.index(coin)
    own = np.flatnonzero(matrix.coin == index)
    closes = matrix.panel.close_time[matrix.panel.start[index] : matrix.panel.start[index + 1]]
    if len(own) == 0 or matrix.issued_at[own[-1]] != closes[-1]:
        raise ModelError(f"{coin} has too few bars to state a volatility. Fetch more of them: cryptocast fetch {coin}")
    return matrix.rows(own[-1:])


def describe(
    bars: CoinBars,
    chosen: Chosen,
    made: Forecast,
    request: Request,
    granularity: Granularity,
    stale_bars: int,
    *,
    evidence: Evidence | None = None,
    outcomes: Mapping[int, int] = MappingProxyType({}),
    late: int = 0,
) -> CoinForecast:
    """A forecast of one row in words and numbers.

    stale_bars: bars late that make it stale. evidence: a walk forward of the version's recipe; it says more than the
    version's one hold-out, and stands in its place where it has the horizon. outcomes: how many live ones have moved
    the intervals, by horizon. late: bars that should have closed since, from which the horizons count.
    """
    as_of, bar = int(made.issued_at[0]), BAR_US[granularity]
    prices = made.prices()[0]
    means = mean_of_quantiles(prices, made.levels)
    scores = _verdicts(chosen.version.hold_out if chosen.version else None, evidence)
    horizons = []
    for asked in request.horizons:
        column = int(np.flatnonzero(made.horizons == asked)[0])
        reason = _horizon_fallback(chosen, asked, late)
        p_up = float(made.p_up[0, column])
        horizons.append(
            HorizonForecast(
                horizon=asked,
                target_time=moment(as_of + (late + asked) * bar),
                median=float(prices[column, len(LEVELS) // 2]),
                mean=float(means[column]),
                intervals=tuple(_interval(prices[column], made, level) for level in request.intervals),
                volatility=float(made.volatility[0, column]),
                p_up=p_up,
                confidence=max(p_up, 1.0 - p_up),
                verdict=scores.get(asked, NOT_BACKTESTED) if reason is None else "the baseline answers",
                fallback=reason,
                live_outcomes=outcomes.get(asked, 0),
            )
        )
    key = bars.candles.provenance.key
    return CoinForecast(
        coin=key.coin,
        vs=key.vs,
        granularity=granularity,
        source=key.source,
        model_requested=request.model or "auto",
        model_used=chosen.kind,
        version=chosen.version.number if chosen.version else None,
        fallback_reason=chosen.fallback_reason,
        as_of=moment(as_of),
        stale_after=stale_after(moment(as_of), granularity, stale_bars),
        stale=bars.stale,
        price=float(made.price[0]),
        notices=(*((bars.notice,) if bars.notice else ()), *((_late_notice(as_of, late, bar),) if late else ())),
        horizons=tuple(horizons),
        ab=chosen.ab,
    )


def _late(pool: Pool, coin: str, horizons: Sequence[int], late: int, made: Forecast | None = None) -> Forecast:
    return from_late_bars(made, baseline_forecast(pool, coin, both_ends(horizons, late)), horizons, late)


def _late_notice(as_of: int, late: int, bar_us: int) -> str:
    since = f"{moment(as_of + late * bar_us):%Y-%m-%d %H:%M}"
    return (
        f"{late} bars are missing since the last one known: horizons count from {since} UTC, and intervals are as much"
        " wider as those bars make them."
    )


def _interval(prices: FloatArray, made: Forecast, level: int) -> Interval:
    lower, upper = interval_columns(made.levels, level)
    return Interval(level=level, lower=float(prices[lower]), upper=float(prices[upper]))


def _horizon_fallback(chosen: Chosen, horizon: int, late: int) -> str | None:
    if chosen.version is None:
        return None
    if late >= horizon:
        return f"{OLDER.format(late=late)}: the baseline answers"
    reasons: Mapping[str, str] = chosen.version.calibration.state.get("baseline_at", {})
    return reasons.get(str(horizon))


def _verdicts(hold_out: HoldOut | None, evidence: Evidence | None) -> Mapping[int, str]:
    if hold_out is None:
        return {}
    told = {score.horizon: f"hold-out: {score.verdict}" for score in hold_out.horizons}
    walked = evidence.scores if evidence is not None else ()
    return {**told, **{score.horizon: f"walk-forward: {score.verdict}" for score in walked}}
