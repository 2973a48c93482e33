"""A learner that also learns from other series, which are never forecast, calibrated on or scored.

Everything that divides time looks at the own rows alone. Of the others a fit sees the labels that had ended when the
last of its own rows was issued, so they can tell it nothing that was not known.
"""

from dataclasses import dataclass, replace

import numpy as np

from cryptocast.features.matrix import Matrix
from cryptocast.features.stacked import stacked
from cryptocast.models.base import FitRun, Forecaster, Learner, Rounds
from cryptocast.models.selective import SelectiveLearner, WrappedLearner
from cryptocast.models.stacking import StackLearner


@dataclass(frozen=True, slots=True, eq=False)
class PooledLearner(WrappedLearner):
    """`inner`, fitted on its rows and those of `help` with the same features."""

    help: Matrix

    def fit(self, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun) -> Forecaster:
        """The inner fit on more rows; it stops on the own ones. Raises as it does."""
        more = train if len(train) == 0 else joined(train, self.help.known_at(int(train.issued_at.max())))
        return self.inner.fit(more, stop=stop, rounds=rounds, seed=seed, run=run)


def with_help(learner: Learner, help_rows: Matrix | None) -> Learner:
    """The learner with rows to learn from beside its own. An ensemble's members get them; what to keep of the features
    is still chosen on the own rows, and the baseline has nothing to learn."""
    if help_rows is None or not learner.calibrate:
        return learner
    if isinstance(learner, StackLearner):
        return replace(learner, members={name: with_help(one, help_rows) for name, one in learner.members.items()})
    if isinstance(learner, SelectiveLearner):
        return replace(learner, inner=with_help(learner.inner, help_rows))
    return PooledLearner(learner, help_rows)


def joined(own: Matrix, other: Matrix) -> Matrix:
    """The rows of one matrix before those of the other, with the features of the first.

    Raises ValueError if a coin is in both, if horizons or bars differ, or if the other lacks a feature.
    """
    if set(own.panel.coins) & set(other.panel.coins):
        raise ValueError("a coin is in both matrices: series are never spliced")
    if own.bar_us != other.bar_us or not np.array_equal(own.horizons, other.horizons):
        raise ValueError("matrices of different bars or horizons cannot be joined")
    place = {name: column for column, name in enumerate(other.feature_names)}
    missing = [name for name in own.feature_names if name not in place]
    if missing:
        raise ValueError(f"the rows to help lack {', '.join(missing)}")
    columns = [place[name] for name in own.feature_names]
    aligned = replace(other, features=other.features[:, columns], feature_names=own.feature_names)
    return replace(stacked((own, aligned)), paid=None, doubtful=None)
