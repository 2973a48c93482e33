"""`ml_ensemble` from the settings to the forecast: trained, registered with its weights, loaded, and asked."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cryptocast.config import Config, DataConfig, EnsembleConfig, StoreConfig, TrainConfig
from cryptocast.market import Market
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.training.train import Order, train

NOW = datetime(2026, 1, 1, tzinfo=UTC)


BITCOIN = Selection(("bitcoin",))


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(config=_config(tmp_path_factory.mktemp("ensemble")), wall_clock=lambda: NOW, who="test")


def _config(folder: Path) -> Config:
    return Config(
        store=StoreConfig(path=folder / "data"),
        data=DataConfig(coins=("bitcoin",), source="sample"),
        train=TrainConfig(blocks=2, threads=1, audit=False),
        ml_ensemble=EnsembleConfig(members=("baseline", "har")),
    )


def test_it_is_registered_with_its_weights_and_forecasts_what_was_trained(used: Context) -> None:
    report = train(used, Order(BITCOIN, model="ml_ensemble", horizons=(1, 7)))
    (trained,) = report.forecast.forecasts
    version = used.registry().get("bitcoin/ml_ensemble:1", Market("sample", "usd", "daily"))
    told = version.manifest.ensemble
    assert told is not None
    assert [part.horizon for part in told.horizons] == [1, 7]
    for part in told.horizons:
        assert part.reason.startswith(("equal: ", "learned: "))
        assert [regime.regime for regime in part.regimes] == ["all"]
        for regime in part.regimes:
            assert set(regime.weights) == {"baseline", "har"}
            assert sum(regime.weights.values()) == pytest.approx(1.0)
    (made,) = forecast(used, Request(BITCOIN, model="ml_ensemble", horizons=(1, 7))).forecasts
    assert (made.model_used, made.version) == ("ml_ensemble", 1)
    for before, after in zip(trained.horizons, made.horizons, strict=True):
        assert after.intervals[0].lower == pytest.approx(before.intervals[0].lower, rel=1e-7)
        assert after.volatility == pytest.approx(before.volatility, rel=1e-7)
