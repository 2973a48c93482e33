"""The confidence of a forecast is the probability of the likelier direction."""

import numpy as np
import pytest

from cryptocast.scoring.confidence import confidence


def test_confidence_is_the_probability_of_the_likelier_direction() -> None:
    np.testing.assert_allclose(confidence(np.array([0.0, 0.3, 0.5, 0.9])), [1.0, 0.7, 0.5, 0.9])


@pytest.mark.parametrize("p_up", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(p_up: float) -> None:
    with pytest.raises(ValueError, match=r"outside|NaN|finite"):
        confidence(np.array([p_up]))
