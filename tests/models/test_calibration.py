"""Conformal calibration on forecasts whose fault is known."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from cryptocast.errors import ModelError
from cryptocast.models.artefacts import from_json, to_json
from cryptocast.models.base import Forecast
from cryptocast.models.calibration import Calibration, fit_calibration
from cryptocast.models.quantile_shape import student_quantiles
from cryptocast.scoring.quantiles import LEVELS, interval_columns

DAY_US = 86_400_000_000
N = 4_000


def _forecast(n: int = N, width: float = 1.0, horizons: tuple[int, ...] = (1, 7)) -> tuple[Forecast, np.ndarray]:
    """Gaussian returns whose volatility is known, forecast `width` times too wide with the wrong shape."""
    rng = np.random.default_rng(3)
    volatility = 0.03 * np.exp(0.5 * rng.standard_normal((n, len(horizons))))
    returns = volatility * rng.standard_normal(volatility.shape)
    made = Forecast(
        coin=np.array(["bitcoin"] * n),
        issued_at=np.arange(n, dtype=np.int64) * DAY_US,
        price=np.ones(n),
        horizons=np.array(horizons, dtype=np.int64),
        levels=LEVELS,
        values=width * volatility[:, :, None] * student_quantiles(),
        volatility=volatility,
        p_up=np.full(volatility.shape, 0.5),
    )
    return made, returns


@pytest.mark.parametrize("width", [0.3, 1.0, 3.0])
def test_a_forecast_that_is_too_narrow_or_too_wide_is_put_right(width: float) -> None:
    made, returns = _forecast(width=width)
    fresh = np.arange(N) >= N // 2
    calibration = fit_calibration(made.rows(~fresh), returns[~fresh], bar_us=DAY_US)
    right = calibration.apply(made.rows(fresh))
    for percent in (80, 90, 95):
        lower, upper = interval_columns(LEVELS, percent)
        inside = (right.values[..., lower] <= returns[fresh]) & (returns[fresh] <= right.values[..., upper])
        assert inside.mean() == pytest.approx(percent / 100, abs=0.025)


def test_no_drift_enters_through_the_calibration() -> None:
    made, returns = _forecast()
    calibration = fit_calibration(made, returns + 0.01, bar_us=DAY_US)
    moved = calibration.apply(made)
    np.testing.assert_allclose(moved.values[..., len(LEVELS) // 2], 0.0, atol=1e-12)
    np.testing.assert_allclose(calibration.offsets, -calibration.offsets[:, ::-1], atol=1e-12)


def test_few_independent_blocks_move_the_quantiles_less() -> None:
    made, returns = _forecast(n=80, width=0.3, horizons=(1, 30))
    few = fit_calibration(made, returns, bar_us=DAY_US)
    assert few.blocks.tolist() == [80.0, pytest.approx(80 / 30)]
    same_scores = fit_calibration(replace(made, horizons=np.array([1, 2], dtype=np.int64)), returns, bar_us=DAY_US)
    ratio = np.abs(few.offsets[1, 0] / same_scores.offsets[1, 0])
    assert ratio == pytest.approx((80 / 30) / (80 / 30 + 2) / (40 / 42))


def test_outcomes_that_are_not_known_yet_do_not_count() -> None:
    made, returns = _forecast()
    known = returns.copy()
    known[N // 2 :] = np.nan
    half = fit_calibration(made.rows(np.arange(N // 2)), returns[: N // 2], bar_us=DAY_US)
    np.testing.assert_array_equal(fit_calibration(made, known, bar_us=DAY_US).offsets, half.offsets)


def test_all_days_count_and_of_shorter_bars_the_recent_ones() -> None:
    made, returns = _forecast(horizons=(1, 200))
    old = made.issued_at <= made.issued_at.max() - 2_000 * DAY_US
    changed = np.where(old[:, None], 10 * returns, returns)
    one, other = (fit_calibration(made, r, bar_us=DAY_US) for r in (returns, changed))
    assert (one.offsets[:, 0] != other.offsets[:, 0]).all()
    hourly = replace(made, issued_at=made.issued_at // 24)
    one, other = (fit_calibration(hourly, r, bar_us=DAY_US // 24) for r in (returns, changed))
    np.testing.assert_array_equal(one.offsets[0], other.offsets[0])
    assert not np.array_equal(one.offsets[1], other.offsets[1]), "a long horizon keeps 24 blocks, here all bars"


def test_it_reads_back_as_it_was_written() -> None:
    calibration = fit_calibration(*_forecast(), bar_us=DAY_US)
    again = from_json({"c": to_json(calibration)}, "c", Calibration, "calibration")
    np.testing.assert_array_equal(again.offsets, calibration.offsets)
    assert to_json(again) == to_json(calibration)
    with pytest.raises(ModelError, match="cannot be read"):
        from_json({"c": to_json(calibration)[:-5]}, "c", Calibration, "calibration")


def test_horizons_that_were_not_calibrated_are_refused() -> None:
    made, returns = _forecast()
    calibration = fit_calibration(made, returns, bar_us=DAY_US)
    with pytest.raises(ModelError, match="Calibrated for"):
        calibration.apply(replace(made, horizons=np.array([1, 14], dtype=np.int64)))


def test_crossing_quantiles_are_sorted() -> None:
    made, returns = _forecast()
    calibration = fit_calibration(made, returns, bar_us=DAY_US)
    wild = msgspec.structs.replace(calibration, offsets=-10 * np.sort(np.abs(calibration.offsets), axis=1) - 5 * LEVELS)
    assert (np.diff(wild.apply(made).values, axis=-1) >= 0).all()
