"""`lightgbm`: how wide the next bars will be, learned from all coins at once.

What is corrected is the volatility known at issue, moved towards the mean of twenty variances (`models/variances.py`).
For each horizon two boosters learn the logarithm of what it must be multiplied by: one by least squares on the log of
the realised variance, one by the likelihood of the standardised return under a Student t. The first is precise, the
second is robust to prices whose range is unknown; their mean beats both. It is shrunk towards no correction, the more
the fewer independent blocks of time there were to learn from. How many trees there are is a setting: what one block of
time says of that is luck, from one tree to three hundred. The median stays at the last price, unless a linear view of
the direction proved itself on a block of time that neither boosters nor view had seen (`models/drift_ridge.py`).
"""

import ctypes
import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import msgspec
import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.config import Config, LightGBMConfig
from cryptocast.errors import DataError, ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.features.variances import HALF_LIVES
from cryptocast.models.artefacts import from_json, require_shape, to_json
from cryptocast.models.base import Artefacts, FitRun, Forecast, Rounds
from cryptocast.models.baseline import horizon_columns
from cryptocast.models.drift_ridge import LinearView
from cryptocast.models.labels import CORRECTION_BOUND, LEAST_ROWS, log_variance_ratio, standardised_returns
from cryptocast.models.quantile_shape import TAIL_FREEDOM, student_quantiles
from cryptocast.models.scale_model import ScaleModel, located, shrinkage_of
from cryptocast.models.selective import SelectiveLearner
from cryptocast.models.student_mixture import StudentMixture
from cryptocast.models.trees import Trees
from cryptocast.models.variances import HalfLives, log_base

if TYPE_CHECKING:
    import lightgbm as lgb

KIND: Final = "lightgbm"
SETTINGS_FILE: Final = "lightgbm.json"
# Degrees of freedom of the likelihood; fixed, so that one extreme day cannot move the scale of all others.
LIKELIHOOD_FREEDOM: Final = 4.0
# Share of what the trees learned that is used, given unlimited history: less follows a break of the volatility sooner
# than they have ever seen one.
STRENGTH: Final = 0.75
# Values that a feature can be split at; more are noise, and with few rows they are what takes the time.
BINS: Final = 63
# Labels over several bars overlap: one row in three teaches as much as all, unless there are few.
MOST_OVERLAP: Final = 3
ENOUGH_ROWS: Final = 5_000
TARGETS: Final = ("variance", "likelihood")
# Settings that LightGBM calls as ours do.
SHARED_NAMES: Final = (
    *("learning_rate", "num_leaves", "min_data_in_leaf"),
    *("feature_fraction", "bagging_fraction", "lambda_l2"),
)


