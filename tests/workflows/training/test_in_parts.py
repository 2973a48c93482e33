"""A pool too large to be held at once: the same numbers however it is dealt, and every coin answered for."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from cryptocast.config import FeaturesConfig, ModelsConfig, SeriesConfig, TrainConfig
from cryptocast.data.outside.series import OutsideSeries
from cryptocast.data.schema import SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.errors import DataError, UsageError
from cryptocast.features.own import FeatureSet, catalogue_set
from cryptocast.market import Market
from cryptocast.models import out_of_fold
from cryptocast.models.base import FitRun
from cryptocast.models.boosting import LightGBMLearner
from cryptocast.models.fitting import fit_in_time
from cryptocast.registry import Version, VersionKey
from cryptocast.spread import InTurn
from cryptocast.workflows.coin_pool import CoinPool, PoolRows, gather, pool_rows
from cryptocast.workflows.context import Context, Resolved, Selection
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.feature_sets import feature_set, feature_set_of
from cryptocast.workflows.forecast import Request, forecast, pool_of_fit
from cryptocast.workflows.lifecycle import local_hold_out
from cryptocast.workflows.lifecycle.archives import export_version, import_archive
from cryptocast.workflows.lifecycle.promote import promote
from cryptocast.workflows.market_data.outside_shelf import OutsideShelf
from cryptocast.workflows.market_data.stored_series import every_coin
from cryptocast.workflows.recipes import recipe_of
from cryptocast.workflows.reports import TrainReport
from cryptocast.workflows.store_parts import coin_files
from cryptocast.workflows.training import in_parts
from cryptocast.workflows.training import train as training
from cryptocast.workflows.training.in_parts import draw_lessons, parts_of, read_pool, rows_of
from cryptocast.workflows.training.train import Order, train
from tests.conftest import simulated_candles
from tests.workflows.backtesting.small_runs import context
from tests.workflows.test_own_models import example

S = TypeVar("S")
J = TypeVar("J")
R = TypeVar("R")
LAST = datetime(2026, 1, 1, tzinfo=UTC)
FILE = Market("file", "usd", "daily")
COINS = ("bitcoin", "ethereum", "litecoin", "monero", "solana", "dogecoin")
BARS = 420


def write(used: Context, frame: pl.DataFrame) -> None:
    store = CandleStore(used.config.store.path, lock_timeout_s=5)
    for own in frame.partition_by("coin"):
        store.write(SeriesKey(FILE, own["coin"][0]), own, fetched_at=LAST)


def store_of(folder: Path) -> Context:
    """Six coins of 420 daily bars, one that has hardly moved, one of a week."""
    used = context(folder, train=TrainConfig(threads=1, blocks=2, audit=False, max_rows=600, pretrained="none"))
    frame = simulated_candles(COINS, BARS)
    frame = frame.with_columns(pl.col("close_time") + (LAST - frame["close_time"][-1]))
    write(used, frame)
    prices = [pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close")]
    write(used, frame.filter(pl.col("coin") == "bitcoin").with_columns(pl.lit("tether").alias("coin"), *prices))
    write(used, frame.filter(pl.col("coin") == "bitcoin").tail(7).with_columns(pl.lit("newborn").alias("coin")))
    return used


def trained(used: Context, *coins: str, model: str = "lightgbm") -> TrainReport:
    return train(used, Order(Selection(coins, source="file", now=LAST), model=model, horizons=(1, 7)))


def version(used: Context, coin: str, kind: str = "lightgbm") -> Version:
    (own,) = used.registry().versions(**VersionKey(coin, FILE, kind).columns)
    return own


@pytest.fixture
def few_together(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """As if three coins were many, in parts of so many bars."""

    def set_parts(bars: int) -> None:
        monkeypatch.setattr(training, "MOST_TOGETHER", 3)
        monkeypatch.setattr(in_parts, "SURVEYED", 3)
        monkeypatch.setattr(in_parts.parts_of, "__defaults__", (bars,))

    return set_parts


@given(counts=st.lists(st.integers(0, 5_000), max_size=40), most=st.integers(1, 9_000))
def test_parts_hold_every_coin_once_and_no_more_bars_than_allowed(counts: list[int], most: int) -> None:
    by_coin = {f"coin-{place}": count for place, count in enumerate(counts)}
    parts = parts_of(by_coin, most)
    assert [coin for part in parts for coin in part] == list(by_coin)
    assert all(len(part) == 1 or sum(by_coin[coin] for coin in part) <= most for part in parts)
    assert all(part for part in parts)


def test_it_does_not_matter_how_the_coins_are_dealt(tmp_path: Path, few_together: Callable[[int], None]) -> None:
    versions = []
    for bars in (BARS, 3 * BARS, 100 * BARS):
        few_together(bars)
        used = store_of(tmp_path / str(bars))
        report = trained(used, *COINS, model="lightgbm")
        own = version(used, "solana")
        versions.append((own.manifest.artefacts, own.hold_out.horizons, own.hold_out.pooled, report.forecast))
    (files, scores, pooled, now), *others = versions
    for other in others:
        assert other[0] == files
        assert other[2] == pooled
        # References roll over the bars of all coins of a part: their last digits depend on who stands before.
        for score, expected in zip(other[1], scores, strict=True):
            assert score.n == expected.n
            assert dict(score.crps) == pytest.approx(dict(expected.crps), rel=1e-9)
        assert [one.horizons[0].intervals for one in other[3].forecasts] == [
            one.horizons[0].intervals for one in now.forecasts
        ]


def test_rows_are_drawn_from_all_of_each_coins_time_and_every_coin_has_its_own_baseline(
    tmp_path: Path, few_together: Callable[[int], None]
) -> None:
    few_together(2 * BARS)
    used = store_of(tmp_path)
    report = trained(used, *COINS)
    fit = version(used, "dogecoin").manifest
    assert fit.lessons == tuple(sorted(COINS))
    assert [data.coin for data in fit.coins] == list(COINS)
    assert 550 <= fit.train_rows <= 650
    assert not [name for name in (*fit.features, *fit.dropped) if name.startswith(("rank_", "market_", "breadth_"))]
    assert {model.coin for model in report.models} == set(COINS)
    assert any("were read in parts" in note for note in report.notes)
    for coin in COINS:
        mine, baseline = (
            version(used, coin).hold_out,
            forecast(used, Request(Selection((coin,), source="file", now=LAST), model="baseline", horizons=(1, 7))),
        )
        assert len(mine.horizons[0].answers) == 4
        assert mine.horizons[0].n > 50
        assert baseline.forecasts[0].horizons[0].volatility > 0


def test_coins_that_cannot_be_trained_are_named_and_the_others_go_on(
    tmp_path: Path, few_together: Callable[[int], None]
) -> None:
    few_together(2 * BARS)
    used = store_of(tmp_path)
    report = trained(used, "bitcoin", "tether", "newborn", "nosuchcoin", "monero")
    left_out = {error.coin: error.error for error in report.left_out}
    assert "stablecoin" in left_out["tether"]
    assert "too few bars" in left_out["newborn"]
    assert "no" in left_out["nosuchcoin"]
    assert {model.coin for model in report.models} == {"bitcoin", "monero"}
    with pytest.raises(DataError, match="nosuchcoin"):
        trained(used, "tether", "nosuchcoin", "no-other", "none-at-all")


def test_a_forecast_of_one_coin_needs_no_other_coin_of_a_large_pool(
    tmp_path: Path, few_together: Callable[[int], None]
) -> None:
    few_together(2 * BARS)
    used = store_of(tmp_path)
    trained(used, *COINS)
    request = Request(Selection(("solana",), source="file", now=LAST), model="lightgbm", horizons=(1, 7))
    (before,) = forecast(used, request).forecasts
    assert (before.model_used, before.version) == ("lightgbm", 1)
    store = CandleStore(used.config.store.path, lock_timeout_s=5)
    for coin in ("ethereum", "litecoin", "monero", "dogecoin"):
        store.remove(SeriesKey(FILE, coin))
    (after,) = forecast(used, request).forecasts
    assert after == before


def test_a_search_for_settings_is_of_few_coins(tmp_path: Path, few_together: Callable[[int], None]) -> None:
    few_together(BARS)
    used = store_of(tmp_path)
    with pytest.raises(UsageError, match="cryptocast tune"):
        train(used, Order(Selection(COINS, source="file", now=LAST), model="lightgbm", horizons=(1,), tune=1))


def test_a_worker_is_sent_no_bars_that_the_forecast_does_not_read(
    tmp_path: Path, few_together: Callable[[int], None]
) -> None:
    few_together(2 * BARS)
    used = store_of(tmp_path)
    trained(used, *COINS)
    files = coin_files(used, ("solana",), "usd", "daily")
    assert {Path(name).stem for name in files if name.endswith(".parquet")} == {"bitcoin", "solana"}


def test_an_archive_of_a_large_pool_is_scored_on_its_own_coins(
    tmp_path: Path, few_together: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_together(2 * BARS)
    there, here = store_of(tmp_path / "there"), store_of(tmp_path / "here")
    train(there, Order(Selection(COINS, source="file", now=LAST - timedelta(days=90)), model="lightgbm", horizons=(1,)))
    path = tmp_path / "early.zip"
    export_version(there.registry(), version(there, "solana"), path, whole_fit=False, overwrite=False)
    asked: list[tuple[str, ...]] = []

    def noted(pool: CoinPool, features: FeatureSet, horizons: tuple[int, ...]) -> PoolRows:
        asked.append(pool.coins)
        return pool_rows(pool, features, horizons)

    monkeypatch.setattr(local_hold_out, "pool_rows", noted)
    (row,) = import_archive(here.registry(), path, dry_run=False, who="ada", now=LAST, scoring=here).versions
    assert row.scored == 89
    assert [set(coins) for coins in asked] == [{"bitcoin", "solana"}]


def test_a_model_of_the_users_own_is_examined_where_its_code_is(
    tmp_path: Path, few_together: Callable[[int], None]
) -> None:
    few_together(2 * BARS)
    used = store_of(tmp_path)
    (tmp_path / "my_model.py").write_text(example())
    used = replace(used, config=structs.replace(used.config, models=ModelsConfig(file=str(tmp_path / "my_model.py"))))
    order = Order(Selection(COINS, source="file", now=LAST), model="weekday", horizons=(1, 7), engine=Engine(jobs=2))
    report = train(used, order)
    assert [one.model_used for one in report.forecast.forecasts] == ["weekday"] * len(COINS)


class Backwards(InTurn):
    """A map that works in the wrong order, as a cluster might: what counts is the order of the results."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, work: Callable[[S, J], R], shared: S, jobs: Iterable[J]) -> Iterator[R]:
        everything = list(jobs)
        self.seen.append(len(everything))
        done = {place: work(shared, job) for place, job in reversed(list(enumerate(everything)))}
        return iter([done[place] for place in range(len(everything))])


