import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cryptocast.arrays import FloatArray
from cryptocast.scoring.moments import cosine_terms, cosine_weights, means_by_date, zero_means


def overlapping(rng: np.random.Generator, n: int, k: int, columns: int) -> FloatArray:
    total = np.concatenate((np.zeros((1, columns)), rng.standard_normal((n + k - 1, columns)).cumsum(axis=0)))
    difference: FloatArray = total[k:] - total[:-k]
    return difference


def test_one_moment_is_a_t_test_with_as_many_degrees_as_cosines() -> None:
    x = np.random.default_rng(1).standard_normal(200) + 0.1
    result = zero_means(x[:, None], 1)
    # Lazarus, Lewis, Stock and Watson (2018), by the definition: cosines one by one.
    terms = int(0.4 * 200 ** (2 / 3))
    squares = [
        (math.sqrt(2 / 200) * sum(x[t] * math.cos(math.pi * j * (t + 0.5) / 200) for t in range(200))) ** 2
        for j in range(1, terms + 1)
    ]
    t = x.mean() / math.sqrt(np.mean(squares) / 200)
    assert result.terms == terms == 13
    assert result.statistic == pytest.approx(t**2)
    assert result.p == pytest.approx(2 * stats.t.sf(abs(t), terms))


def test_the_cosines_are_orthonormal_and_ignore_the_mean() -> None:
    weights = cosine_weights(50, 9)
    np.testing.assert_allclose(weights.T @ weights, np.eye(9), atol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=0), 0.0, atol=1e-12)


def test_mixing_the_moments_does_not_change_the_answer() -> None:
    rng = np.random.default_rng(2)
    moments = overlapping(rng, 300, 3, 3) + 0.2
    mixed = moments @ rng.standard_normal((3, 3)) * 1e-6
    a, b = zero_means(moments, 3), zero_means(mixed, 3)
    assert a.p == pytest.approx(b.p, rel=1e-8)


def test_overlap_leaves_fewer_cosines() -> None:
    assert cosine_terms(300, 1) == 17
    assert cosine_terms(300, 30) == 5
    assert cosine_terms(3, 30) == 1


def test_its_size_on_overlapping_moments_is_about_five_percent() -> None:
    rng = np.random.default_rng(3)
    p = np.array([zero_means(overlapping(rng, 300, 7, 2), 7).p for _ in range(1_500)], dtype=np.float64)
    assert 0.03 < (p < 0.05).mean() < 0.08


def test_it_says_nothing_where_nothing_can_be_said() -> None:
    rng = np.random.default_rng(4)
    few, constant = rng.standard_normal((20, 3)), np.ones((200, 1))
    twice = np.repeat(rng.standard_normal((200, 1)), 2, axis=1)
    for moments in (few, constant, twice):
        result = zero_means(moments, 1)
        assert (result.statistic, result.p) == (None, None)
        assert len(result.means) == moments.shape[1]


@given(st.integers(1, 400), st.integers(1, 50))
def test_there_is_always_a_cosine_and_never_more_than_half_the_independent_labels(n: int, k: int) -> None:
    assert 1 <= cosine_terms(n, k) <= max(1, n / (2 * k))


def test_coins_of_a_date_are_averaged() -> None:
    dates, means = means_by_date(np.array([[1.0, 2.0], [3.0, 6.0], [5.0, 0.0]]), np.array([7, 7, 3]))
    assert dates.tolist() == [3, 7]
    assert means.tolist() == [[5.0, 0.0], [2.0, 4.0]]


def test_wrong_shapes_and_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="expected finite"):
        zero_means(np.array([[math.nan]]), 1)
    with pytest.raises(ValueError, match="expected"):
        zero_means(np.zeros(3), 1)
    with pytest.raises(ValueError, match="1 or more"):
        cosine_terms(0, 1)
    with pytest.raises(ValueError, match="cosines"):
        cosine_weights(3, 3)
    with pytest.raises(ValueError, match="expected"):
        means_by_date(np.zeros((3, 1)), np.zeros(2, dtype=np.int64))
