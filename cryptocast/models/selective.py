"""A learner on a selection of the features and of the rows, which each fit makes from its own training rows alone."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cryptocast.arrays import Int64Array
from cryptocast.features.catalogue import FEATURES
from cryptocast.features.matrix import Matrix
from cryptocast.features.selection import Choice, choose_features
from cryptocast.models.base import FitRun, Forecaster, Learner, Rounds

NEEDS: Final = {feature.name: len(feature.needs) for feature in FEATURES}


@dataclass(frozen=True, slots=True, eq=False)
class WrappedLearner:
    """A learner around another, of its kind and calibrated as it is."""

    inner: Learner

    @property
    def kind(self) -> str:
        """The kind of the learner inside."""
        return self.inner.kind

    @property
    def calibrate(self) -> bool:
        """As the learner inside."""
        return self.inner.calibrate


@dataclass(frozen=True, slots=True)
class SelectiveLearner(WrappedLearner):
    """`inner`, fitted on the columns that `choose_features` keeps and on at most `max_rows` rows.

    What it fits knows its columns by name.
    """

    max_correlation: float
    max_rows: int = 200_000

    def fit(self, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun) -> Forecaster:
        """The inner fit on fewer columns and rows; raises as it does."""
        choice = choice_of(train, self.max_correlation)
        spared = None if stop is None else _columns(stop, choice)
        few = _columns(train, choice, thin(len(train), self.max_rows, seed))
        del train  # a copy of nearly everything, which goes now unless whoever called holds it
        return self.inner.fit(few, stop=spared, rounds=rounds, seed=seed, run=run)

    def fit_at(self, matrix: Matrix, moment: int, *, rounds: Rounds, seed: int, run: FitRun) -> Forecaster:
        """The fit on what was known at a moment (microseconds), which is never copied as a whole."""
        rows = np.flatnonzero(matrix.teaches_at(moment))
        choice = choice_of(matrix, self.max_correlation, rows)
        few = _columns(matrix, choice, rows[thin(len(rows), self.max_rows, seed)])
        return self.inner.fit(few.hiding_after(moment), stop=None, rounds=rounds, seed=seed, run=run)


def thin(count: int, most: int, seed: int) -> Int64Array:
    """At most so many of the rows, which stand coin by coin, in time order: one drawn from each of as many equal
    stretches, so that every coin keeps the same share of every part of its time."""
    if count <= most:
        return np.arange(count)
    edges = np.linspace(0, count, most + 1).astype(np.int64)
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])


def fit_at(learner: Learner, matrix: Matrix, moment: int, *, rounds: Rounds, seed: int, run: FitRun) -> Forecaster:
    """The learner fitted on what was known at a moment (microseconds), with rounds that were found before."""
    if isinstance(learner, SelectiveLearner):
        return learner.fit_at(matrix, moment, rounds=rounds, seed=seed, run=run)
    return learner.fit(matrix.known_at(moment), stop=None, rounds=rounds, seed=seed, run=run)


def choice_of(train: Matrix, max_correlation: float, rows: Int64Array | None = None) -> Choice:
    """What a fit on these rows, or on some of them, keeps. A feature of the user's own gives way to its twin in the
    catalogue."""
    needs = {name: NEEDS.get(name, len(NEEDS)) for name in train.feature_names}
    names = train.feature_names
    return choose_features(train.features, names, max_correlation=max_correlation, needs=needs, rows=rows)


def spared(learner: Learner, train: Matrix) -> Choice:
    """What a fit of this learner on these rows keeps and drops: everything is kept where it does not choose."""
    if isinstance(learner, SelectiveLearner):
        return choice_of(train, learner.max_correlation)
    return Choice(np.arange(len(train.feature_names), dtype=np.int64), {})


def _columns(rows: Matrix, choice: Choice, few: Int64Array | None = None) -> Matrix:
    """The columns that stay, of some rows or of all: features are copied once, since they are what takes the memory."""
    names = tuple(rows.feature_names[column] for column in choice.columns)
    if few is None or len(few) == len(rows):
        return replace(rows, features=rows.features[:, choice.columns], feature_names=names)
    features = rows.features[np.ix_(few, choice.columns)]
    return replace(rows.bare().rows(few), features=features, feature_names=names)
