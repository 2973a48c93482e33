"""Proof that fits see their training rows only: the real path of a fit, walked by a stand-in that remembers everything.

Whatever is fitted on the way (the choice of features, early stopping, out-of-fold forecasts, calibration, the baseline)
is under test, because the path itself is run, twice: on the rows as they are, and with everything behind a moment
replaced by noise.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Self, TypeAlias

import numpy as np

from cryptocast.arrays import Int64Array
from cryptocast.errors import DataError, ModelError
from cryptocast.features.audit import AuditCheck, AuditFinding, Differences, check_not_run, check_of
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Artefacts, FitRun, Forecast, Learner, Rounds
from cryptocast.models.baseline import horizon_columns, no_view_forecast
from cryptocast.models.quantile_shape import student_quantiles
from cryptocast.times import as_datetime

FITTED: Final = "the same forecasts by all that is fitted before a test, when test rows and later labels are noise"
FOLDS: Final = "every label that a fit saw had ended before the first row that it forecast"
FINDINGS: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class FitTrial:
    """Forecasts (m) by fits that were made at a moment (microseconds), and their rows (m,) in the matrix."""

    moment: int
    row: Int64Array
    forecast: Forecast


# From a matrix and a learner to the forecasts of one test.
FitPath: TypeAlias = Callable[[Matrix, Learner], FitTrial]


@dataclass(frozen=True, slots=True)
class FitReach:
    """One forecast that was made: the last end of a label that the fit knew, and the first row that it answered."""

    known_until: int
    first_row: int
    coin: str


@dataclass(frozen=True, slots=True)
class Witness:
    """A learner whose forecasts depend on every value that it was fitted on; `seen` is written as it works."""

    reaches: list[FitReach] = field(default_factory=list)
    kind: ClassVar[str] = "witness"
    calibrate: ClassVar[bool] = True

    def fit(
        self,
        train: Matrix,
        *,
        stop: Matrix | None,
        rounds: Rounds | None,
        seed: int,  # noqa: ARG002 - nothing is drawn
        run: FitRun,  # noqa: ARG002
    ) -> "WitnessForecaster":
        """Remember a checksum of everything."""
        parts = [train] if stop is None else [train, stop]
        checksum = zlib.crc32(repr((train.feature_names, rounds)).encode())
        for part in parts:
            for values in (part.issued_at, part.features, part.returns, part.variance, part.freedom):
                checksum = zlib.crc32(values.tobytes(), checksum)
        return WitnessForecaster(checksum, train.horizons, max(_last_label(part) for part in parts), self.reaches)


@dataclass(frozen=True, slots=True, eq=False)
class WitnessForecaster:
    """As wide as its checksum says, from half to one and a half times the volatility."""

    checksum: int
    horizons: Int64Array
    known_until: int
    reaches: list[FitReach]
    kind: ClassVar[str] = "witness"

    @property
    def rounds(self) -> Rounds:
        """The checksum: rounds are fitted too, and travel to later fits."""
        return Rounds(counts=(self.checksum,))

    def predict(self, rows: Matrix) -> Forecast:
        """Independent of what the rows say, but for price and volatility."""
        columns = horizon_columns(rows.horizons, self.horizons, self.kind)
        if len(rows):
            first = int(rows.issued_at.argmin())
            self.reaches.append(FitReach(self.known_until, int(rows.issued_at[first]), str(rows.coin_names[first])))
        volatility = rows.volatility * (0.5 + self.checksum / 2**32)
        shape = np.broadcast_to(student_quantiles(), (len(rows), len(columns), len(student_quantiles())))
        return no_view_forecast(rows, volatility, shape)

    def save(self) -> Artefacts:
        """Nothing: it is never kept."""
        raise ModelError("The witness of the audit is no model and cannot be saved.")

    @classmethod
    def load(cls, files: Artefacts) -> Self:  # noqa: ARG003
        """Nothing."""
        raise ModelError("The witness of the audit is no model and cannot be loaded.")


def _last_label(rows: Matrix) -> int:
    usable = np.isfinite(rows.returns)
    return int(rows.label_end[usable].max()) if usable.any() else 0


def audit_fits(
    matrix: Matrix,
    paths: Mapping[str, FitPath],
    *,
    seed: int,
    wrap: Callable[[Learner], Learner] = lambda learner: learner,
    step: Callable[[str], None] = lambda _: None,
) -> tuple[AuditCheck, AuditCheck]:
    """The checks `fitted` and `folds` over ways in which models are fitted and tested.

    paths: by name, such as "hold-out". wrap: what the learner is packed in, such as the choice of features. A path that
    raises DataError is reported as not run: there is too little to fit on. step: hears of each path.
    """
    rng = np.random.default_rng(seed)
    comparisons, folds, not_run = [], [], []
    for name, path in paths.items():
        witness = Witness()
        try:
            base = path(matrix, wrap(witness))
            # The forecasts of the noisy run: what was fitted for them must not have moved.
            other = path(_with_noise_after(matrix, base.moment, rng), wrap(Witness()))
        except DataError as error:
            not_run.append(f"{name}: {error}")
            continue
        finally:
            step(name)
        comparisons.append(_compare(name, base, other))
        folds.append(_overlaps(name, witness.reaches))
    if not comparisons:
        reason = "; ".join(not_run) or "no way of fitting was named"
        return check_not_run("fitted", FITTED, reason), check_not_run("folds", FOLDS, reason)
    return check_of("fitted", FITTED, comparisons, tuple(not_run)), check_of("folds", FOLDS, folds, tuple(not_run))


def _with_noise_after(matrix: Matrix, moment: int, rng: np.random.Generator) -> Matrix:
    """Features of rows behind the moment, labels that end behind it and later closes are noise.

    Price and volatility stay: they are what a forecast is stated in, and nothing is learned from them alone.
    """
    later, unknown = matrix.issued_at > moment, matrix.label_end > moment
    panel = matrix.panel
    # Far larger than anything real, so that it moves whatever looks at it.
    features = matrix.features.copy()
    largest = np.fmax(np.fmax.reduce(features, axis=0), -np.fmin.reduce(features, axis=0))
    features[later] = rng.normal(size=(int(later.sum()), features.shape[1])) * (10.0 * (1.0 + largest))
    behind = panel.close_time > moment
    return replace(
        matrix,
        features=features,
        returns=np.where(unknown, rng.normal(size=unknown.shape), matrix.returns),
        variance=np.where(unknown, rng.chisquare(5.0, size=unknown.shape), matrix.variance),
        panel=replace(panel, log_close=panel.log_close + np.where(behind, rng.normal(size=len(behind)), 0.0)),
    )


def _compare(name: str, base: FitTrial, other: FitTrial) -> Differences:
    if not np.array_equal(base.row, other.row):
        return Differences(1, 1, (_finding(name, base.forecast, 0, len(base.row), len(other.row)),))
    one, two = base.forecast.values, other.forecast.values
    wrong = one != two
    findings = []
    for row in np.flatnonzero(wrong.any(axis=(1, 2)))[:FINDINGS]:
        column, level = np.argwhere(wrong[row])[0]
        at = base.forecast.horizons[column], base.forecast.levels[level]
        what = f"{name} forecast, {at[0]} bars ahead, level {at[1]:g}"
        findings.append(_finding(what, base.forecast, row, one[row, column, level], two[row, column, level]))
    return Differences(wrong.size, int(wrong.sum()), tuple(findings))


def _finding(what: str, forecast: Forecast, row: int, one: float, two: float) -> AuditFinding:
    return AuditFinding(
        feature=what,
        coin=str(forecast.coin[row]),
        close_time=as_datetime(int(forecast.issued_at[row])),
        value_with=float(one),
        value_without=float(two),
    )


def _overlaps(name: str, reaches: Sequence[FitReach]) -> Differences:
    """Values of a finding: both moments, in seconds since 1970."""
    late = [one for one in reaches if one.known_until > one.first_row]
    findings = tuple(
        AuditFinding(
            feature=f"label in the {name}",
            coin=one.coin,
            close_time=as_datetime(one.first_row),
            value_with=one.known_until / 1e6,
            value_without=one.first_row / 1e6,
        )
        for one in late[:FINDINGS]
    )
    return Differences(len(reaches), len(late), findings)
