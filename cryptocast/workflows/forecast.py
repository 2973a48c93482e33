"""The forecast now: the version in production, or the step of the ladder below it, with the reason."""

import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Final, Literal

import msgspec
import numpy as np

from cryptocast.choices import Granularity
from cryptocast.config import Config
from cryptocast.data.age import stale_after
from cryptocast.data.schema import BAR_US
from cryptocast.errors import CryptocastError, ModelError, TooFewBarsError, UsageError
from cryptocast.evaluation.answers import PlainAnswer, Unanswered
from cryptocast.evaluation.records import Evidence, HoldOut, PooledAnswers, pooled_answers
from cryptocast.features.builder import outside_columns, required_history, select_features
from cryptocast.features.market import BITCOIN
from cryptocast.features.matrix import Matrix, build_matrix, volatility_rule
from cryptocast.features.variances import WINDOW
from cryptocast.kinds import ASKABLE, KINDS, SHIPPED, TRAINABLE
from cryptocast.models.base import Forecast
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.calibrated import CalibratedForecaster, too_short
from cryptocast.models.interpolation import at_horizons, neighbours
from cryptocast.models.recent_window import recent_bars
from cryptocast.models.tails import EVERY_INTERVAL, interval_ends
from cryptocast.net import Breaker, Breakers, BreakerSettings, CircuitOpen
from cryptocast.registry import PRODUCTION, LiveMark, Registry, Version, VersionKey
from cryptocast.scoring.quantiles import LEVELS, mean_of_quantiles
from cryptocast.workflows.clean_candles import clean_frame
from cryptocast.workflows.coin_pool import (
    CoinPool,
    Failures,
    choice_of,
    feature_table,
    gather,
    last_rows,
    moment,
    widen,
)
from cryptocast.workflows.context import Context, Resolved, Selection
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from cryptocast.workflows.feature_sets import FeatureSet, feature_set_of
from cryptocast.workflows.late_bars import both_ends, ended_notice, from_late_bars, late_notice
from cryptocast.workflows.market_data.resolve import CoinCandles
from cryptocast.workflows.online_calibration import LiveForecast, recalibrated, states_at
from cryptocast.workflows.own_models import check_code, loader_of, names_of_own
from cryptocast.workflows.pretrained import LIMITS, as_registered, files_of, shipped_version, version_of
from cryptocast.workflows.reports import AbSide, CoinForecast, ForecastDocument, HorizonForecast, Interval

log = logging.getLogger(__name__)

MAX_MODELS: Final = 256  # each one or two MB; a server that lives for years sees every retraining
MAX_TABLES: Final = 64  # each with the panel of its pool: 20 coins take 4 MB
BASELINE: Final = "baseline"
YEAR: Final = 365
# A version that cannot be loaded or asked is left alone for a few seconds, and never for longer: whatever ailed it may
# be over. Nothing else is counted: not what is asked of it, and not a coin that has too few bars.
ALONE: Final = BreakerSettings(open_s=5.0, open_cap_s=5.0, slow_call_s=30.0)
COUNTED: Final = (FallbackCode.ARTEFACT, FallbackCode.EXCEPTION)


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
class LadderStep:
    """The model that answers, and why it is not the one asked for."""

    kind: str
    version: Version | None = None
    fallback: Fallback | None = None
    ab: AbSide | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CoinAnswer:
    """A forecast of one row at each horizon of the request.

    reasons: by horizon, why the baseline answers there. outcomes: by horizon, how many live ones have moved the
    intervals. notices: what must be said about the pool.
    """

    forecast: Forecast
    reasons: Mapping[int, Fallback] = field(default_factory=dict)
    outcomes: Mapping[int, int] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """One coin of a request."""

    request: Request
    bars: Resolved
    registry: Registry
    pool: CoinPool
    coin: str

    @property
    def candles(self) -> CoinCandles:
        """Of the coin."""
        return self.pool.bars[self.coin]

    @property
    def late(self) -> int:
        """Bars that should have closed since the last one known, from which the horizons count."""
        return self.candles.age.late


