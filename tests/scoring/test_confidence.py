"""The confidence of a forecast: of those with confidence c, a share c comes true."""

import numpy as np
import pytest

from cryptocast.scoring.confidence import confidence, confidence_reliability


def _simulated(n: int, *, strength: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    true = rng.uniform(0.3, 0.7, n)
    size = np.abs(rng.normal(size=n)) + 1e-6
    returns = np.where(rng.random(n) < true, size, -size)
    return 0.5 + strength * (true - 0.5), returns, np.arange(n, dtype=np.int64)


def test_confidence_is_the_probability_of_the_likelier_direction() -> None:
    np.testing.assert_allclose(confidence(np.array([0.0, 0.3, 0.5, 0.9])), [1.0, 0.7, 0.5, 0.9])


def test_of_forecasts_with_a_true_confidence_that_share_comes_true() -> None:
    p_up, returns, dates = _simulated(20_000, strength=1.0)
    found = confidence_reliability(p_up, returns, dates, k=1)
    assert sum(part.n for part in found.bins) == 20_000
    for part in found.bins:
        assert part.observed == pytest.approx(part.stated, abs=0.02)


def test_too_much_confidence_is_seen() -> None:
    p_up, returns, dates = _simulated(20_000, strength=2.0)
    highest = confidence_reliability(p_up, returns, dates, k=1).bins[-1]
    assert highest.stated > highest.upper


def test_forecasts_without_a_view_or_an_outcome_or_a_move_are_not_counted() -> None:
    p_up, returns = np.array([0.5, 0.6, 0.6, 0.6]), np.array([0.1, np.nan, 0.0, 0.2])
    found = confidence_reliability(p_up, returns, np.arange(4, dtype=np.int64), k=1)
    (part,) = found.bins
    assert (part.n, part.observed) == (1, 1.0)
    assert confidence_reliability(p_up[:1], returns[:1], np.arange(1, dtype=np.int64), k=1).bins == ()


@pytest.mark.parametrize("p_up", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(p_up: float) -> None:
    with pytest.raises(ValueError, match=r"outside|NaN|finite"):
        confidence(np.array([p_up]))
