import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cryptocast.arrays import FloatArray
from cryptocast.scoring.multiple import holm

p_values = hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(0.0, 1.0))


def test_it_comes_out_as_by_hand() -> None:
    # Sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 * 1 raised to the one before.
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


@given(p_values)
def test_it_rejects_what_the_step_down_procedure_rejects(p: FloatArray) -> None:
    # The procedure as Holm states it: compare the smallest p with alpha / m, the next with alpha / (m - 1), stop at the
    # first that fails. A p's adjusted value is the smallest alpha that still rejects it.
    adjusted = holm(p)
    for alpha in (0.01, 0.05, 0.3):
        rejected: set[int] = set()
        for rank, index in enumerate(np.argsort(p, kind="stable").tolist()):
            if p[index] * (p.size - rank) > alpha:
                break
            rejected.add(index)
        assert set(np.flatnonzero(adjusted <= alpha).tolist()) == rejected


@given(p_values)
def test_it_never_lowers_a_p_and_keeps_their_order(p: FloatArray) -> None:
    adjusted = holm(p)
    assert ((p <= adjusted) & (adjusted <= np.minimum(1.0, p * p.size * (1 + 1e-12)))).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0.0).all()


@given(p_values, st.floats(0.0, 1.0))
def test_looking_at_one_more_never_helps(p: FloatArray, other: float) -> None:
    assert (holm(np.append(p, other))[:-1] >= holm(p)).all()


@given(p_values, st.integers(0, 1000))
def test_the_order_given_does_not_matter(p: FloatArray, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(p.size)
    np.testing.assert_array_equal(holm(p[order]), holm(p)[order])


def test_tests_that_were_not_made_are_not_counted() -> None:
    adjusted = holm(np.array([0.01, math.nan, 0.04]))
    np.testing.assert_allclose(adjusted, [0.02, math.nan, 0.04])
    assert holm(np.array([])).size == 0


@pytest.mark.parametrize("p", [[-0.1], [1.1]])
def test_what_is_no_probability_is_refused(p: list[float]) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm(np.array(p))