def test_fits_that_are_made_elsewhere_are_those_made_here(tmp_path: Path) -> None:
    used = store_of(tmp_path)
    request = Selection(COINS[:2], source="file", now=LAST).resolved(used.config)
    (pool,) = gather(used, request, pool=())
    matrix = pool_rows(pool, catalogue_set().of_single_coins, (1, 7)).matrix
    elsewhere = Backwards()
    here, there = (
        fit_in_time(
            LightGBMLearner(),
            matrix,
            fit=0.7,
            stop=0.15,
            block_count=3,
            least_blocks=12,
            seed=7,
            run=FitRun(spread=one),
        )
        for one in (None, elsewhere)
    )
    assert elsewhere.seen == [1, 4]
    assert here.final.save() == there.final.save()
    assert here.first.save() == there.first.save()
    np.testing.assert_array_equal(here.hold_out.forecast.values, there.hold_out.forecast.values)
    assert "lstm" not in out_of_fold.SIDE_BY_SIDE  # its fits go on from each other


def shortened(used: Context, coin: str, days: int) -> None:
    """As if the coin had ended so many days ago."""
    store, key = CandleStore(used.config.store.path, lock_timeout_s=5), SeriesKey(FILE, coin)
    stored = store.load(key)
    assert stored is not None
    store.remove(key)
    write(used, stored.candles.frame.head(-days))


