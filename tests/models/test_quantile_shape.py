"""Symmetric quantiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cryptocast.models.quantile_shape import student_quantiles, student_shapes, symmetric_quantiles
from cryptocast.scoring.quantiles import LEVELS

samples = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-50, 50))


@given(samples)
def test_quantiles_mirror_each_other_and_do_not_cross(sample: np.ndarray) -> None:
    quantiles = symmetric_quantiles(sample)
    np.testing.assert_allclose(quantiles, -quantiles[::-1], atol=1e-12)
    assert (np.diff(quantiles) >= 0).all()
    assert quantiles[len(LEVELS) // 2] == 0


@given(samples)
def test_the_sign_of_what_happened_does_not_matter(sample: np.ndarray) -> None:
    np.testing.assert_array_equal(symmetric_quantiles(sample), symmetric_quantiles(-sample))


def test_a_large_normal_sample_gives_normal_quantiles() -> None:
    from scipy.special import ndtri

    sample = np.random.default_rng(1).standard_normal(200_000)
    np.testing.assert_allclose(symmetric_quantiles(sample), ndtri(LEVELS), atol=0.015)


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        symmetric_quantiles(np.array([]))
    with pytest.raises(ValueError, match="finite"):
        symmetric_quantiles(np.array([1.0, np.nan]))


def test_the_prior_shape_is_a_student_t_of_variance_one() -> None:
    # 97.5 % quantile of t with 5 degrees of freedom, 2.570582 (any table), times sqrt(3 / 5).
    assert student_quantiles()[-1] == pytest.approx(2.5705818366 * np.sqrt(0.6), rel=1e-9)
    assert student_quantiles()[len(LEVELS) // 2] == 0


@given(st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_the_quantiles_are_numpys_own_to_the_last_bit(count: int, seed: int) -> None:
    sample = np.random.default_rng(seed).standard_t(4, count)
    expected = np.quantile(np.abs(sample), np.abs(2.0 * LEVELS - 1.0), method="weibull")
    np.testing.assert_array_equal(np.abs(symmetric_quantiles(sample)), np.where(LEVELS == 0.5, 0.0, expected))


@given(st.lists(st.floats(0.5, 0.999), min_size=1, max_size=5), st.lists(st.floats(2.4, 100.0), min_size=1, max_size=3))
def test_shapes_of_any_freedom_are_scipys(upper: list[float], freedom: list[float]) -> None:
    from scipy.special import stdtrit

    levels, each = np.array(upper), np.array(freedom)
    levels = np.sort(np.concatenate([levels, 1.0 - levels]))
    expected = stdtrit(each[:, None], levels) * np.sqrt((each[:, None] - 2.0) / each[:, None])
    np.testing.assert_allclose(student_shapes(levels, each), expected, rtol=1e-9, atol=1e-9)


def test_the_prior_that_is_written_down_is_the_computed_one() -> None:
    np.testing.assert_allclose(student_quantiles(), student_quantiles(LEVELS.copy()), rtol=1e-11)
    assert not student_quantiles().flags.writeable
