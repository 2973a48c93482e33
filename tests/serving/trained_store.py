"""A store with made-up CoinGecko candles and models trained on them, and an app on it whose clock is the test's."""

import shutil
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import msgspec
import polars as pl
from starlette.applications import Starlette

from cryptocast.config import (
    CoinGeckoConfig,
    Config,
    DataConfig,
    EnsembleConfig,
    ForecastConfig,
    LightGBMConfig,
    ServeConfig,
    StoreConfig,
    TrainConfig,
)
from cryptocast.data.schema import SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.market import Market
from cryptocast.registry import Registry, Version
from cryptocast.serving import create_app
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.training.train import Order, train
from tests.conftest import simulated_candles
from tests.serving.serving_app import Clock

COINS = ("bitcoin", "ethereum")
BARS = 800
HORIZONS = (1, 7, 30)
AFTER = timedelta(minutes=30)
CANDLES = simulated_candles(COINS, BARS + 60, seed=5)
CLOSED = CANDLES["close_time"][BARS - 1]  # of the last bar that the models have seen


def settings(store: Path) -> Config:
    return Config(
        store=StoreConfig(path=store),
        data=DataConfig(coins=COINS, source="coingecko"),
        # A port of this machine that nobody listens on.
        coingecko=CoinGeckoConfig(base_url="http://127.0.0.1:9/api/v3", deadline_s=1.0, max_retries=0),
        train=TrainConfig(pretrained="none", audit=False),
        lightgbm=LightGBMConfig(rounds=30, next_bar_rounds=8),
        ml_ensemble=EnsembleConfig(members=("baseline", "har")),
        forecast=ForecastConfig(daily_horizons=HORIZONS),
        serve=ServeConfig(client_rate_per_s=0, request_timeout_s=60.0),
    )


def bring(store: Path, first: int, last: int) -> None:
    """The bars of each coin from one number to before another, as a fetch would write them."""
    for coin in COINS:
        frame = CANDLES.filter(pl.col("coin") == coin)[first:last]
        key = SeriesKey(Market("coingecko", "usd", "daily"), coin)
        CandleStore(store, lock_timeout_s=10).write(key, frame, fetched_at=frame["close_time"][-1] + AFTER)


@cache
def _trained() -> Path:
    store = Path(mkdtemp(prefix="cryptocast-trained-"))
    bring(store, 0, BARS)
    used = Context(settings(store), wall_clock=Clock(CLOSED + AFTER))
    for kind in ("lightgbm", "ml_ensemble"):
        train(used, Order(Selection(COINS), model=kind, horizons=HORIZONS))
    registry = used.registry()
    for version in registry.versions():
        promote(registry, version)
    return store


@dataclass
class Trained:
    """A copy of its own for each test. `clock` stands half an hour behind the last bar."""

    store: Path
    clock: Clock

    @property
    def context(self) -> Context:
        return Context(settings(self.store), wall_clock=self.clock, clock=self.clock.seconds)

    @property
    def registry(self) -> Registry:
        return self.context.registry()

    def app(self, *, refresh: bool = False) -> Starlette:
        return create_app(self.context, refresh=refresh)

    def version(self, coin: str, kind: str, number: int = 1) -> Version:
        return self.registry.get(f"{coin}/{kind}:{number}", Market("coingecko", "usd", "daily"))

    def another(self, coin: str) -> Version:
        """A second lightgbm of a coin: the challenger."""
        config = msgspec.structs.replace(
            settings(self.store), train=TrainConfig(pretrained="none", audit=False, seed=11)
        )
        used = Context(config, wall_clock=self.clock)
        train(used, Order(Selection((coin,)), model="lightgbm", horizons=HORIZONS))
        return self.version(coin, "lightgbm", 2)

    def remove(self, version: Version) -> None:
        """The files of a fit that no other one shares."""
        others = [one for one in self.registry.versions() if one.fit_id != version.fit_id]
        shared = {artefact.sha256 for one in others for artefact in one.manifest.artefacts}
        for artefact in version.manifest.artefacts:
            if artefact.sha256 not in shared:
                (self.store / "registry" / "objects" / artefact.sha256).unlink(missing_ok=True)

    def remove_candles(self) -> None:
        shutil.rmtree(self.store / "candles")


def trained(folder: Path) -> Trained:
    """lightgbm and an ensemble of baseline and har in production for both coins."""
    store = folder / "data"
    shutil.copytree(_trained(), store)
    return Trained(store, Clock(CLOSED + AFTER))


def promote(registry: Registry, version: Version) -> None:
    registry.promote(version.key, version.number, now=CLOSED + AFTER, who="ada", why="for a test")