def test_what_a_version_cannot_say_now_costs_nothing_but_its_forecast(
    tmp_path: Path, few_together: Callable[[int], None]
) -> None:
    few_together(2 * BARS)
    used = store_of(tmp_path)
    shortened(used, "bitcoin", 20)
    report = trained(used, *COINS)
    assert {model.coin for model in report.models if model.version} == set(COINS)
    assert [one.coin for one in report.forecast.forecasts] == list(COINS[1:])
    assert any("bitcoin/lightgbm:1 cannot answer: it learned from bars up to" in note for note in report.notes)


@pytest.mark.parametrize("kind", ["har", "lightgbm"])
def test_the_report_forecasts_what_was_trained(tmp_path: Path, few_together: Callable[[int], None], kind: str) -> None:
    few_together(2 * BARS)
    used = store_of(tmp_path)
    report = train(used, Order(Selection(COINS, source="file", now=LAST), model=kind, horizons=(2, 5)))
    own = report.forecast.forecasts[0]
    assert (own.model_requested, own.model_used, own.version) == (kind, kind, 1)
    assert [one.horizon for one in own.horizons] == [2, 5]


def test_coins_without_a_row_are_no_reason_not_to_audit_the_others(
    tmp_path: Path, few_together: Callable[[int], None]
) -> None:
    few_together(BARS)
    used = store_of(tmp_path)
    used = replace(used, config=structs.replace(used.config, train=structs.replace(used.config.train, audit=True)))
    young = simulated_candles(("aaa",), BARS)
    write(used, young.with_columns(pl.col("close_time") + (LAST - young["close_time"][-1])).tail(7))
    report = trained(used, "aaa", *COINS)
    assert {model.coin for model in report.models} == set(COINS)
    assert [(error.coin, "too few bars" in error.error) for error in report.left_out] == [("aaa", True)]


