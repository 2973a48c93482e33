"""How much likelier each member is to be the best in a regime than in all of them."""

import numpy as np

from cryptocast.models.stacking_meta import regime_odds


def test_odds_are_even_where_regimes_tell_nothing() -> None:
    np.testing.assert_allclose(regime_odds(np.full((3, 4), 50.0)), 1.0, atol=1e-3)
    np.testing.assert_array_equal(regime_odds(np.zeros((3, 2))), 1.0)


def test_a_member_that_is_the_best_in_one_regime_has_higher_odds_there_and_lower_elsewhere() -> None:
    odds = regime_odds(np.array([[300.0, 300.0], [300.0, 300.0], [550.0, 50.0]]))
    assert odds[2, 0] > 1.2 > 1.0 > odds[0, 0]
    assert odds[2, 1] < 1.0 < odds[0, 1]
    weak = regime_odds(np.array([[3.0, 3.0], [3.0, 3.0], [5.5, 0.5]]))
    assert 1.0 < weak[2, 0] < odds[2, 0]
