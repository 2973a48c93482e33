"""The forecaster of a process that lives long: what it keeps, and what it lets go."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import polars as pl
import pytest

from cryptocast.choices import Granularity
from cryptocast.config import Config, ForecastConfig, SourceChoice, StoreConfig
from cryptocast.data.schema import BAR_US, SeriesKey
from cryptocast.data.sources.sample import load_sample
from cryptocast.data.sources.table import SOURCES
from cryptocast.data.store import CandleStore
from cryptocast.errors import DataError, TooFewBarsError, UsageError
from cryptocast.features.grid import on_grid
from cryptocast.features.matrix import build_matrix
from cryptocast.market import Market
from cryptocast.models.baseline import BaselineLearner
from cryptocast.registry import Registry, Version, VersionKey
from cryptocast.workflows import forecast
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.fallbacks import Fallback, FallbackCode, sentence
from cryptocast.workflows.forecast import ForecastMaker, Request, baseline_forecast, ladder
from cryptocast.workflows.lifecycle.ab import ab_start
from cryptocast.workflows.lifecycle.archives import import_archive
from cryptocast.workflows.lifecycle.live_scoring import record
from cryptocast.workflows.reports import CoinForecast, Unanswered
from cryptocast.workflows.training.train import Order, train
from tests.conftest import simulated_candles
from tests.registry.golden_rows import GOLDEN
from tests.registry.registry_fits import NOW
from tests.serving.serving_app import Clock
from tests.serving.trained_store import AFTER, BARS, CANDLES, CLOSED, HORIZONS, Trained, bring, promote, trained
from tests.workflows.backtesting.small_runs import context
from tests.workflows.pools import pool_of_frames


class Counting:
    """A registry in which every fit has the same files; asked: the fits that were read, in order."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files, self.asked = files, list[str]()

    def load_files(self, fit_id: str) -> Mapping[str, bytes]:
        self.asked.append(fit_id)
        return self.files


class Fit:
    """What is asked of a version when its model is loaded."""

    def __init__(self, fit_id: str) -> None:
        self.fit_id, self.manifest = fit_id, self
        self.kind, self.number, self.is_pretrained = "lightgbm", 1, False


def test_the_models_asked_last_are_kept_and_the_others_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "MAX_MODELS", 2)
    registry = Registry.open(tmp_path)
    report = import_archive(registry, GOLDEN / "lightgbm.zip", dry_run=False, who="ada", now=NOW)
    counting, used = Counting(registry.load_files(report.fit_id)), context(tmp_path)
    forecaster = ForecastMaker(used)
    for fit_id in ("a", "b", "a", "c", "a", "b"):
        forecaster.on(used)._load(cast("Registry", counting), cast("Version", Fit(fit_id)))
    assert counting.asked == ["a", "b", "c", "b"]  # c drove out b, not a, which had been asked again
    assert len(forecaster._loaded) == 2