class _SavedView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the feature names and the horizons, in their order. penalties: of the ridge, 0 at a horizon without a view."""

    penalties: tuple[int, ...]
    centre: FloatArray
    spread: FloatArray
    weights: FloatArray


class _SavedBoosters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    feature_names: tuple[str, ...]
    horizons: Int64Array
    shrinkage: FloatArray
    offsets: FloatArray  # start value of each booster, horizon by horizon, target by target
    rounds: tuple[int, ...]
    view: _SavedView | None = None
    # Of the variances that move the volatility known at issue. Earlier releases had none.
    half_lives: HalfLives = ()

    def __post_init__(self) -> None:
        features, horizons = len(self.feature_names), len(self.horizons)
        require_shape(self.shrinkage, horizons)
        require_shape(self.offsets, len(TARGETS) * horizons)
        if len(self.rounds) != len(self.offsets):
            raise ValueError("it lists other horizons than it has boosters for")
        if self.view is None:
            return
        if len(self.view.penalties) != horizons:
            raise ValueError("its view is not of the horizons that it lists")
        require_shape(self.view.centre, features)
        require_shape(self.view.spread, features)
        require_shape(self.view.weights, horizons, features)
        if (
            not np.isfinite(self.view.weights).all()
            or not (np.isfinite(self.view.centre) & (self.view.spread > 0)).all()
        ):
            raise ValueError("its view holds a number that no fit gives")


@dataclass(frozen=True, slots=True)
class LightGBMLearner:
    """Settings of both boosters."""

    settings: LightGBMConfig = LightGBMConfig()
    kind: ClassVar[str] = KIND
    calibrate: ClassVar[bool] = True

    def fit(
        self, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun
    ) -> "LightGBMForecaster":
        """Two boosters for each horizon, on all rows of all coins whose label is known.

        A horizon with fewer than 200 labels gets none and is not corrected. Whether there is a view is
        judged on the stop block, which teaches nothing else; `rounds` repeats the judgement.
        """
        if len(train) < LEAST_ROWS:
            raise _too_few(train)
        tasks = [(column, target) for column in range(len(train.horizons)) for target in TARGETS]
        binned = _Rows(train, self._parameters("none", seed))

        def fit_task(place: int) -> tuple[Trees | None, float]:
            column, target = tasks[place]
            horizon = int(train.horizons[column])
            trees = self.settings.next_bar_rounds if horizon == 1 else self.settings.rounds
            boosters = self._fit_one(target, binned, column, trees=trees, seed=seed)
            run.step(f"lightgbm, {horizon} bars ahead")
            return boosters

        # Whole boosters side by side, each on one thread: LightGBM's own threads wait for each other at every split,
        # which costs more than it saves on some thousand rows and stalls on a busy machine. It also makes the boosters
        # independent of the number of threads; a view's weights depend on that of the linear algebra, in the last bits.
        with ThreadPoolExecutor(max_workers=max(1, run.threads)) as workers:
            boosters = list(workers.map(fit_task, range(len(tasks))))
        _trim()
        if not any(booster for booster, _ in boosters):
            raise _too_few(train)
        share = shrinkage_of(train)
        model = LightGBMForecaster(
            feature_names=train.feature_names,
            horizons=train.horizons,
            shrinkage=STRENGTH * share,
            offsets=np.array([offset for _, offset in boosters]),
            boosters=tuple(booster for booster, _ in boosters),
            half_lives=HALF_LIVES,
            views=(),
            penalties=(0,) * len(train.horizons),
        )
        referee = stop if rounds is None and self.settings.view else None
        labels = standardised_returns(train)
        return model.with_view([train.features], labels, stop=referee, rounds=rounds, share=share)

    def _fit_one(
        self, target: str, train: "_Rows", column: int, *, trees: int, seed: int
    ) -> tuple[Trees | None, float]:
        """The booster of a target at the horizon of the column, and its start value; none for too few labels."""
        import lightgbm as lgb  # a second and 110 MB, which a process that only forecasts does not need

        label = train.labels[target][:, column]
        keep = np.isfinite(label)
        if keep.sum() < LEAST_ROWS:  # no tree with min_data_in_leaf rows on each side is a model
            return None, 0.0
        offset = _start(target, label[keep])
        dataset = train.dataset(target, column, offset if target == "variance" else 0.0)
        objective = "regression" if target == "variance" else _likelihood(offset)
        try:
            booster = lgb.train(self._parameters(objective, seed), dataset, num_boost_round=trees)
        except lgb.basic.LightGBMError as error:
            # What it says where no feature can be split at all: unknown, constant, or too rarely another value.
            raise DataError(
                f"lightgbm can learn nothing from the features of these {keep.sum()} rows ({str(error).strip()}). "
                "Fetch more bars or coins, or use --model baseline."
            ) from error
        return Trees(booster.model_to_string().encode()), offset

    def _parameters(self, objective: str | Callable[..., Any], seed: int) -> dict[str, Any]:
        return {
            "objective": objective,
            "metric": "None",
            "max_bin": BINS,
            "boost_from_average": False,
            **{name: getattr(self.settings, name) for name in SHARED_NAMES},
            "bagging_freq": 1,
            "num_threads": 1,
            "seed": seed,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }


class _Rows:
    """Rows whose features are sorted into bins once, for all boosters: a byte for each value instead of eight.

    binned: a data set of all of them. labels (n, H) by target, against what is corrected, NaN where not known:
    log variance ratios, or standardised returns.
    """

    def __init__(self, rows: Matrix, parameters: dict[str, Any]) -> None:
        import lightgbm as lgb  # as above

        self.binned = lgb.Dataset(rows.features, np.zeros(len(rows)), params=parameters).construct()
        self.horizons = rows.horizons
        base = log_base(rows, HALF_LIVES)
        variance, likelihood = log_variance_ratio(rows) - 2.0 * base, standardised_returns(rows) / np.exp(base)
        self.labels = dict(zip(TARGETS, (variance, likelihood), strict=True))

    def dataset(self, target: str, column: int, shift: float) -> "lgb.Dataset":
        """The rows with a label, less a constant; of many rows whose labels overlap some stand for their neighbours."""
        label = self.labels[target][:, column]
        rows = np.flatnonzero(np.isfinite(label))
        overlap = min(int(self.horizons[column]), MOST_OVERLAP)
        rows = rows[:: max(1, min(overlap, len(rows) // ENOUGH_ROWS))]
        part = self.binned.subset(rows.tolist()).construct()
        return part.set_label(label[rows] - shift)


@dataclass(frozen=True, slots=True, eq=False)
class LightGBMForecaster(ScaleModel):
    """boosters and offsets (2 H): for each horizon the variance and the likelihood one, or none; one view or none.

    half_lives: of the variances that move the volatility known at issue before they correct it; none: it stays.
    """

    feature_names: tuple[str, ...]
    offsets: FloatArray
    boosters: tuple[Trees | None, ...]
    half_lives: tuple[float, ...]
    kind: ClassVar[str] = KIND

    @property
    def rounds(self) -> Rounds:
        """The penalties of the view; how many trees there are is a setting."""
        return Rounds(penalties=self.penalties)

    def predict(self, rows: Matrix) -> Forecast:
        """The volatility known at issue, moved and corrected, times a Student shape; calibration follows outside."""
        columns = horizon_columns(rows.horizons, self.horizons, self.kind)
        features = self._features(rows)
        scale = np.exp(self._correction(features, columns) + log_base(rows, self.half_lives))
        shape = np.broadcast_to(student_quantiles(), (*scale.shape, len(student_quantiles())))
        mixture = StudentMixture(scale, np.full(scale.shape, TAIL_FREEDOM), shape)
        location = self.views[0].location(features, columns) if self.views else np.zeros(scale.shape)
        return located(rows, mixture, location)

    def log_scale(self, rows: Matrix) -> FloatArray:
        """(n, H) log of what the volatility known at issue is multiplied by, at the fitted horizons."""
        return self._correction(self._features(rows), np.arange(len(self.horizons))) + log_base(rows, self.half_lives)

    def read(self, rows: Matrix) -> Sequence[FloatArray]:
        """(n, F): its features."""
        return [self._features(rows)]

    def importance(self) -> dict[str, float]:
        """Share of the total gain of each feature, over all boosters, largest first."""
        gains = np.sum([booster.gains() for booster in self.boosters if booster is not None], axis=0)
        total = float(gains.sum()) or 1.0
        order = np.argsort(-gains, kind="stable")
        return {self.feature_names[i]: float(gains[i]) / total for i in order}

    def contributions(self, rows: Matrix) -> FloatArray:
        """(n, H, F + 1): what each feature adds to the log of the volatility (SHAP values); last what all rows share.

        The features in the order of `feature_names`; over them and the last column they sum to the log correction,
        before its bound. Source: Lundberg et al., Nature Machine Intelligence 2 (2020), as LightGBM's pred_contrib.
        """
        columns = horizon_columns(rows.horizons, self.horizons, self.kind)
        features = self._features(rows)
        out = np.zeros((len(rows), len(columns), len(self.feature_names) + 1))
        for place, column in enumerate(columns.tolist()):
            weight = 0.5 * self.shrinkage[column] / len(TARGETS)
            for booster, offset in self._boosters_at(column):
                out[:, place] += weight * booster.contributions(features)
                out[:, place, -1] += weight * offset
        return out

    def save(self) -> Artefacts:
        """LightGBM's own text for each booster, and JSON for the rest."""
        saved = _SavedBoosters(
            feature_names=self.feature_names,
            horizons=self.horizons,
            shrinkage=self.shrinkage,
            offsets=self.offsets,
            rounds=tuple(0 if booster is None else max(1, booster.count) for booster in self.boosters),
            view=next((_SavedView(self.penalties, v.centre, v.spread, v.weights) for v in self.views), None),
            half_lives=self.half_lives,
        )
        files = {SETTINGS_FILE: to_json(saved)}
        for name, booster in zip(_booster_files(self.horizons), self.boosters, strict=True):
            if booster is not None:
                files[name] = booster.text()
        return files

    @classmethod
    def load(cls, files: Artefacts) -> Self:
        """What `save` wrote. Raises ModelError otherwise."""
        saved = from_json(files, SETTINGS_FILE, _SavedBoosters, KIND)
        names = _booster_files(saved.horizons)
        try:
            boosters = [Trees(files[name]) if count else None for name, count in zip(names, saved.rounds, strict=True)]
        except (KeyError, ValueError) as error:
            raise ModelError(f"The saved lightgbm cannot be read: {error}. Train it anew.") from error
        if any(booster is not None and booster.features != len(saved.feature_names) for booster in boosters):
            raise ModelError("The saved lightgbm was fitted on other features than it lists. Train it anew.")
        view = saved.view
        return cls(
            feature_names=saved.feature_names,
            horizons=saved.horizons,
            shrinkage=saved.shrinkage,
            offsets=saved.offsets,
            boosters=tuple(boosters),
            half_lives=saved.half_lives,
            views=() if view is None else (LinearView(view.centre, view.spread, view.weights),),
            penalties=(0,) * len(saved.horizons) if view is None else view.penalties,
        )

    def _features(self, rows: Matrix) -> FloatArray:
        if rows.feature_names == self.feature_names:
            return rows.features
        place = {name: position for position, name in enumerate(rows.feature_names)}
        missing = [name for name in self.feature_names if name not in place]
        if missing:
            raise ModelError(f"This lightgbm was fitted on {missing[0]}, which the rows do not have. Train it anew.")
        return np.ascontiguousarray(rows.features[:, [place[name] for name in self.feature_names]])

    def _boosters_at(self, column: int) -> list[tuple[Trees, float]]:
        """Those of a horizon, each with its start value."""
        own = slice(len(TARGETS) * column, len(TARGETS) * (column + 1))
        pairs = zip(self.boosters[own], self.offsets[own].tolist(), strict=True)
        return [(booster, offset) for booster, offset in pairs if booster is not None]

    def _correction(self, features: FloatArray, columns: Int64Array) -> FloatArray:
        """(n, H) log of the correction: the shrunk mean of both boosters."""
        out = np.empty((len(features), len(columns)))
        for place, column in enumerate(columns.tolist()):
            total = np.zeros(len(features))
            for booster, offset in self._boosters_at(column):
                # Boosters learn the log of a variance; half of it is the log of a volatility.
                total += 0.5 * (booster.raw(features) + offset)
            out[:, place] = self.shrinkage[column] * total / len(TARGETS)
        return np.clip(out, -CORRECTION_BOUND, CORRECTION_BOUND)


