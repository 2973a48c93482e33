"""Makes golden/: one artefact of each kind as `registry export` writes it, rows to ask, and what was answered.

    python -m tests.registry.make_golden

To be run once for a release and never to make a test pass: a model that was saved by that release must load and
forecast the same for ever. Small models (few rounds, a small network), so that all is below 500 kB, of a market with a
signal, so that their view of the direction is among what is kept.
"""

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.config import (
    Config,
    DataConfig,
    EnsembleConfig,
    LightGBMConfig,
    LSTMConfig,
    SimulatedConfig,
    StoreConfig,
    TrainConfig,
)
from cryptocast.features.matrix import Matrix
from cryptocast.market import Market
from cryptocast.models.boosting import LightGBMForecaster
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.models.kinds import forecaster_type
from cryptocast.registry import Version
from cryptocast.workflows.coin_pool import gather
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.feature_sets import feature_set_of
from cryptocast.workflows.forecast import pool_of_fit, served_matrix
from cryptocast.workflows.lifecycle.archives import export_version
from cryptocast.workflows.training.train import Order, train
from tests.registry.golden_rows import GOLDEN, KINDS, write_arrays, write_rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BITCOIN = Selection(("bitcoin",))
HORIZONS = (1, 7)
ROWS = 5
BARS = 420  # behind the rows: enough for every look-back and for twelve blocks of each horizon


def main() -> None:
    """Train, export, ask, write."""
    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        context = Context(config=_config(Path(folder)), wall_clock=lambda: NOW, who="golden")
        train(context, Order(BITCOIN, horizons=HORIZONS))
        registry = context.registry()
        answers = dict[str, FloatArray]()
        for kind in KINDS:
            version = registry.get(f"bitcoin/{kind}:1", Market("simulated", "usd", "daily"))
            export_version(registry, version, GOLDEN / f"{kind}.zip", whole_fit=False, overwrite=True)
            model = CalibratedForecaster.load(registry.load_files(version.fit_id), forecaster_type(kind))
            rows = _rows(context, version, model)
            made = model.predict(rows)
            answers |= {f"{kind}.values": made.values, f"{kind}.volatility": made.volatility, f"{kind}.p_up": made.p_up}
            if isinstance(model.inner, LightGBMForecaster):
                answers["lightgbm.trees"] = _trees(model.inner, rows)
        if not all((answers[f"{kind}.p_up"] != 0.5).any() for kind in KINDS):
            raise SystemExit("A model has no view of the direction: its files would not show how a view is kept.")
        write_rows(GOLDEN / "rows.npz", rows)
        write_arrays(GOLDEN / "answers.npz", answers)


def _trees(model: LightGBMForecaster, rows: Matrix) -> FloatArray:
    """(B, n): what the trees of each booster add up to."""
    features = np.ascontiguousarray(rows.features[:, [rows.feature_names.index(name) for name in model.feature_names]])
    return np.array([b.raw(features) for b in model.boosters if b is not None])


def _config(folder: Path) -> Config:
    return Config(
        store=StoreConfig(path=folder / "data"),
        data=DataConfig(coins=("bitcoin", "ethereum"), source="simulated"),
        simulated=SimulatedConfig(market="signal", r_squared=0.4, bars=1500),
        train=TrainConfig(blocks=2, threads=1, audit=False, models=KINDS),
        lightgbm=LightGBMConfig(rounds=6, next_bar_rounds=8, num_leaves=8, min_data_in_leaf=60),
        lstm=LSTMConfig(lookback=24, hidden=6, members=2, epochs=3, samples=20, device="cpu"),
        ml_ensemble=EnsembleConfig(),
    )


def _rows(context: Context, version: Version, model: CalibratedForecaster) -> Matrix:
    """The last rows of the coin, with only so much of its past as they need."""
    asked = BITCOIN.resolved(context.config)
    (pool,) = gather(context, asked, pool=())
    whole, _ = pool_of_fit(context, asked, pool, version)
    matrix = served_matrix(model, whole, HORIZONS, feature_set_of(version, context.config), rows=ROWS)
    coin = matrix.panel.coins.index("bitcoin")
    own = np.flatnonzero(matrix.coin == coin)[-ROWS:]
    end = int(matrix.panel.start[coin + 1])
    behind = slice(max(int(matrix.panel.start[coin]), end - BARS), end)
    panel = replace(
        matrix.panel,
        coins=("bitcoin",),
        coin=np.zeros(behind.stop - behind.start, dtype=np.int32),
        close_time=matrix.panel.close_time[behind],
        log_close=matrix.panel.log_close[behind],
        variance=matrix.panel.variance[behind],
        volatility=matrix.panel.volatility[behind],
        start=np.array([0, behind.stop - behind.start], dtype=np.int64),
    )
    rows = matrix.rows(own)
    return replace(rows, panel=panel, position=rows.position - behind.start, coin=np.zeros(ROWS, dtype=np.int32))


if __name__ == "__main__":
    main()
