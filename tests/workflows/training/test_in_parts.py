"""A pool too large to be held at once: the same numbers however it is dealt, and every coin answered for."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.config import TrainConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.errors import DataError, UsageError
from cryptocast.features.own import catalogue_set
from cryptocast.market import Market
from cryptocast.models import out_of_fold
from cryptocast.models.base import FitRun
from cryptocast.models.boosting import LightGBMLearner
from cryptocast.models.fitting import fit_in_time
from cryptocast.registry import Version, VersionKey
from cryptocast.spread import InTurn
from cryptocast.workflows.coin_pool import gather, pool_rows
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.market_data.stored_series import every_coin
from cryptocast.workflows.reports import TrainReport
from cryptocast.workflows.training import in_parts
from cryptocast.workflows.training import train as training
from cryptocast.workflows.training.in_parts import parts_of
from cryptocast.workflows.training.train import Order, train
from tests.conftest import simulated_candles
from tests.workflows.backtesting.small_runs import context

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


def test_every_coin_of_the_store_can_be_meant_without_a_name(tmp_path: Path) -> None:
    used = store_of(tmp_path)
    assert every_coin(used, Selection(source="file")) == tuple(sorted((*COINS, "newborn", "tether")))
    assert every_coin(used, Selection(source="auto")) == every_coin(used, Selection(source="file"))
    with pytest.raises(DataError, match="no hourly candles"):
        every_coin(used, Selection(granularity="hourly"))
