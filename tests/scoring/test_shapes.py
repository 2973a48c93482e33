"""What scoring refuses, and what it says of it."""

import numpy as np
import pytest

from cryptocast.scoring.shapes import require_levels, require_numbers, require_same_shape


def test_arrays_of_one_length_pass_and_others_are_named_with_their_shapes() -> None:
    require_same_shape(a=np.zeros(3), b=np.ones(3, dtype=np.bool_))
    with pytest.raises(ValueError, match=r"a \(3,\), b \(2,\)"):
        require_same_shape(a=np.zeros(3), b=np.zeros(2))
    with pytest.raises(ValueError, match=r"a \(3, 1\)"):
        require_same_shape(a=np.zeros((3, 1)), b=np.zeros((3, 1)))


def test_missing_numbers_are_counted() -> None:
    require_numbers(a=np.zeros(2), b=np.array([np.inf]))
    with pytest.raises(ValueError, match="b has 2 NaN of 3"):
        require_numbers(a=np.zeros(2), b=np.array([np.nan, 1.0, np.nan]))


@pytest.mark.parametrize("levels", [[], [0.0, 0.5], [0.5, 1.0], [0.5, 0.5], [0.6, 0.4], [[0.5]]])
def test_levels_increase_inside_the_unit_interval(levels: list[float]) -> None:
    with pytest.raises(ValueError, match="levels"):
        require_levels(np.array(levels))
    require_levels(np.array([0.1, 0.5]))