@dataclass
class Seconds:
    """A monotonic clock that the test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("ladder"))


def asked(store: Trained, *horizons: int, coin: str = "bitcoin", model: str = "lightgbm", **more: object) -> Request:
    return Request(Selection((coin,), stored=True), model, horizons, (80,), **more)  # type: ignore[arg-type]


def answer(forecaster: ForecastMaker, request: Request) -> CoinForecast:
    (made,) = forecaster.forecast(request).forecasts
    return made


def test_horizons_between_the_fitted_ones_are_interpolated_and_marked(store: Trained) -> None:
    forecaster = ForecastMaker(store.context)
    plain, mixed = answer(forecaster, asked(store, 1, 7)), answer(forecaster, asked(store, 1, 3, 7))
    first, between, last = mixed.horizons
    for found, alone in zip((first, last), plain.horizons, strict=True):  # exp() differs in the last bit by length
        assert (found.horizon, found.answers, found.p_up) == (alone.horizon, alone.answers, alone.p_up)
        assert found.mean == pytest.approx(alone.mean, rel=1e-12)
        assert found.intervals[0].lower == pytest.approx(alone.intervals[0].lower, rel=1e-12)
    assert (mixed.model_used, mixed.fallback_reason) == ("lightgbm", None)
    assert (between.interpolated, between.fallback_reason) == ((1, 7), None)
    assert (between.unanswered, between.answers, between.evidence) == (Unanswered.INTERPOLATED, (), None)
    assert first.volatility < between.volatility < last.volatility
    assert between.target_time == plain.as_of + timedelta(days=3)
    assert len(forecaster.breakers.all()) == 0


def test_beyond_the_longest_fitted_horizon_is_refused_with_the_list_and_counts_for_nothing(store: Trained) -> None:
    forecaster = ForecastMaker(store.context)
    for _ in range(10):
        with pytest.raises(UsageError, match=r"bitcoin/lightgbm:1 was fitted for 1, 7 and 30 .* 31 and 60 is beyond"):
            answer(forecaster, asked(store, 1, 31, 60))
    assert answer(forecaster, asked(store, 1)).model_used == "lightgbm"


def test_a_horizon_of_the_settings_that_the_version_lacks_is_the_baselines_by_itself(store: Trained) -> None:
    config = msgspec.structs.replace(store.context.config, forecast=ForecastConfig(daily_horizons=(1, 60)))
    made = answer(ForecastMaker(replace(store.context, config=config)), asked(store, 1, 60))
    near, far = made.horizons
    assert (made.model_used, made.fallback_reason, near.fallback_reason) == ("lightgbm", None, None)
    assert far.fallback_reason == Fallback(code=FallbackCode.UNFITTED_HORIZON, version="bitcoin/lightgbm:1")
    assert far.volatility > near.volatility


def test_no_ledger_row_is_written_for_an_interpolated_horizon(store: Trained) -> None:
    config = msgspec.structs.replace(store.context.config, forecast=ForecastConfig(daily_horizons=(1, 3, 7)))
    used = replace(store.context, config=config)
    record(used, Selection(("ethereum",), stored=True))
    rows = [row for row in used.registry().unscored() if row.kind == "lightgbm"]
    assert {row.horizon for row in rows} == {1, 7}


def test_what_does_not_answer_is_named_by_a_code_and_the_next_best_answers(tmp_path: Path) -> None:
    store = trained(tmp_path)
    lost = store.version("bitcoin", "lightgbm")
    store.remove(lost)
    made = answer(ForecastMaker(store.context), asked(store, 1))
    assert (made.model_requested, made.model_used) == ("lightgbm", "ml_ensemble")
    assert made.fallback_reason is not None
    assert (made.fallback_reason.code, made.fallback_reason.version) == ("artefact", "bitcoin/lightgbm:1")
    assert sentence(made.fallback_reason).startswith("bitcoin/lightgbm:1 cannot answer: ")
    none = answer(ForecastMaker(store.context), asked(store, 1, model="lstm"))
    assert none.fallback_reason is not None
    assert (none.fallback_reason.code, none.fallback_reason.version) == ("no_version", None)
    assert none.model_used == "ml_ensemble"
    store.remove(store.version("bitcoin", "ml_ensemble"))
    last = answer(ForecastMaker(store.context), asked(store, 1))
    assert (last.model_used, last.fallback_reason) == ("baseline", made.fallback_reason)


def test_a_version_that_fails_again_and_again_is_left_alone_for_five_seconds_and_no_other_with_it(
    tmp_path: Path,
) -> None:
    store, seconds = trained(tmp_path), Seconds()
    another = store.another("ethereum")  # of a fit of its own
    promote(store.registry, another)
    objects = store.store / "registry" / "objects"
    alone = {artefact.sha256 for artefact in another.manifest.artefacts}
    alone -= {artefact.sha256 for artefact in store.version("bitcoin", "lightgbm").manifest.artefacts}
    kept = {name: (objects / name).read_bytes() for name in alone}
    for name in alone:
        (objects / name).unlink()
    forecaster = ForecastMaker(replace(store.context, clock=seconds))
    codes = [_code(answer(forecaster, asked(store, 1, coin="ethereum"))) for _ in range(12)]
    assert codes == ["artefact"] * 5 + ["breaker"] * 7
    assert [_code(answer(forecaster, asked(store, 1))) for _ in range(12)] == [None] * 12
    for _ in range(5):  # however often it opens, it opens for five seconds
        seconds.now += 5.0
        assert _code(answer(forecaster, asked(store, 1, coin="ethereum"))) == "artefact"
        assert _code(answer(forecaster, asked(store, 1, coin="ethereum"))) == "breaker"
    for name, content in kept.items():
        (objects / name).write_bytes(content)
    seconds.now += 5.0
    for _ in range(3):
        assert _code(answer(forecaster, asked(store, 1, coin="ethereum"))) is None
    assert forecaster.breakers.all() == {}


def _code(made: CoinForecast) -> str | None:
    return None if made.fallback_reason is None else str(made.fallback_reason.code)


def _started(store: Trained, key: VersionKey, challenger: int) -> str:
    used, now = store.registry, store.clock.now
    ab_start(store.context.config, used, key, challenger=challenger, share=0.5, who="ada", now=now)
    (test,) = used.ab_tests(key)
    return test.start.test


def test_a_broken_challenger_whose_production_answers_counts_against_the_challenger_alone(tmp_path: Path) -> None:
    store = trained(tmp_path)
    challenger, key = store.another("bitcoin"), store.version("bitcoin", "lightgbm").key
    test = _started(store, key, challenger.number)
    store.remove(challenger)
    forecaster = ForecastMaker(store.context)
    for number in range(8):
        made = answer(forecaster, asked(store, 1, challenged=frozenset({test})))
        assert (made.model_used, made.version) == ("lightgbm", 1)
        assert made.ab is not None
        assert made.ab.side == "production"
        assert _code(made) == ("artefact" if number < 5 else "breaker")
    assert _code(answer(forecaster, asked(store, 1))) is None


def test_a_coin_that_is_too_young_counts_against_no_model(tmp_path: Path) -> None:
    store = trained(tmp_path)
    store.remove_candles()
    bring(store.store, BARS - 3, BARS)
    store.clock.now = CLOSED + AFTER
    forecaster = ForecastMaker(store.context)
    for _ in range(10):
        with pytest.raises(TooFewBarsError, match="bitcoin has 3 bars; it takes 21"):
            answer(forecaster, asked(store, 1))
    assert forecaster.breakers.all() == {}


def test_a_price_that_has_never_moved_is_refused_with_the_reason(tmp_path: Path) -> None:
    frame = CANDLES.filter(pl.col("coin") == "bitcoin")[:100]
    flat = frame.with_columns(pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close"))
    store = Trained(tmp_path / "data", Clock(flat["close_time"][-1] + AFTER))
    key = SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin")
    CandleStore(store.store, lock_timeout_s=10).write(key, flat, fetched_at=store.clock.now)
    with pytest.raises(DataError, match="has never moved in 100 bars"):
        answer(ForecastMaker(store.context), asked(store, 1))


class NothingPasses:
    """A registry in which no version passes calibration: those in production are there by force."""

    def __init__(self, registry: Registry) -> None:
        self.alias, self.ab_tests, self.keys = registry.alias, registry.ab_tests, registry.keys

    def best(self, coin: str, market: Market) -> None:
        return None


def test_a_version_that_is_in_production_by_force_answers_and_nothing_is_said_to_be_missing(store: Trained) -> None:
    registry = cast("Registry", NothingPasses(store.registry))
    key = store.version("bitcoin", "lightgbm").key
    forced = list(ladder(registry, key, Request(model="auto")))
    assert {(one.kind, one.fallback) for one in forced} == {("lightgbm", None), ("ml_ensemble", None)}
    (empty,) = ladder(registry, msgspec.structs.replace(key, coin="atlantis"), Request(model="auto"))
    assert (empty.version, empty.fallback and empty.fallback.code) == (None, FallbackCode.NO_VERSION)


# --- live and ended series


def dated(tmp_path: Path, source: SourceChoice, passed: timedelta) -> CoinForecast:
    """The baseline's forecast from 400 bars of a source whose last one closed so long ago."""
    last = load_sample("bitcoin").provenance.last
    if source != "sample":
        frame = CANDLES.filter(pl.col("coin") == "bitcoin")[:400]
        last = frame["close_time"][-1]
        key = SeriesKey(Market(source, "usd", "daily"), "bitcoin")
        CandleStore(tmp_path, lock_timeout_s=10).write(key, frame, fetched_at=last + AFTER)
    used = Context(Config(store=StoreConfig(path=tmp_path)), wall_clock=lambda: last + passed)
    request = Request(Selection(("bitcoin",), source, stored=True), "baseline", (1, 7, 30), (80,))
    return answer(ForecastMaker(used), request)


