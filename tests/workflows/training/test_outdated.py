"""Versions of another feature set are found, fitted anew as they were, and give their place to what can be asked."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryptocast.config import Config, DataConfig, LightGBMConfig, StoreConfig, TrainConfig
from cryptocast.errors import UsageError
from cryptocast.market import Market
from cryptocast.registry import Registry, recipe_hash
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.feature_sets import catalogue_set, outdated_versions
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.reports import FallbackCode, TrainReport
from cryptocast.workflows.training.outdated import Refit, outdated_fits
from cryptocast.workflows.training.train import Order, train
from tests.registry.registry_fits import BITCOIN, FILES, NOW, hold_out, manifest, new_version, register, score

SAMPLE = Market("sample", "usd", "daily")
OUTDATED = Order(outdated=True)


def context(folder: Path) -> Context:
    config = Config(
        store=StoreConfig(path=folder),
        data=DataConfig(coins=("dogecoin",), source="sample"),
        train=TrainConfig(blocks=2, threads=1, audit=False),
        lightgbm=LightGBMConfig(rounds=8, next_bar_rounds=8, min_data_in_leaf=40),
    )
    return Context(config, wall_clock=lambda: datetime(2026, 1, 1, tzinfo=UTC), who="test")


def registered(registry: Registry, coins: tuple[str, ...], horizons: tuple[int, ...] = (1, 7), **changes: Any) -> None:
    """A fit of these coins; its label, and so its data, is the number of versions before it."""
    of_kind, of_features = changes.get("kind", "lightgbm"), changes.get("feature_hash", "f" * 64)
    changes["recipe"] = recipe_hash(of_kind, manifest().settings, of_features)
    scores = hold_out(*map(score, horizons))
    register(registry, str(len(registry.versions())), coins=coins, horizons=horizons, scores=scores, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, TrainReport]:
    """A store whose version of another feature set was fitted anew."""
    here = context(tmp_path_factory.mktemp("outdated"))
    bars = msgspec.structs.replace(manifest().coins[0], last=datetime(2020, 1, 10, tzinfo=UTC))
    fit = msgspec.structs.replace(manifest(), coins=(bars,))
    here.registry().register(fit, FILES, [new_version()], now=NOW, who="ada")
    (made,) = forecast(here, Request(Selection(("bitcoin",)), horizons=(1,))).forecasts
    assert made.model_used == "baseline"
    assert made.fallback_reason is not None
    assert made.fallback_reason.code is FallbackCode.FEATURES
    assert "cryptocast train --outdated" in (made.fallback_reason.detail or "")
    return here, train(here, OUTDATED)


def test_it_is_fitted_as_it_was_and_takes_the_place_of_the_one_that_answers_nobody(
    trained: tuple[Context, TrainReport],
) -> None:
    here, report = trained
    version = here.registry().get("bitcoin/lightgbm@production", Market("sample", "usd", "daily"))
    assert (version.number, version.manifest.horizons) == (2, (1, 7))
    assert [data.coin for data in version.manifest.coins] == ["bitcoin"]  # the pool of then, not that of the settings
    assert report.notes[0] == "trained anew, because outdated: bitcoin/lightgbm (sample, usd, daily)"
    assert {(model.kind, model.decision.value) for model in report.models} == {
        ("baseline", "no_version"),
        ("lightgbm", "promoted"),
    }
    event = here.registry().history()[-1]
    assert event.why == "takes the place of an outdated one"
    assert next(reason["code"] for reason in event.evidence["decision"]["reasons"]) == "outdated"
    (made,) = forecast(here, Request(Selection(("bitcoin",)), horizons=(1,))).forecasts
    assert (made.model_used, made.version) == ("lightgbm", 2)


def test_behind_that_nothing_is_outdated_and_nothing_is_trained(trained: tuple[Context, TrainReport]) -> None:
    here, _ = trained
    report = train(here, OUTDATED)
    assert (report.models, report.forecast.forecasts) == ((), ())
    assert report.notes == ("nothing is outdated: every version in use can answer",)
    assert len(here.registry().versions()) == 2


def test_of_fits_that_fail_the_others_go_on(tmp_path: Path) -> None:
    here = context(tmp_path)
    register(here.registry(), coins=("bitcoin",))
    register(here.registry(), coins=("nowhere-coin",))
    report = train(here, OUTDATED)
    assert [(error.coin, "nowhere-coin" in error.error) for error in report.left_out] == [("nowhere-coin", True)]
    assert [version.key.coin for version in outdated_versions(here.registry(), here.config)] == ["nowhere-coin"]


@pytest.mark.parametrize(
    "order",
    [
        replace(OUTDATED, selection=Selection(("bitcoin",))),
        replace(OUTDATED, selection=Selection(source="sample")),
        replace(OUTDATED, model="lightgbm"),
        replace(OUTDATED, tune=3),
    ],
)
def test_it_goes_with_no_coins_and_no_other_option(tmp_path: Path, order: Order) -> None:
    with pytest.raises(UsageError, match="--outdated fits each version as it was"):
        train(context(tmp_path), order)


def test_what_was_fitted_alike_is_fitted_together_and_nothing_else_is_fitted(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    both = ("bitcoin", "ethereum")
    registered(registry, both)
    registered(registry, both, kind="lstm")
    registered(registry, ("dogecoin",), (1, 24), source="coingecko", granularity="hourly")
    registered(registry, ("tron",), feature_hash=catalogue_set().digest)
    assert set(outdated_fits(registry, Config())) == {
        Refit(SAMPLE, (1, 7), both, ("lightgbm", "lstm"), both),
        Refit(Market("coingecko", "usd", "hourly"), (1, 24), ("dogecoin",), ("lightgbm",), ("dogecoin",)),
    }


def test_a_key_is_fitted_once_and_as_production_was(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    registered(registry, ("bitcoin",), (1, 14))
    registered(registry, ("bitcoin",))
    assert [version.number for version in outdated_versions(registry, Config())] == [1, 2]
    (refit,) = outdated_fits(registry, Config())
    assert (refit.horizons, refit.coins) == ((1, 14), (BITCOIN.coin,))


def test_a_note_names_no_more_coins_than_one_reads() -> None:
    coins = tuple(f"coin-{place:03}" for place in range(300))
    words = Refit(Market("file", "usd", "daily"), (1,), coins, ("lightgbm",), coins).in_words()
    assert "coin-009/lightgbm and those of 290 more coins (file" in words
    assert "coin-010" not in words
