"""Fits see their training rows only: proven on the real paths, and caught where a path or a transform peeks."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cryptocast.data.schema import BAR_US
from cryptocast.evaluation.fit_audit import FitPath, FitTrial, Witness, audit_fits
from cryptocast.features.audit import AuditCheck
from cryptocast.features.builder import add_features, select_features
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.base import FitRun, Forecaster, Learner, Rounds
from cryptocast.models.fitting import fit_in_time
from cryptocast.models.selective import SelectiveLearner
from tests.conftest import simulated_candles

NAMES = ("ret_7", "vol_30", "vol_ratio_7_30", "rsi_14")


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    candles = simulated_candles(("bitcoin", "ethereum"), bars=420)
    table = add_features(candles.lazy(), select_features(NAMES), bar_us=BAR_US["daily"]).collect()
    return build_matrix(table, NAMES, horizons=(1, 7), bar_us=BAR_US["daily"])


def hold_out(matrix: Matrix, learner: Learner) -> FitTrial:
    made = fit_in_time(learner, matrix, fit=0.7, stop=0.15, block_count=3, least_blocks=12, seed=1, run=FitRun())
    return FitTrial(made.test_start, made.hold_out.row, made.hold_out.forecast)


def one_fit(matrix: Matrix, learner: Learner, *, known: Matrix, test_start: int) -> FitTrial:
    """Fit on some rows, test on those behind a moment."""
    row = np.flatnonzero(matrix.issued_at >= test_start).astype(np.int64)
    model = learner.fit(known, stop=None, rounds=None, seed=1, run=FitRun())
    return FitTrial(test_start, row, model.predict(matrix.rows(row)))


def start_of(matrix: Matrix) -> int:
    return int(np.quantile(matrix.issued_at, 0.8, method="lower"))


def found(path: FitPath, matrix: Matrix, **options: object) -> list[str]:
    checks = audit_fits(matrix, {"trial": path}, seed=1, **options)  # type: ignore[arg-type]
    return [check.name for check in checks if check.found]


def test_the_path_of_a_training_sees_its_training_rows_only(matrix: Matrix) -> None:
    wrap = lambda learner: SelectiveLearner(learner, 0.999)  # noqa: E731
    fitted, folds = audit_fits(matrix, {"hold-out": hold_out}, seed=1, wrap=wrap)
    assert (fitted.ran, fitted.found, folds.ran, folds.found) == (True, 0, True, 0)
    assert fitted.cells > 100
    assert folds.cells == 4  # the test, and three blocks out of fold


def test_an_honest_single_fit_is_left_alone(matrix: Matrix) -> None:
    def path(rows: Matrix, learner: Learner) -> FitTrial:
        start = start_of(rows)
        return one_fit(rows, learner, known=rows.known_at(start), test_start=start)

    assert found(path, matrix) == []


def test_a_fit_on_the_test_rows_is_found(matrix: Matrix) -> None:
    def path(rows: Matrix, learner: Learner) -> FitTrial:
        return one_fit(rows, learner, known=rows, test_start=start_of(rows))

    assert found(path, matrix) == ["fitted", "folds"]


def test_labels_that_were_not_purged_are_found(matrix: Matrix) -> None:
    def path(rows: Matrix, learner: Learner) -> FitTrial:
        start = start_of(rows)
        return one_fit(rows, learner, known=rows.rows(rows.issued_at < start), test_start=start)

    assert found(path, matrix) == ["fitted", "folds"]


def test_a_scaler_that_was_fitted_on_everything_is_found(matrix: Matrix) -> None:
    def path(rows: Matrix, learner: Learner) -> FitTrial:
        scaled = (rows.features - np.nanmean(rows.features, axis=0)) / np.nanstd(rows.features, axis=0)
        start = start_of(rows)
        return one_fit(rows, learner, known=replace(rows, features=scaled).known_at(start), test_start=start)

    checks = audit_fits(matrix, {"trial": path}, seed=1)
    assert [check.name for check in checks if check.found] == ["fitted"]
    finding = checks[0].findings[0]
    assert finding.feature.startswith("trial forecast, 1 bars ahead, level 0.025")
    assert finding.coin in {"bitcoin", "ethereum"}
    assert finding.value_with != finding.value_without


@dataclass(frozen=True, slots=True)
class Peeking:
    """Chooses its columns by what went with the outcome, the test's included."""

    inner: Learner
    everything: Matrix

    @property
    def kind(self) -> str:
        return self.inner.kind

    @property
    def calibrate(self) -> bool:
        return self.inner.calibrate

    def fit(self, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun) -> Forecaster:
        label = np.nan_to_num(self.everything.returns[:, 0])
        strength = np.abs(np.nan_to_num(self.everything.features).T @ label)
        keep = np.argsort(strength)[-2:]
        names = tuple(train.feature_names[column] for column in keep)
        spared = replace(train, features=train.features[:, keep], feature_names=names)
        return self.inner.fit(spared, stop=None, rounds=rounds, seed=seed, run=run)


def test_a_choice_of_features_by_the_whole_series_is_found(matrix: Matrix) -> None:
    def path(rows: Matrix, learner: Learner) -> FitTrial:
        start = start_of(rows)
        return one_fit(rows, Peeking(learner, rows), known=rows.known_at(start), test_start=start)

    assert found(path, matrix) == ["fitted"]


def test_a_calibration_by_the_test_is_found(matrix: Matrix) -> None:
    def path(rows: Matrix, learner: Learner) -> FitTrial:
        start = start_of(rows)
        honest = one_fit(rows, learner, known=rows.known_at(start), test_start=start)
        off = float(np.nanmean(np.abs(rows.returns[honest.row])))
        return replace(honest, forecast=replace(honest.forecast, values=honest.forecast.values + off))

    assert found(path, matrix) == ["fitted"]


def test_too_little_to_fit_on_is_said(matrix: Matrix) -> None:
    few = matrix.rows(np.arange(3))
    fitted, folds = audit_fits(few, {"hold-out": hold_out}, seed=1)
    assert isinstance(fitted, AuditCheck)
    assert not fitted.ran
    assert not folds.ran
    assert fitted.not_run[0].startswith("hold-out: 3 bars")


def test_the_witness_depends_on_every_value(matrix: Matrix) -> None:
    def scale(rows: Matrix) -> float:
        fit = Witness().fit(rows, stop=None, rounds=None, seed=1, run=FitRun())
        return float(fit.predict(rows).volatility[0, 0])

    base = scale(matrix)
    for name in ("features", "returns", "variance", "freedom"):
        values = getattr(matrix, name).copy()
        values[17, 0] = np.nextafter(values[17, 0], np.inf)
        assert scale(replace(matrix, **{name: values})) != base, name