def width(made: CoinForecast, index: int) -> float:
    interval = made.horizons[index].intervals[0]
    return interval.upper / interval.lower


@pytest.mark.parametrize("source", ["coingecko", "bitstamp"])
def test_horizons_of_a_live_series_count_from_the_bar_that_should_be_there(
    tmp_path: Path, source: SourceChoice
) -> None:
    fresh, late = dated(tmp_path, source, AFTER), dated(tmp_path, source, timedelta(days=5) + AFTER)
    assert (fresh.stale, fresh.notices, late.stale) == (False, (), True)
    assert [one.target_time for one in late.horizons] == [late.as_of + timedelta(days=h) for h in (6, 12, 35)]
    assert all(width(late, index) > width(fresh, index) for index in range(3))
    assert "5 bars are missing since the last one known" in late.notices[-1]


@pytest.mark.parametrize(
    ("source", "days"), [("coingecko", 31), ("bitstamp", 400), ("file", 5), ("file", 31), ("sample", 5), ("sample", 31)]
)
def test_horizons_of_a_series_that_ended_count_from_its_own_last_bar(
    tmp_path: Path, source: SourceChoice, days: int
) -> None:
    fresh, ended = dated(tmp_path, source, AFTER), dated(tmp_path, source, timedelta(days=days))
    assert (fresh.stale, fresh.notices, ended.stale) == (False, (), True)
    assert ended.horizons == fresh.horizons
    assert f"from {SOURCES[source].title} end {ended.as_of:%Y-%m-%d}, {days} days ago: horizons" in ended.notices[0]
    passed = "all target dates have passed" if days > 30 else "target dates up to 1 d ahead have passed"
    assert passed in ended.notices[0]
    assert ended.stale_after < ended.as_of + timedelta(days=days)