@dataclass(slots=True)
class ForecastMaker:
    """Makes forecasts, and keeps the models that it asked last. Not for several threads at once.

    breakers: by version, of those that failed lately.
    """

    context: Context
    breakers: Breakers = field(init=False)
    _loaded: OrderedDict[str, CalibratedForecaster] = field(default_factory=OrderedDict)
    # The last rows of each fit's pool, by fit and the candles behind them.
    _tables: OrderedDict[Hashable, tuple[Matrix, tuple[str, ...]]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        clock = self.context.clock
        self.breakers = Breakers(lambda name: Breaker(f"model {name}", ALONE, clock=clock))

    def on(self, context: Context) -> "ForecastMaker":
        """One with the same models on other candles, for the same thread."""
        other = ForecastMaker(context, self._loaded, self._tables)
        other.breakers = self.breakers
        return other

    def forecast(self, request: Request) -> ForecastDocument:
        """One forecast for each coin; a coin that fails stands in `errors`. Raises if all of them fail."""
        config = self.context.config
        bars = request.selection.resolved(config)
        check_request(request, bars.granularity, config)
        request = replace(
            request,
            model=request.model or config.forecast.model,
            horizons=tuple(sorted(request.horizons)) or config.horizons(bars.granularity),
            intervals=request.intervals or config.forecast.intervals,
        )
        registry = self.context.registry(create=False)
        pools = gather(self.context, bars, pool=())
        answers: dict[str, CoinForecast] = {}
        failures = Failures(rows=[error for pool in pools for error in pool.left_out])
        for pool in pools:
            for coin in pool.named:
                with failures.of((coin,)):
                    answers[coin] = self._one(_Question(request, bars, registry, pool, coin))
        failures.raise_unless(answers)
        errors = {error.coin: error for error in failures.rows}
        return ForecastDocument(
            forecasts=tuple(answers[coin] for coin in bars.coins if coin in answers),
            errors=tuple(errors[coin] for coin in bars.coins if coin in errors),
        )

    def _one(self, question: _Question) -> CoinForecast:
        config, registry = self.context.config, question.registry
        choice, answer = self._answering(question)
        if choice.version is None or answer is None:
            pool, coin, horizons, late = question.pool, question.coin, question.request.horizons, question.late
            forecast = from_due_bar(pool, coin, horizons, late) if late else baseline_forecast(pool, coin, horizons)
            return describe(question.candles, choice, CoinAnswer(forecast), question.request, config)
        # The recipe that an archive names is its own claim.
        version, foreign = choice.version, choice.version.hold_out.foreign
        evidence = None if foreign else registry.evidence_for(version.key, version.manifest.evidence_recipe)
        live = _degraded(registry.live_mark(version.key, version.number))
        answer = replace(answer, notices=(*answer.notices, *live))
        return describe(question.candles, choice, answer, question.request, config, evidence)

    def _answering(self, question: _Question) -> tuple[LadderStep, CoinAnswer | None]:
        """The first step of the ladder that holds, with the reason why the one asked for does not."""
        request, reason = question.request, None
        if question.late >= max(request.horizons):
            return LadderStep(BASELINE, None, None if request.model == BASELINE else older_bars(question.late)), None
        key = VersionKey(question.coin, question.pool.market, "")
        last = question.candles.candles.provenance.last
        shipped = partial(shipped_version, self.context.config, key, last)  # read where it is needed
        for step in ladder(question.registry, key, request, shipped):
            reason = reason or step.fallback
            if step.version is None:
                continue
            outcome = self._ask(step.version, step.ab, question)
            if isinstance(outcome, CoinAnswer):
                return replace(step, fallback=reason), outcome
            reason = reason or outcome
        return LadderStep(BASELINE, None, reason), None

    def _ask(self, version: Version, ab: AbSide | None, question: _Question) -> CoinAnswer | Fallback:
        """What the version says, or why it says nothing. Raises the cause where this very version was named, and
        UsageError for a horizon that is beyond what it can be asked for."""
        request, pool = question.request, question.pool
        # Nobody chose the horizons of a model for every coin: beyond them the baseline answers, and says so.
        is_chosen = not version.manifest.is_pretrained
        beyond = self._beyond(version, request.horizons, pool.granularity) if is_chosen else []
        if beyond and (ab is None or ab.side == "production"):
            raise UsageError(
                f"{version.name} was fitted for {_listed(version.manifest.horizons)} bars ahead and answers what lies "
                f"between. {_listed(beyond)} is beyond the longest. Ask for at most {max(version.manifest.horizons)}."
            )
        if beyond:
            return Fallback(code=FallbackCode.UNFITTED_HORIZON, version=version.name)
        # A model for every coin must not know any later bars at all.
        tolerance_us = pool.bar_us * self.context.config.data.stale_after_bars if is_chosen else 0
        if (later := learned_later(version, question.candles, tolerance_us)) is not None:
            if request.version is not None:
                raise ModelError(f"{version.name} cannot answer: {later}.")
            return Fallback(code=FallbackCode.LATER_DATA, version=version.name, detail=later)
        if min(request.horizons) > max(version.manifest.horizons):
            return Fallback(code=FallbackCode.UNFITTED_HORIZON, version=version.name)
        if request.version is not None:
            live, notices = self.by_version(question.registry, version, question.bars, pool)
            return _answer(live, notices, version, question)
        outcome = self._ask_carefully(version, question)
        return outcome if isinstance(outcome, Fallback) else _answer(*outcome, version, question)

    def _beyond(self, version: Version, horizons: Sequence[int], granularity: Granularity) -> list[int]:
        """Horizons that nobody could expect of the version: beyond its longest, and not in the settings either."""
        longest, usual = max(version.manifest.horizons), self.context.config.horizons(granularity)
        return [horizon for horizon in horizons if horizon > longest and horizon not in usual]

    def _ask_carefully(self, version: Version, question: _Question) -> tuple[LiveForecast, tuple[str, ...]] | Fallback:
        """As `by_version`; what fails is a reason, and what fails again and again is left alone for a while."""
        try:
            permit = self.breakers(version.name).admit()
        except CircuitOpen:
            return Fallback(code=FallbackCode.BREAKER, version=version.name)
        stages: list[FallbackCode] = []
        detail: str | None = None
        with permit:
            try:
                live = self.by_version(question.registry, version, question.bars, question.pool, on_stage=stages.append)
            except TooFewBarsError as error:
                stages.append(FallbackCode.TOO_FEW_BARS)
                detail = str(error)
            except CryptocastError as error:
                detail = str(error)
            except Exception:
                log.exception("%s failed", version.name)
            else:
                took_long = self.context.clock() - permit.began >= ALONE.slow_call_s
                permit.failed() if took_long else permit.succeeded()
                self.breakers.drop_faultless(version.name)
                return live
            if stages[-1] in COUNTED:
                permit.failed()
        self.breakers.drop_faultless(version.name)
        return Fallback(code=stages[-1], version=version.name, detail=detail)

    def by_version(
        self,
        registry: Registry,
        version: Version,
        bars: Resolved,
        pool: CoinPool,
        *,
        on_stage: Callable[[FallbackCode], None] = lambda _: None,
    ) -> tuple[LiveForecast, tuple[str, ...]]:
        """What the version says at the last bar of its coin, at all horizons that it was fitted for, and what must be
        said about it.

        The pool is that of the fit, no more and no less. on_stage hears before each stage what its failure would be.
        Raises ModelError or RegistryError if it cannot answer, TooFewBarsError where the coin is too young.
        """
        on_stage(FallbackCode.FEATURES)
        features = feature_set_of(version, self.context.config)
        on_stage(FallbackCode.OWN_MODEL)
        check_code(version.manifest, self.context.config)
        on_stage(FallbackCode.ARTEFACT)
        model = self._load(registry, version)
        on_stage(FallbackCode.FEATURES)
        matrix, notices = self._rows(model, version, bars, pool, features)
        row = last_row(matrix, version.key.coin)
        on_stage(FallbackCode.EXCEPTION)
        baseline_at = [int(horizon) for horizon in version.calibration.state.get("baseline_at", {})]
        forecast = model.predict(row, baseline_at=baseline_at)
        short = too_short(row, model.least_blocks)[0]
        by_baseline = {*baseline_at, *matrix.horizons[short].tolist()}
        on_stage(FallbackCode.ARTEFACT)  # what it has learned since the fit belongs to it
        states = states_at(registry, version, moment(int(forecast.issued_at[0])))
        return recalibrated(forecast, states, by_baseline), notices

    def _rows(
        self, model: CalibratedForecaster, version: Version, bars: Resolved, pool: CoinPool, features: FeatureSet
    ) -> tuple[Matrix, tuple[str, ...]]:
        """The last rows of the coins of the fit, and what must be said about those that could not be had."""
        whole, lost = pool_of_fit(self.context, bars, pool, version)
        hashes = tuple((coin, one.candles.provenance.content_hash) for coin, one in whole.bars.items())
        names = version.manifest.features
        outside = whole.outside.series(outside_columns(select_features(names, features.features)))
        key = (version.fit_id, hashes, lost, tuple(one.content_hash for one in outside))
        if key not in self._tables:
            notice = f"{', '.join(lost)} of the fit's pool could not be had: features of the market lack it"
            table = served_matrix(model, whole, version.manifest.horizons, features, names=names)
            self._tables[key] = (table, (*([notice] if lost else []), *whole.outside.notices))
            while len(self._tables) > MAX_TABLES:
                self._tables.popitem(last=False)
        return self._tables[key]

    def _load(self, registry: Registry, version: Version) -> CalibratedForecaster:
        if version.fit_id not in self._loaded:
            files = files_of(registry, version, self.context.config)
            self._loaded[version.fit_id] = CalibratedForecaster.load(
                files, loader_of(version.manifest, self.context.config)
            )
            while len(self._loaded) > MAX_MODELS:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(version.fit_id)
        return self._loaded[version.fit_id]


def forecast(context: Context, request: Request) -> ForecastDocument:
    """The forecast now, for a command or a notebook."""
    return ForecastMaker(context).forecast(request)


def check_request(request: Request, granularity: Granularity, config: Config) -> None:
    """Raises UsageError or ModelError, naming the choices, for what no model could answer."""
    choices = ("auto", *ASKABLE, *names_of_own(config))
    # One that the settings name and whose file is gone falls back like a version that cannot answer.
    if request.model is not None and request.model not in (*choices, config.forecast.model):
        raise UsageError(f"There is no model {request.model!r}. Choose among {', '.join(choices)}.")
    bad = [level for level in request.intervals if level not in EVERY_INTERVAL]
    if bad:
        raise UsageError(f"There is no {bad[0]} % interval. On offer: {', '.join(map(str, EVERY_INTERVAL))}.")
    wrong = [horizon for horizon in request.horizons if horizon < 1]
    if wrong or len(set(request.horizons)) != len(request.horizons):
        raise UsageError(f"Horizons are counted in {granularity} bars, each once and at least 1, e.g. 1,7.")


def ladder(
    registry: Registry, key: VersionKey, request: Request, shipped: Callable[[], Version | None] = lambda: None
) -> Iterator[LadderStep]:
    """The versions to ask, the first that answers counts: the one referred to, or production of the kind asked for (the
    best one for `auto`), then the best other ones. Of an A/B test the side of whoever asks, then production. The
    model that came with the package is its kind's production where there is none, and for `auto` behind all others.

    A step without a version says why the one asked for is not there. None for `baseline`, which needs no version.
    """
    if request.version is not None:
        version = version_of(registry, request.version, key.market, shipped())
        if (version.key.coin, version.key.market) != (key.coin, key.market):
            raise UsageError(f"{version.name} is a version of {version.key}, not of {key.coin} on these bars.")
        yield LadderStep(version.key.kind, version)
        return
    if request.model == BASELINE:
        return
    if request.model == SHIPPED:
        yield shipped_step(as_registered(registry, shipped()))
        return
    where = f"{key.coin} is in production on {key.source} bars"
    is_empty = True
    for kind in _kinds(registry, key, request.model):
        version_of_kind = registry.alias(msgspec.structs.replace(key, kind=kind), PRODUCTION)
        if version_of_kind is None and kind == request.model:
            own = as_registered(registry, shipped())
            version_of_kind = own if own is not None and own.key.kind == kind else None
        if version_of_kind is not None:
            is_empty = False
            yield from _by_side(registry, version_of_kind, request.challenged)
        elif kind == request.model:
            detail = f"no {kind} of {where}; train one: cryptocast train {key.coin} --model {kind}"
            yield LadderStep(kind, None, Fallback(code=FallbackCode.NO_VERSION, detail=detail))
    is_free = is_empty and request.model in (None, "auto")
    yield from _behind_all(as_registered(registry, shipped()), f"no version of {where}" if is_free else None)


def _behind_all(shipped: Version | None, nothing: str | None) -> Iterator[LadderStep]:
    """The last steps. nothing: why there is no version at all, where that was to be the best one."""
    if shipped is not None:
        yield shipped_step(shipped)
    elif nothing is not None:
        yield LadderStep(BASELINE, None, Fallback(code=FallbackCode.NO_VERSION, detail=nothing))


def shipped_step(shipped: Version | None) -> LadderStep:
    """The model that came with the package, or why it does not answer."""
    if shipped is not None:
        return LadderStep(shipped.key.kind, shipped)
    return LadderStep(BASELINE, None, Fallback(code=FallbackCode.NO_VERSION, detail=LIMITS))


def _kinds(registry: Registry, key: VersionKey, model: str | None) -> Iterator[str]:
    """The kinds in the order in which they are asked: the one that is named, the best, the others."""
    first = () if model is None or model == "auto" else (model,)
    yield from first
    best = registry.best(key.coin, key.market)
    if best is not None and best.key.kind not in first:
        first = (*first, best.key.kind)
        yield best.key.kind
    own = sorted(
        {one.kind for one in registry.keys(coin=key.coin, **msgspec.structs.asdict(key.market))} - KINDS.keys()
    )
    yield from (kind for kind in (*TRAINABLE, *own) if kind not in first)


def learned_later(version: Version, candles: CoinCandles, tolerance_us: int) -> str | None:
    """That the version learned from bars after the last one of these, if it did: a forecast as of a past moment must
    not rest on what was learned after it."""
    last, as_of = max(data.last for data in version.manifest.coins), candles.candles.provenance.last
    if last <= as_of + timedelta(microseconds=tolerance_us):
        return None
    return f"it learned from bars up to {last:%Y-%m-%d %H:%M}, and this forecast is as of {as_of:%Y-%m-%d %H:%M}"


def older_bars(late: int) -> Fallback:
    """That the baseline answers for horizons that end before the bar that should be there."""
    return Fallback(
        code=FallbackCode.LATE_BARS, detail=f"the last bar known is {late} bars old, older than the horizon"
    )


def _listed(numbers: Sequence[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last


def _answer(live: LiveForecast, notices: tuple[str, ...], version: Version, question: _Question) -> CoinAnswer:
    """A live forecast at the horizons of the request: those between are interpolated, and the baseline answers where
    the version leaves it to it or was not fitted so far ahead."""
    horizons, late, fit_horizons = question.request.horizons, question.late, live.forecast.horizons.tolist()
    reasons: dict[int, Fallback] = {}
    for horizon in horizons:
        if late >= horizon:
            reasons[horizon] = older_bars(late)
        elif horizon > fit_horizons[-1]:
            reasons[horizon] = Fallback(code=FallbackCode.UNFITTED_HORIZON, version=version.name)
        elif short := [one for one in neighbours(fit_horizons, horizon) if one in live.by_baseline]:
            detail = version.calibration.state.get("baseline_at", {}).get(str(short[0]))
            reasons[horizon] = Fallback(code=FallbackCode.TOO_FEW_BARS, version=version.name, detail=detail)
    own = [horizon for horizon in horizons if horizon not in reasons]
    forecast = at_horizons(live.forecast, own) if own else None
    if reasons:
        plain = baseline_forecast(question.pool, question.coin, sorted(reasons))
        forecast = plain if forecast is None else beside(forecast, plain)
    if late:
        forecast = from_due_bar(question.pool, question.coin, horizons, late, forecast)
    if forecast is None:
        raise ValueError("no horizon was asked for")
    outcomes = {horizon: max(live.outcomes.get(one, 0) for one in neighbours(fit_horizons, horizon)) for horizon in own}
    return CoinAnswer(forecast, reasons, outcomes, notices)


def beside(first: Forecast, second: Forecast) -> Forecast:
    """Two forecasts of the same rows at different horizons, as one."""
    horizons = np.concatenate([first.horizons, second.horizons])
    order = np.argsort(horizons)
    return replace(
        first,
        horizons=horizons[order],
        values=np.concatenate([first.values, second.values], axis=1)[:, order],
        volatility=np.concatenate([first.volatility, second.volatility], axis=1)[:, order],
        p_up=np.concatenate([first.p_up, second.p_up], axis=1)[:, order],
    )


def _by_side(registry: Registry, production: Version, challenged: frozenset[str]) -> Iterator[LadderStep]:
    """Production, or before it the challenger of a running A/B test where that is the side of whoever asks."""
    key = production.key
    test = next((test.start for test in registry.ab_tests(key) if test.end is None), None)
    if test is not None and test.test in challenged:
        challenger = registry.version(key, test.challenger)
        yield LadderStep(key.kind, challenger, ab=AbSide(test=test.test, side="challenger"))
    yield LadderStep(key.kind, production, ab=None if test is None else AbSide(test=test.test, side="production"))


def _degraded(mark: LiveMark | None) -> tuple[str, ...]:
    """What must be said of a version that does not do live as it should."""
    if mark is None or not mark.degraded or mark.degraded_since is None:
        return ()
    why = "; ".join(map(str, mark.degraded))
    return (
        f"this version is degraded since {mark.degraded_since:%Y-%m-%d}: {why}. Train it anew, or see cryptocast "
        "registry rollback",
    )


def pool_of_fit(context: Context, bars: Resolved, pool: CoinPool, version: Version) -> tuple[CoinPool, tuple[str, ...]]:
    """The coins that a version was fitted on, no more and no less, each from the source that it had then, and those of
    them that could not be had. One that does not compare the coins of a moment looks at its own and at bitcoin alone,
    where the store has it."""
    if version.manifest.is_pretrained or version.manifest.learned_in_parts:
        data = version.manifest.data(BITCOIN)
        source = bars.source if data is None else choice_of(data.source or version.key.source)
        wide = widen(context, replace(bars, source=source, stored=True), pool, (BITCOIN,))
        near = {coin: wide.bars[coin] for coin in (version.key.coin, BITCOIN) if coin in wide.bars}
        return replace(wide, bars=near), ()
    sources = {data.coin: data.source or version.key.source for data in version.manifest.coins}
    wide, members = pool, list(sources)
    for source in dict.fromkeys(sources.values()):
        own = [coin for coin in members if sources[coin] == source]
        wide = widen(context, replace(bars, source=choice_of(source)), wide, own)
    whole = replace(wide, bars={coin: wide.bars[coin] for coin in members if coin in wide.bars})
    return whole, tuple(coin for coin in members if coin not in wide.bars)


def served_matrix(
    model: CalibratedForecaster,
    pool: CoinPool,
    horizons: Sequence[int],
    features: FeatureSet,
    *,
    rows: int = 1,
    names: Sequence[str] | None = None,
) -> Matrix:
    """The last `rows` of each coin, from the tail of the candles that features can remember; names: of them only these.

    They equal those of all its candles to 1e-8.
    """
    columns = features.features if names is None else select_features(names, features.features)
    rule = volatility_rule(pool.bar_us)
    # Enough for the features, the volatilities, and to tell whether a horizon has its independent blocks.
    history = required_history(features.features)
    tail = max(history, rule.window, WINDOW, (model.least_blocks + 2) * max(horizons)) + rows
    return last_rows(pool, horizons, columns, tail=tail, rows=rows)


def model_forecast(
    model: CalibratedForecaster, matrix: Matrix, coin: str, horizons: Sequence[int], *, baseline_at: Sequence[int]
) -> Forecast:
    """The model's forecast at the coin's last bar; at the horizons of `baseline_at` its baseline answers."""
    if tuple(horizons) != tuple(matrix.horizons.tolist()):
        raise ValueError(f"the rows are made for {matrix.horizons.tolist()} bars ahead, not for {list(horizons)}")
    return model.predict(last_row(matrix, coin), baseline_at=baseline_at)


def baseline_forecast(pool: CoinPool, coin: str, horizons: Sequence[int]) -> Forecast:
    """The baseline at the coin's last bar, from its own candles alone."""
    rule, longest = volatility_rule(pool.bar_us), max(horizons)
    # What the quantiles look at, and before it what the volatility of its first bar remembers to 1e-8.
    memory = max(rule.window + math.ceil(27 * rule.half_life), WINDOW + 1)
    tail = recent_bars(longest) + longest + memory
    table = feature_table(pool, (), [coin], tail=tail)
    matrix = build_matrix(table, [], horizons=sorted(horizons), bar_us=pool.bar_us, with_variance=False)
    if len(matrix) == 0:
        raise TooFewBarsError(_without_volatility(pool.bars[coin]))
    return BaselineLearner().fit(matrix).predict(last_row(matrix, coin))


def _without_volatility(bars: CoinCandles) -> str:
    coin, closes = bars.candles.provenance.key.coin, clean_frame(bars)["close"].drop_nulls()
    if len(closes) > 21 and closes.n_unique() == 1:
        return f"The price of {coin} has never moved in {len(closes)} bars: there is no volatility to forecast."
    return f"{coin} has {len(closes)} bars; it takes 21 to state a volatility. Fetch more: cryptocast fetch {coin}"


def last_row(matrix: Matrix, coin: str) -> Matrix:
    """The coin's latest row, which must be its last bar."""
    index = matrix.panel.coins.index(coin)
    own = np.flatnonzero(matrix.coin == index)
    closes = matrix.panel.close_time[matrix.panel.start[index] : matrix.panel.start[index + 1]]
    if len(own) == 0 or matrix.issued_at[own[-1]] != closes[-1]:
        raise TooFewBarsError(
            f"{coin} has too few bars to state a volatility. Fetch more of them: cryptocast fetch {coin}"
        )
    return matrix.rows(own[-1:])


def describe(
    bars: CoinCandles,
    choice: LadderStep,
    answer: CoinAnswer,
    request: Request,
    config: Config,
    evidence: Evidence | None = None,
) -> CoinForecast:
    """A forecast of one row in words and numbers.

    A horizon for which no reason is given and which is not among those of the fit is interpolated. evidence: a walk
    forward of the version's recipe; it says more than the version's one hold-out, and stands in its place where it has
    the horizon.
    """
    key, issued, age = bars.candles.provenance.key, int(answer.forecast.issued_at[0]), bars.age
    market = bars.candles.provenance.market_in_other_currency
    other_currency = f"prices of {market} are taken for {key.vs}." if market else None
    few = few_bars(bars, choice.version)
    about_bars = (few, ended_notice(key, age, request.horizons), bars.notice, other_currency, late_notice(key, age))
    return CoinForecast(
        coin=key.coin,
        **msgspec.structs.asdict(key.market),
        model_requested=request.model or "auto",
        model_used=choice.kind,
        version=choice.version.mark if choice.version else None,
        fallback_reason=choice.fallback,
        as_of=moment(issued),
        stale_after=stale_after(moment(issued), key.granularity, config.data.stale_after_bars),
        stale=bars.stale,
        price=float(answer.forecast.price[0]),
        notices=(*filter(None, about_bars), *answer.notices),
        horizons=tuple(_horizons(choice.version, answer, request, evidence, age.late, BAR_US[key.granularity])),
        ab=choice.ab,
    )


def few_bars(bars: CoinCandles, version: Version | None) -> str | None:
    """What a forecast from less than a year of bars by a model for every coin cannot know; None: it has more."""
    coin, count = bars.candles.provenance.key.coin, clean_frame(bars)["close"].count()
    if version is None or not version.manifest.is_pretrained or count >= YEAR:
        return None
    return (
        f"{coin} has only {count} daily bars: the next days are forecast about as well as for any coin, but how far "
        "its price may move in a month is known from other coins alone."
    )


def _horizons(
    version: Version | None, answer: CoinAnswer, request: Request, evidence: Evidence | None, late: int, bar_us: int
) -> Iterator[HorizonForecast]:
    forecast, issued = answer.forecast, int(answer.forecast.issued_at[0])
    prices = forecast.prices()[0]
    means = mean_of_quantiles(prices, forecast.levels)
    proven = evidence_by_horizon(version.hold_out if version else None, evidence)
    for horizon in request.horizons:
        column = int(np.flatnonzero(forecast.horizons == horizon)[0])
        reason = answer.reasons.get(horizon)
        between = None if reason is not None else _interpolated(version, horizon)
        p_up = float(forecast.p_up[0, column])
        own = _evidence_at(proven, horizon, reason, between)
        yield HorizonForecast(
            horizon=horizon,
            target_time=moment(issued + (late + horizon) * bar_us),
            median=float(prices[column, len(LEVELS) // 2]),
            mean=float(means[column]),
            intervals=tuple(_interval(forecast, column, level) for level in request.intervals),
            volatility=float(forecast.volatility[0, column]),
            p_up=p_up,
            confidence=max(p_up, 1.0 - p_up),
            pooled=own.pooled,
            answers=own.answers,
            unanswered=own.unanswered,
            evidence=own.rests_on,
            fallback_reason=reason,
            interpolated=between,
            live_outcomes=answer.outcomes.get(horizon, 0),
        )


def from_due_bar(
    pool: CoinPool, coin: str, horizons: Sequence[int], late: int, forecast: Forecast | None = None
) -> Forecast:
    """A forecast, the baseline's by default, whose horizons count from the bar that should be there."""
    return from_late_bars(forecast, baseline_forecast(pool, coin, both_ends(horizons, late)), horizons, late)


def _interval(forecast: Forecast, column: int, level: int) -> Interval:
    ends = np.concatenate(interval_ends(forecast.values[:, column], level))
    lower, upper = (forecast.price * np.exp(ends)).tolist()
    return Interval(level=level, lower=lower, upper=upper)


def _interpolated(version: Version | None, horizon: int) -> tuple[int, ...] | None:
    """The fitted horizons that it lies between, None where it is one of them."""
    if version is None or horizon in version.manifest.horizons:
        return None
    return neighbours(version.manifest.horizons, horizon)


@dataclass(frozen=True, slots=True)
class HorizonEvidence:
    """What is known of a model at a horizon, or why nothing is."""

    answers: tuple[PlainAnswer, ...] = ()
    pooled: PooledAnswers | None = None
    unanswered: Unanswered | None = None
    rests_on: Literal["hold-out", "walk-forward"] | None = None


def _evidence_at(
    evidence: Mapping[int, HorizonEvidence], horizon: int, reason: Fallback | None, between: tuple[int, ...] | None
) -> HorizonEvidence:
    if reason is not None:
        return HorizonEvidence(unanswered=Unanswered.BASELINE_ANSWERS)
    if between is not None:
        return HorizonEvidence(unanswered=Unanswered.INTERPOLATED)
    return evidence.get(horizon, HorizonEvidence(unanswered=Unanswered.NOT_BACKTESTED))


def evidence_by_horizon(hold_out: HoldOut | None, walk: Evidence | None) -> Mapping[int, HorizonEvidence]:
    """By horizon, of the walk forward where it has the horizon."""
    if hold_out is None:
        return {}
    own = {one.horizon: one for one in hold_out.pooled}
    known = {
        score.horizon: HorizonEvidence(score.answers, own.get(score.horizon), score.unanswered, "hold-out")
        for score in hold_out.horizons
    }
    return {**known, **({} if walk is None else _walked(walk))}


def _walked(walk: Evidence) -> dict[int, HorizonEvidence]:
    """Where only the pool was scored, its answers are nobody's own."""
    if walk.coin is None and len(walk.coins) > 1:
        together = {one.horizon: one for one in pooled_answers(walk.scores, len(walk.coins))}
        return {at: HorizonEvidence((), one, None, "walk-forward") for at, one in together.items()}
    own = {one.horizon: one for one in walk.pooled}
    return {
        score.horizon: HorizonEvidence(score.answers, own.get(score.horizon), score.unanswered, "walk-forward")
        for score in walk.scores
    }