def test_a_coin_that_ended_before_the_hold_out_has_no_version_whoever_is_in_its_part(
    tmp_path: Path, few_together: Callable[[int], None]
) -> None:
    found = []
    for bars in (BARS, 100 * BARS):
        few_together(bars)
        used = store_of(tmp_path / str(bars))
        shortened(used, "monero", 200)
        report = trained(used, *COINS)
        own = version(used, "solana").hold_out
        found.append((report.left_out, {model.coin for model in report.models}, own.start, own.end))
    assert found[0] == found[1]
    assert [error.coin for error in found[0][0]] == ["monero"]


def test_of_the_baseline_alone_it_is_said_that_coins_were_scored(
    tmp_path: Path, few_together: Callable[[int], None]
) -> None:
    few_together(2 * BARS)
    report = trained(store_of(tmp_path), *COINS, model="baseline")
    assert report.notes == ("6 coins were read in parts, and 6 of them were scored",)


def test_coins_that_are_left_alone_are_counted_where_they_are_many(
    tmp_path: Path, few_together: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_together(2 * BARS)
    monkeypatch.setattr(training, "SHOWN", 2)
    used = store_of(tmp_path)
    trained(used, *COINS)
    order = Order(
        Selection(COINS, source="file", now=LAST), model="lightgbm", horizons=(1, 7), older_than=timedelta(days=7)
    )
    report = train(used, order)
    assert [note.split()[0] for note in report.notes[:2]] == ["bitcoin", "ethereum"]
    assert report.notes[2:] == ("so were 4 more coins",)
    assert (report.models, report.data) == ((), ())


def test_the_bitcoin_of_a_forecast_is_that_of_the_training(tmp_path: Path, few_together: Callable[[int], None]) -> None:
    few_together(2 * BARS)
    used = store_of(tmp_path)
    trained(used, *COINS)
    own, kraken = version(used, "solana"), Market("kraken", "usd", "daily")
    other = simulated_candles(("bitcoin",), BARS, seed=5)
    other = other.with_columns(pl.col("close_time") + (LAST - other["close_time"][-1]))
    CandleStore(used.config.store.path, lock_timeout_s=5).write(SeriesKey(kraken, "bitcoin"), other, fetched_at=LAST)
    selection = Selection(("solana",), source="file", now=LAST).resolved(used.config)
    (pool,) = gather(used, selection, pool=())
    near, _ = pool_of_fit(used, replace(selection, source="kraken"), pool, own)
    assert near.bars["bitcoin"].candles.provenance.key.source == "file"


MOOD = """
import polars as pl
from cryptocast.features import Feature
FEATURES = (Feature("my_mood", "market", pl.col("mood").rolling_mean(3), 2, 2, source="mine", unit="log"),)
"""


class Elsewhere(InTurn):
    """Whoever works sees no file of this machine, and is sent what he needs. before: hears of each job."""

    def __init__(self, before: Callable[[], None]) -> None:
        self.before = before

    def sees(self, folder: Path) -> bool:
        return False

    def __call__(self, work: Callable[[S, J], R], shared: S, jobs: Iterable[J]) -> Iterator[R]:
        for job in jobs:
            self.before()
            yield work(shared, job)


def test_an_outside_series_is_read_once_before_the_parts(
    tmp_path: Path, few_together: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_together(2 * BARS)
    used = store_of(tmp_path)
    (tmp_path / "mine.py").write_text(MOOD)
    mood = tmp_path / "mood.csv"
    days = [LAST - timedelta(days=day) for day in range(BARS + 5, 0, -1)]
    pl.DataFrame({"time": days, "value": np.sin(np.arange(len(days)))}).write_csv(mood)
    config = structs.replace(
        used.config,
        features=FeaturesConfig(file=str(tmp_path / "mine.py")),
        series={"mood": SeriesConfig(file=str(mood), known_after="1d")},
    )
    used = replace(used, config=config)
    reads = list[str]()
    read = OutsideShelf._read

    def noted(shelf: OutsideShelf, name: str) -> OutsideSeries:
        reads.append(name)
        return read(shelf, name)

    monkeypatch.setattr(OutsideShelf, "_read", noted)
    trained(used, *COINS)
    fit = version(used, "solana").manifest
    assert reads.count("mood") <= 1 + len(COINS)  # the forecasts of the report read it too
    assert "my_mood" in (*fit.features, *fit.dropped)

    spread = Elsewhere(lambda: None)
    request = Selection(COINS, source="file", now=LAST).resolved(config)
    (large,) = read_pool(used, request, (), spread, is_here=False)
    features = feature_set(config).of_single_coins
    plan, rows = draw_lessons(used, large, features, (1, 7), spread)
    mood.unlink()
    assert np.isfinite(rows.matrix.features[:, rows.matrix.feature_names.index("my_mood")]).mean() > 0.9
    assert len(rows_of(plan, large.parts(COINS)[0]).matrix)


RANK = """
import polars as pl
from cryptocast.features import Feature
FEATURES = (
    Feature("my_rank", "market", pl.col("volume").rank(), 0, 0, source="mine", unit="rank", scope="moment"),
)
"""


def test_a_version_does_not_rest_on_a_file_of_which_it_reads_nothing(
    tmp_path: Path, few_together: Callable[[int], None]
) -> None:
    few_together(2 * BARS)
    used = store_of(tmp_path)
    (tmp_path / "mine.py").write_text(RANK)
    features = FeaturesConfig(file=str(tmp_path / "mine.py"))
    trained(replace(used, config=structs.replace(used.config, features=features)), *COINS)
    own = version(used, "solana")
    assert feature_set_of(own, used.config).digest == own.manifest.feature_hash


def test_bars_with_a_volume_of_their_own_are_not_read_together_with_others(tmp_path: Path) -> None:
    used = store_of(tmp_path)
    request = Selection(COINS, source="file", now=LAST).resolved(used.config)
    (large,) = read_pool(used, request, (), InTurn(), is_here=True)
    assert [part.coins for part in large.parts(COINS)] == [tuple(sorted(COINS))]
    bars = dict(large.pool.bars)
    for coin in ("solana", "bitcoin"):
        facts = bars[coin].candles.provenance
        key = replace(facts.key, market=Market("coingecko", "usd", "hourly"))
        bars[coin] = replace(bars[coin], candles=replace(bars[coin].candles, provenance=replace(facts, key=key)))
    mixed = replace(large, pool=replace(large.pool, bars=bars))
    assert [part.coins for part in mixed.parts(COINS)] == [
        ("dogecoin", "ethereum", "litecoin", "monero"),
        ("bitcoin", "solana"),
    ]


def test_a_dead_network_is_waited_for_once(tmp_path: Path, few_together: Callable[[int], None]) -> None:
    few_together(2 * BARS)
    used = store_of(tmp_path)
    asked = list[bool]()

    def gathered(
        context: Context, request: Resolved, *, pool: tuple[str, ...], fetch_allowed: bool
    ) -> tuple[CoinPool, ...]:
        asked.append(fetch_allowed)
        pools = gather(context, request, pool=pool, fetch_allowed=False)
        failed = replace(next(iter(pools[0].bars.values())).age, failed=True)
        return tuple(
            replace(own, bars={coin: replace(one, age=failed) for coin, one in own.bars.items()}) for own in pools
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_parts, "gather", gathered)
        read_pool(used, Selection(COINS, source="auto", now=LAST).resolved(used.config), (), InTurn(), is_here=True)
    assert asked == [True, False]


def test_every_coin_of_the_store_can_be_meant_without_a_name(tmp_path: Path) -> None:
    used = store_of(tmp_path)
    assert every_coin(used, Selection(source="file")) == tuple(sorted((*COINS, "newborn", "tether")))
    assert every_coin(used, Selection(source="auto")) == every_coin(used, Selection(source="file"))
    with pytest.raises(DataError, match="no hourly bars"):
        every_coin(used, Selection(granularity="hourly"))


def test_a_version_trained_anew_takes_its_place_behind_a_walk_without_features_across_coins(
    tmp_path: Path, few_together: Callable[[int], None]
) -> None:
    few_together(2 * BARS)
    used = store_of(tmp_path)
    earlier = Selection(COINS, source="file", now=LAST - timedelta(days=9))
    train(used, Order(earlier, model="lightgbm", horizons=(1, 7)))
    trained(used, *COINS)
    registry = used.registry()
    first, second = registry.versions(**VersionKey("solana", FILE, "lightgbm").columns)
    registry.promote(first.key, 1, now=LAST, who="test", why="for the test")
    report = promote(
        used.config, registry, coin="solana", kind="lightgbm", source="file", dry_run=True, who="test", now=LAST
    )
    assert "CRYPTOCAST_FEATURES__ACROSS_COINS=false cryptocast backtest solana" in str(report.rows[0].reasons[0])
    apart = structs.replace(used.config, features=FeaturesConfig(across_coins=False))
    assert recipe_of(apart, "lightgbm", feature_set(apart).digest) == second.manifest.recipe == first.manifest.recipe
    assert recipe_of(used.config, "lightgbm", feature_set(used.config).digest) != second.manifest.recipe