def test_training_forecasts_from_late_bars_as_forecast_does(tmp_path: Path) -> None:
    used = trained(tmp_path)
    used.clock.now = CLOSED + timedelta(days=5) + AFTER
    order = Order(Selection(("bitcoin",)), model="lightgbm", horizons=HORIZONS)
    (made,) = train(used.context, order).forecast.forecasts
    again = answer(ForecastMaker(used.context), asked(used, *HORIZONS, version=f"bitcoin/lightgbm:{made.version}"))
    assert [one.target_time for one in made.horizons] == [CLOSED + timedelta(days=5 + h) for h in HORIZONS]
    for own, other in zip(made.horizons, again.horizons, strict=True):
        assert own.fallback_reason == other.fallback_reason
        intervals = {one.level: one.upper for one in own.intervals}
        assert intervals[80] == pytest.approx(other.intervals[0].upper, rel=1e-6)


@pytest.mark.parametrize("granularity", ["daily", "hourly"])
def test_the_baseline_of_the_newest_candles_is_that_of_all_of_them(granularity: Granularity) -> None:
    """Long histories are cut before the baseline is fitted; a bar is missing in what is kept and in what is not."""
    horizons, bar_us = (1, 30), BAR_US[granularity]
    candles = simulated_candles(("bitcoin",), 5_000, bar_us=bar_us, drop=(400, 4_700))
    matrix = build_matrix(on_grid(candles, bar_us), [], horizons=horizons, bar_us=bar_us)
    whole = BaselineLearner().fit(matrix).predict(matrix.rows(matrix.position == matrix.position[-1]))
    made = baseline_forecast(pool_of_frames(candles, granularity), "bitcoin", horizons)
    assert made.issued_at == whole.issued_at
    np.testing.assert_allclose(made.values, whole.values, rtol=1e-8, atol=1e-15)
    np.testing.assert_allclose(made.volatility, whole.volatility, rtol=1e-8)
