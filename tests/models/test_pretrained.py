"""The model for every coin: what it reads, what it refuses, and that what is shipped is what the columns are now."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.simulated.draws import simulated_coins
from cryptocast.data.sources.simulated.market import SimulatedMarket, simulate
from cryptocast.data.sources.simulated.processes import VolatilityBreak
from cryptocast.errors import DataError, ModelError
from cryptocast.features.builder import add_features, feature_hash, select_features
from cryptocast.features.catalogue import BAR_VOLUME, CAP, COINS
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.models.pretrained import COLUMNS, DATE_FILE, OWN_MARKET, PretrainedForecaster, PretrainedLearner
from cryptocast.registry.archive import Archive, read_archive, unpack
from cryptocast.scoring.quantiles import LEVELS, interval_columns
from cryptocast.workflows.pretrained import SHIPPED_FILE
from tests.conftest import simulated_candles

FEATURES = select_features(COLUMNS)
DAY = BAR_US["daily"]


@pytest.fixture(scope="module")
def shipped() -> Archive:
    return unpack(read_archive(SHIPPED_FILE), "shipped")


@pytest.fixture(scope="module")
def model(shipped: Archive) -> CalibratedForecaster:
    return CalibratedForecaster.load(shipped.files, PretrainedForecaster)


def rows_of(*coins: str, bars: int = 500, days: int = 900) -> Matrix:
    """Rows of simulated coins, so many days after 2020-01-01."""
    frame = simulated_candles(coins, bars).with_columns(pl.col("close_time") + pl.duration(days=days))
    table = add_features(frame.lazy(), FEATURES, bar_us=DAY).collect()
    return build_matrix(table, COLUMNS, horizons=(1, 7, 14, 30), bar_us=DAY)


def test_the_shipped_artefact_is_of_the_columns_as_they_are_computed_now(shipped: Archive) -> None:
    manifest = shipped.manifest
    assert manifest.features == COLUMNS
    assert manifest.feature_hash == feature_hash(FEATURES)


def test_the_shipped_artefact_is_small_and_holds_no_code_and_no_price(shipped: Archive) -> None:
    assert SHIPPED_FILE.stat().st_size <= 2_000_000
    assert {Path(name).suffix for name in shipped.files} == {".json", ".txt"}
    assert not any(text.startswith((b"\x80", b"import", b"#!")) for text in shipped.files.values())
    assert {feature.unit for feature in FEATURES} <= {"log", "share", "ratio", "sd", "flag"}  # none has one of money
    ends = {data.coin: data.last for data in shipped.manifest.coins}
    assert max(ends.values()) == shipped.manifest.knowledge_date
    assert len(ends) == 12


def test_its_columns_need_nothing_but_the_coins_own_prices_and_bitcoins() -> None:
    assert not frozenset().union(*(f.needs for f in FEATURES)) & {BAR_VOLUME, CAP, COINS}
    assert {f.scope for f in FEATURES} == {"coin", "segment"}
    assert set(OWN_MARKET) == {name for name in COLUMNS if name.startswith("btc_")}


def test_without_bitcoin_a_coin_is_its_own_market_as_bitcoin_is_bitcoins(model: CalibratedForecaster) -> None:
    bitcoin, alone = rows_of("bitcoin"), rows_of("acoin")  # the same prices
    assert np.isnan(alone.features[:, COLUMNS.index("btc_ret_1")]).all()
    settled = slice(100, None)  # beta and correlation are known from their sixtieth return on
    own, other = model.predict(bitcoin).values[settled], model.predict(alone).values[settled]
    np.testing.assert_allclose(other, own, rtol=1e-9, atol=1e-12)


def test_a_bar_that_closed_before_its_date_is_an_error_and_the_one_at_it_is_not(model: CalibratedForecaster) -> None:
    assert isinstance(model.inner, PretrainedForecaster)
    rows = rows_of("acoin", days=300)
    date = model.inner.knowledge_date
    early, late = rows.issued_at < date, rows.issued_at >= date
    assert early.any()
    assert late.any()
    with pytest.raises(DataError, match=r"learned from bars up to 2021-07-07, and forecasts none that closed before"):
        model.predict(rows)
    with pytest.raises(DataError, match="it would know what came"):
        model.predict(rows.rows(np.flatnonzero(early)[-1:]))
    assert len(model.predict(rows.rows(late))) == late.sum()


def test_it_answers_from_the_first_row_on_with_a_finite_forecast(model: CalibratedForecaster) -> None:
    rows = rows_of("acoin", bars=25)
    assert rows.position[0] == 20  # the twenty-first bar
    made = model.predict(rows)
    assert np.isfinite(made.values).all()
    assert (made.volatility > 0.0).all()


def test_what_is_loaded_is_what_was_saved(model: CalibratedForecaster) -> None:
    files = dict(model.save())
    again = CalibratedForecaster.load(files, PretrainedForecaster)
    assert dict(again.save()) == files
    rows = rows_of("bitcoin", "acoin")
    np.testing.assert_array_equal(again.predict(rows).values, model.predict(rows).values)
    with pytest.raises(ModelError, match="cannot be read"):
        PretrainedForecaster.load({**files, DATE_FILE: json.dumps({"knowledge_date": "soon"}).encode()})


def test_contributions_stand_for_the_same_features_as_the_forecast(model: CalibratedForecaster) -> None:
    assert isinstance(model.inner, PretrainedForecaster)
    rows = rows_of("acoin").rows(np.arange(200, 205))
    whole = model.inner.contributions(rows).sum(axis=-1)
    base = model.inner.log_scale(rows) - whole
    moved = replace(model.inner, boosters=tuple(None for _ in model.inner.boosters)).log_scale(rows)
    np.testing.assert_allclose(base, moved, atol=1e-9)


@pytest.mark.parametrize("factor", [2.0, 0.5], ids=["doubled", "halved"])
def test_sixty_bars_after_the_volatility_broke_the_80_percent_interval_covers_70(
    model: CalibratedForecaster, factor: float
) -> None:
    """400 coins without correlation are 400 seeds. Earlier in a coin's life the next bar is held less often: 67 % at
    bar 560."""
    bar = 900
    market = SimulatedMarket(VolatilityBreak(bar, factor), seed=5, correlation=0.0)
    candles = simulate(market, simulated_coins(400), bar + 92, "daily", datetime(2022, 1, 1, tzinfo=UTC))
    table = add_features(candles.lazy(), FEATURES, bar_us=DAY).collect()
    whole = build_matrix(table, COLUMNS, horizons=(1, 7, 14, 30), bar_us=DAY)
    rows = whole.rows(whole.issued_at == whole.panel.close_time.min() + (bar + 60) * DAY)
    made, (low, high) = model.predict(rows), interval_columns(LEVELS, 80)
    held = (made.values[:, :, low] <= rows.returns) & (rows.returns <= made.values[:, :, high])
    assert len(rows) == 400
    assert (held.mean(axis=0) >= 0.70).all(), held.mean(axis=0)


def test_a_learner_of_it_gives_the_model_whatever_the_rows(model: CalibratedForecaster) -> None:
    learner = PretrainedLearner(model)
    fitted: object = learner.fit(rows_of("acoin"))
    assert fitted is model
    assert (learner.kind, learner.calibrate) == ("shipped", False)
