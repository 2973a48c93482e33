"""A registry with two versions, and an archive of a real fit."""

from pathlib import Path

import pytest

from cryptocast.config import Config, DataConfig, StoreConfig
from cryptocast.registry import Registry
from cryptocast.workflows.context import Selection
from cryptocast.workflows.lifecycle.archives import export_version
from cryptocast.workflows.training.train import Order, train
from tests.registry.registry_fits import register
from tests.workflows.backtesting.small_runs import context


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Version 1 in production, version 2 of another recipe behind it."""
    made = Registry.open(tmp_path)
    register(made, "1")
    register(made, "2", rounds=500)
    return made


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(store=StoreConfig(path=tmp_path), data=DataConfig(coins=("bitcoin",), exchanges=()))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Registry, Path]:
    """A registry with a lightgbm of bitcoin, and its archive."""
    folder = tmp_path_factory.mktemp("trained")
    trained = context(folder)
    train(trained, Order(selection=Selection(("bitcoin",)), model="lightgbm", horizons=(1, 7)))
    registry = trained.registry()
    path = folder / "bitcoin.zip"
    export_version(registry, registry.versions()[0], path, whole_fit=False, overwrite=False)
    return registry, path