FORECASTER: Final = LightGBMForecaster


def learner(config: Config) -> SelectiveLearner:
    """With [lightgbm] of the settings, without near-duplicate features."""
    return SelectiveLearner(LightGBMLearner(config.lightgbm), config.features.max_correlation, config.train.max_rows)


def _too_few(train: Matrix) -> DataError:
    most = int(np.isfinite(train.returns).sum(axis=0).max(initial=0))
    return DataError(
        f"lightgbm needs {LEAST_ROWS} bars with a known return to learn from, there are {most}. "
        "Fetch more bars or more coins, or use --model baseline."
    )


def _start(target: str, label: FloatArray) -> float:
    """The constant that a booster starts from: the best one if it found nothing to learn."""
    if target == "variance":
        return float(np.mean(label))
    # The squared median of |t| with 4 degrees of freedom is 0.5486.
    return math.log(max(float(np.median(label**2)), 1e-6) / 0.5486)


def _trim() -> None:
    """Give back to the system what the threads of a fit have freed. glibc keeps it for threads to come: 0.5 GB after
    some fits on 200,000 rows."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # musl has none
        trim(0)


def _likelihood(offset: float) -> Callable[..., tuple[FloatArray, FloatArray]]:
    """The slope of the negative log likelihood of a Student t with variance parameter exp(score), and its expected
    curvature."""

    def gradient(score: FloatArray, data: "lgb.Dataset") -> tuple[FloatArray, FloatArray]:
        squared = np.asarray(data.get_label()) ** 2 / (LIKELIHOOD_FREEDOM * np.exp(score + offset))
        slope = 0.5 * (1.0 - (LIKELIHOOD_FREEDOM + 1.0) * squared / (1.0 + squared))
        return slope, np.full(len(slope), 0.5 * LIKELIHOOD_FREEDOM / (LIKELIHOOD_FREEDOM + 3.0))

    return gradient


def _booster_files(horizons: Int64Array) -> list[str]:
    return [f"lightgbm.{horizon}.{target}.txt" for horizon in horizons for target in TARGETS]
