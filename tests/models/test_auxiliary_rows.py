"""Learning from other series too: what they may tell, and that they are not mixed up with the own ones."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from cryptocast.config import LightGBMConfig
from cryptocast.data.schema import BAR_US
from cryptocast.features.builder import add_features, select_features
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.auxiliary_rows import PooledLearner, joined, with_help
from cryptocast.models.base import FitRun, Forecaster, Rounds
from cryptocast.models.baseline import BaselineForecaster, BaselineLearner
from cryptocast.models.boosting import LightGBMLearner
from cryptocast.models.selective import SelectiveLearner
from tests.conftest import MakeCandles

DAY = BAR_US["daily"]


def matrix_of(candles: pl.DataFrame, names: tuple[str, ...] = ("ret_1", "vol_7")) -> Matrix:
    chosen = select_features(names)
    table = add_features(candles.lazy(), chosen, bar_us=DAY).collect()
    return build_matrix(table, [f.name for f in chosen], horizons=(1, 7), bar_us=DAY)


@dataclass(frozen=True, slots=True)
class Listens:
    """A learner that remembers what it was given."""

    seen: list[Matrix] = field(default_factory=list)
    kind: ClassVar[str] = "listens"
    calibrate: ClassVar[bool] = True

    def fit(self, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun) -> Forecaster:
        self.seen.append(train)
        made: BaselineForecaster = BaselineLearner().fit(train)
        return made


def pair(make_candles: MakeCandles) -> tuple[Matrix, Matrix]:
    own = matrix_of(make_candles(coins=("bitcoin", "ethereum"), bars=160, seed=1))
    other = matrix_of(make_candles(coins=("sample:bitcoin",), bars=200, seed=2, drop=(50, 51)), ("vol_7", "ret_1"))
    return own, other


def test_joined_rows_are_those_of_both_with_their_own_bars(make_candles: MakeCandles) -> None:
    own, other = pair(make_candles)
    both = joined(own, other)
    assert len(both) == len(own) + len(other)
    assert both.feature_names == own.feature_names
    assert both.panel.coins == ("bitcoin", "ethereum", "sample:bitcoin")
    np.testing.assert_allclose(np.exp(both.panel.log_close[both.position]), both.price)
    np.testing.assert_array_equal(both.panel.close_time[both.position], both.issued_at)
    np.testing.assert_array_equal(both.panel.coin[both.position], both.coin)
    later = both.rows(both.coin == 2)
    np.testing.assert_array_equal(later.features, other.features[:, ::-1])
    for coin in range(3):
        begin, end = both.panel.start[coin : coin + 2]
        assert set(both.panel.coin[begin:end].tolist()) == {coin}


def test_a_fit_knows_no_label_that_ends_behind_its_last_own_row(make_candles: MakeCandles) -> None:
    own, other = pair(make_candles)
    listens = Listens()
    moment = int(own.issued_at[60])
    PooledLearner(listens, other).fit(own.known_at(moment), stop=None, rounds=None, seed=1, run=FitRun())
    (seen,) = listens.seen
    assert (seen.coin == 2).any()
    assert seen.issued_at.max() <= moment
    assert np.where(np.isfinite(seen.returns), seen.label_end, 0).max() <= moment
    later = other.rows(other.issued_at > moment)
    changed = replace(other, returns=np.where(other.label_end > moment, 9.0, other.returns))
    assert len(later)
    PooledLearner(listens, changed).fit(own.known_at(moment), stop=None, rounds=None, seed=1, run=FitRun())
    np.testing.assert_array_equal(listens.seen[1].returns, seen.returns)


def test_a_coin_is_never_joined_to_itself(make_candles: MakeCandles) -> None:
    own, other = pair(make_candles)
    with pytest.raises(ValueError, match="never spliced"):
        joined(own, own)
    with pytest.raises(ValueError, match="different bars or horizons"):
        joined(own, replace(other, horizons=np.array([1, 8])))
    with pytest.raises(ValueError, match="lack ret_1"):
        joined(own, replace(other, feature_names=("vol_7", "ret_2")))


def test_features_are_chosen_on_the_own_rows_and_the_model_forecasts_them(make_candles: MakeCandles) -> None:
    own, other = pair(make_candles)
    trees = LightGBMLearner(LightGBMConfig(rounds=10, next_bar_rounds=10, min_data_in_leaf=20))
    alone = SelectiveLearner(trees, 0.999)
    helped = with_help(alone, other)
    assert isinstance(helped, SelectiveLearner)
    assert isinstance(helped.inner, PooledLearner)
    assert (helped.kind, helped.calibrate) == ("lightgbm", True)
    fits = [one.fit(own, stop=None, rounds=None, seed=1, run=FitRun()).predict(own) for one in (alone, helped)]
    assert len(fits[1]) == len(own)
    assert not np.array_equal(fits[0].values, fits[1].values)


def test_without_help_or_without_learning_nothing_changes(make_candles: MakeCandles) -> None:
    baseline = BaselineLearner()
    assert with_help(baseline, pair(make_candles)[1]) is baseline
    trees = LightGBMLearner()
    assert with_help(trees, None) is trees
