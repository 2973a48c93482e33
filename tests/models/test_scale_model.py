"""A view is taken from the stop block or from the rounds, and forecasts move with it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from cryptocast.arrays import FloatArray
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Rounds
from cryptocast.models.baseline import no_view_forecast
from cryptocast.models.labels import standardised_returns
from cryptocast.models.scale_model import ScaleModel, located, shrinkage_of
from cryptocast.models.student_mixture import mixed


@dataclass(frozen=True, slots=True, eq=False)
class Unmoved(ScaleModel):
    """Corrects nothing, and reads the features."""

    def log_scale(self, rows: Matrix) -> FloatArray:
        return np.zeros((len(rows), len(self.horizons)))

    def read(self, rows: Matrix) -> Sequence[FloatArray]:
        return [rows.features]


@pytest.fixture(scope="module")
def parts(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Rows to learn from and to judge by, whose first feature tells half of the next bar's return."""
    returns, noise = matrix.returns.copy(), np.random.default_rng(3).normal(size=len(matrix))
    signal = np.nan_to_num(returns[:, 0] / matrix.volatility[:, 0]) + noise
    features = np.column_stack([signal, matrix.features[:, 1:]])
    planted = replace(matrix, features=features)
    cut = int(np.quantile(planted.issued_at, 0.6))
    return planted.known_at(cut), planted.rows(planted.issued_at > cut)


def viewed(train: Matrix, *, stop: Matrix | None, rounds: Rounds | None) -> Unmoved:
    count, share = len(train.horizons), shrinkage_of(train)
    model = Unmoved(horizons=train.horizons, shrinkage=share, penalties=(0,) * count, views=())
    return model.with_view([train.features], standardised_returns(train), stop=stop, rounds=rounds, share=share)


def test_the_stop_block_decides_and_its_penalties_are_repeated(parts: tuple[Matrix, Matrix]) -> None:
    train, stop = parts
    found = viewed(train, stop=stop, rounds=None)
    assert found.penalties[0] > 0
    again = viewed(train, stop=None, rounds=Rounds(penalties=found.penalties))
    assert again.penalties == found.penalties
    np.testing.assert_array_equal(again.views[0].weights, found.views[0].weights)


def test_without_a_stop_block_and_penalties_there_is_no_view(parts: tuple[Matrix, Matrix]) -> None:
    for rounds in (None, Rounds(), Rounds(counts=(3,), penalties=(0, 0, 0, 0))):
        assert viewed(parts[0], stop=None, rounds=rounds).views == ()


def test_a_signal_that_is_none_is_no_view(parts: tuple[Matrix, Matrix]) -> None:
    train, stop = (replace(part, features=part.features[:, 1:], feature_names=part.feature_names[1:]) for part in parts)
    assert viewed(train, stop=stop, rounds=None).views == ()


def test_the_median_is_at_the_location_and_at_the_last_price_where_there_is_none(matrix: Matrix) -> None:
    zero = np.zeros(matrix.volatility.shape)
    mixture = mixed(zero, zero)
    location = zero.copy()
    location[:, 0] = 0.3
    made = located(matrix, mixture, location)
    middle = len(made.levels) // 2
    np.testing.assert_allclose(made.values[:, 0, middle], 0.3 * matrix.volatility[:, 0])
    assert (made.p_up[:, 0] > 0.5).all()
    plain = no_view_forecast(matrix, matrix.volatility * mixture.deviation, mixture.shape)
    np.testing.assert_array_equal(made.values[:, 1:], plain.values[:, 1:])
    np.testing.assert_array_equal(made.p_up[:, 1:], plain.p_up[:, 1:])
