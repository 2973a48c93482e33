import math

import numpy as np
import pytest
from scipy import stats

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.scoring.diebold_mariano import diebold_mariano
from cryptocast.scoring.skill import noncentrality, skill, smallest_effect


def days(n: int) -> Int64Array:
    return np.arange(n, dtype=np.int64) * 86_400_000_000


def pair(rng: np.random.Generator, n: int, k: int, better: float) -> tuple[FloatArray, FloatArray]:
    """Two overlapping losses; the mean of the first is lower by the share `better`."""
    total = np.concatenate((np.zeros((1, 2)), rng.standard_normal((n + k - 1, 2)).cumsum(axis=0)))
    errors = (total[k:] - total[:-k]) ** 2 / k
    return errors[:, 0] * (1.0 - better), errors[:, 1]


@pytest.mark.parametrize("k", [1, 7])
def test_the_interval_holds_zero_exactly_where_the_test_does_not_reject(k: int) -> None:
    rng = np.random.default_rng(k)
    seen = set()
    for _ in range(150):
        a, b = pair(rng, 120, k, 0.3)
        result = skill(a, b, days(120), horizon=k, step=1)
        p = diebold_mariano(a, b, days(120), horizon=k, step=1)
        assert p.p_two_sided is not None
        if p.kernel == "rectangular" and result.lower is not None and result.upper is not None:
            assert (result.lower <= 0.0 <= result.upper) == (p.p_two_sided >= 0.05)
            seen.add(p.p_two_sided >= 0.05)
    assert seen == {True, False}


def test_the_ends_are_where_the_rescaled_reference_is_just_not_rejected() -> None:
    a, b = pair(np.random.default_rng(3), 400, 7, 0.1)
    result = skill(a, b, days(400), horizon=7, step=1)
    assert result.lower is not None
    assert result.upper is not None
    assert result.value == pytest.approx(1 - a.mean() / b.mean())
    for end in (result.lower, result.upper):
        p = diebold_mariano(a, (1 - end) * b, days(400), horizon=7, step=1).p_two_sided
        assert p == pytest.approx(0.05, rel=1e-6)


@pytest.mark.slow
def test_the_interval_covers_the_true_skill() -> None:
    rng = np.random.default_rng(4)
    inside = 0
    for _ in range(2_000):
        a, b = pair(rng, 350, 7, 0.2)
        result = skill(a, b, days(350), horizon=7, step=1)
        assert result.lower is not None
        assert result.upper is not None
        inside += result.lower <= 0.2 <= result.upper
    assert 0.92 < inside / 2_000 < 0.97


def test_too_few_origins_leave_the_value_without_an_interval() -> None:
    a, b = pair(np.random.default_rng(5), 60, 7, 0.2)
    result = skill(a, b, days(60), horizon=7, step=1)
    assert (result.lower, result.upper, result.n, result.k) == (None, None, 60, 7)
    assert result.value is not None


def test_a_reference_without_loss_has_no_skill_to_measure() -> None:
    assert skill(np.ones(30), np.zeros(30), days(30), horizon=1, step=1).value is None
    assert skill(np.empty(0), np.empty(0), days(0), horizon=1, step=1).value is None
    assert smallest_effect(np.ones(30), np.zeros(30), days(30), horizon=1, step=1).skill is None


def test_a_reference_that_may_be_nothing_leaves_every_skill_possible() -> None:
    b = np.zeros(40)
    b[0] = 1.0
    result = skill(np.random.default_rng(6).random(40), b, days(40), horizon=1, step=1)
    assert (result.lower, result.upper) == (None, None)


def test_a_missing_loss_drops_the_pair() -> None:
    a, b = pair(np.random.default_rng(7), 100, 1, 0.2)
    expected = skill(a[1:], b[1:], days(100)[1:], horizon=1, step=1)
    a[0] = math.nan
    assert skill(a, b, days(100), horizon=1, step=1) == expected


def test_the_noncentral_t_gives_the_power_that_was_asked_for() -> None:
    for degrees, alpha, power in ((9.0, 0.05, 0.8), (9.0, 0.001, 0.8), (500.0, 0.05, 0.95), (99.0, 0.05, 0.04)):
        shift = noncentrality(degrees, alpha, power)
        critical = stats.t.isf(alpha, degrees)
        reached = stats.nct.sf(critical, degrees, shift) if shift > 1e-12 else alpha
        assert reached == pytest.approx(max(power, alpha), rel=1e-6)
    # Many degrees: the two quantiles of the Gaussian added.
    assert noncentrality(1e6, 0.05, 0.8) == pytest.approx(1.6449 + 0.8416, abs=1e-3)


def test_the_smallest_effect_is_found_as_often_as_it_says() -> None:
    rng = np.random.default_rng(8)
    n, found, told = 150, 0, []
    for _ in range(600):
        a, b = rng.standard_normal(n) ** 2, rng.standard_normal(n) ** 2
        effect = smallest_effect(a, b, days(n), horizon=1, step=1)
        assert effect.difference is not None
        told.append(effect.difference)
        # The true one: 2.486 standard errors of a difference with variance 4.
        p = diebold_mariano(a - 2.4863 * math.sqrt(4 / n), b, days(n), horizon=1, step=1).p_better
        assert p is not None
        found += p < 0.05
    assert np.median(told) == pytest.approx(2.4863 * math.sqrt(4 / n), rel=0.05)
    assert 0.75 < found / 600 < 0.85


def test_a_longer_table_and_fewer_data_need_a_larger_effect() -> None:
    a, b = pair(np.random.default_rng(9), 400, 7, 0.0)
    sizes = [
        smallest_effect(a[:n], b[:n], days(n), horizon=7, step=1, tests=tests).skill
        for n, tests in ((400, 1), (400, 20), (100, 20))
    ]
    assert None not in sizes
    assert sizes == sorted(sizes, key=lambda size: size or 0.0)
    assert smallest_effect(a[:60], b[:60], days(60), horizon=7, step=1).difference is None
    assert smallest_effect(a, a, days(400), horizon=7, step=1).difference is None


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        skill(np.ones(3), np.ones(3), days(3), horizon=1, step=1, alpha=1.0)
    for tests, alpha, power in ((0, 0.05, 0.8), (1, 0.0, 0.8), (1, 0.05, 1.0)):
        with pytest.raises(ValueError, match="tests"):
            smallest_effect(np.ones(3), np.ones(3), days(3), horizon=1, step=1, tests=tests, alpha=alpha, power=power)
