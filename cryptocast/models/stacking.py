"""`ml_ensemble`: the members' forecasts as one, level by level, with weights that had to earn it.

The weights are equal unless others prove better. Those of a horizon that would have served best on the members'
out-of-fold forecasts so far, pulled to equal weights the more the fewer independent blocks there were, are proposed and
tried on the next block, which they have not seen: only while the proposals of the past blocks were better than equal
weights by a test are they used.

Sources: Claeskens et al., International Journal of Forecasting 32 (2016), on why equal weights are hard to beat;
Lichtendahl, Grushka-Cockayne and Winkler, Management Science 59 (2013), on averaging quantiles.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, ClassVar, Final, Self, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.config import Config
from cryptocast.errors import CryptocastError, DataError, ModelError, NotInstalledError
from cryptocast.features.matrix import Matrix
from cryptocast.folds import blocks
from cryptocast.models import kinds
from cryptocast.models.base import Artefacts, FitRun, Forecast, Forecaster, Learner, Rounds
from cryptocast.models.baseline import horizon_columns
from cryptocast.models.combination import combine
from cryptocast.models.out_of_fold import OutOfFold, concatenate, out_of_fold
from cryptocast.models.recent_window import recent
from cryptocast.scoring.diebold_mariano import diebold_mariano
from cryptocast.scoring.quantiles import crps, crps_weights

log = logging.getLogger(__name__)

T = TypeVar("T")

KIND: Final = "ml_ensemble"
FILE: Final = "ml_ensemble.json"
BETWEEN: Final = "--"  # a member's name and its own file's
# Learned weights count half with this many independent blocks of the horizon.
PRIOR_BLOCKS: Final = 120.0
# Rows with a known outcome that a proposal needs, and at most looks at, evenly spread.
LEAST_ROWS: Final = 200
MOST_ROWS: Final = 6000
# One-sided p below which proposals have beaten equal weights.
ALPHA: Final = 0.05
# Out-of-fold blocks of a fit that is not part of a walk, and the share of time before the first of them.
BLOCKS: Final = 4
FIRST_SHARE: Final = 0.3


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights of the members by horizon.

    table (H, R, M): each row on the simplex. R is 1; versions of 2026 have three regimes, and cuts between them: of the
    log of the volatility over the next bar to that of the long run. reasons (H,): why the weights of the horizon are
    what they are. dropped: members that could not be fitted -> why.
    """

    members: tuple[str, ...]
    horizons: tuple[Annotated[int, Meta(ge=1, le=1_000_000)], ...]
    cuts: tuple[float, ...]
    table: tuple[tuple[tuple[float, ...], ...], ...]
    reasons: tuple[str, ...]
    dropped: Mapping[str, str] = {}

    def of(self, rows: Matrix, columns: Int64Array, present: Sequence[str]) -> FloatArray:
        """(n, len(columns), P): the weights of those members that are present, summing to 1."""
        table = np.array(self.table)[columns]
        regime = np.searchsorted(np.array(self.cuts), volatility_state(rows), side="right")
        place = [self.members.index(name) for name in present]
        weights = np.moveaxis(table[:, regime][:, :, place], 0, 1)
        total = weights.sum(axis=-1, keepdims=True)
        return np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1.0 / len(place))


def volatility_state(rows: Matrix) -> FloatArray:
    """(n,) log of the volatility over the next bar to that of the long run, both known at issue."""
    volatility = np.log(rows.panel.volatility[rows.position])
    return np.asarray(volatility[:, 0] - volatility[:, 1])


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A block of the past: rows in the matrix, the members' forecasts, and the weights proposed before it."""

    row: Int64Array
    forecasts: Mapping[str, Forecast]
    proposed: Weights | None


@dataclass(slots=True, eq=False)
class Stacking:
    """What the ensemble remembers while time goes on: block after block, `weights` before it and `learn` behind it."""

    matrix: Matrix
    members: tuple[str, ...]
    _parts: list[_Part] = field(default_factory=list)
    _proposed: Weights | None = None

    def weights(self, known_at: int) -> Weights:
        """The weights for what is issued from that moment (microseconds) on, from outcomes that were known by then."""
        complete = [part for part in self._parts if all(name in part.forecasts for name in self.members)]
        self._proposed = self._propose(complete, known_at)
        if self._proposed is None:
            return equal_weights(self.members, self.matrix.horizons, "no member has been tried yet")
        tested = [self._tested(complete, column, known_at) for column in range(len(self.matrix.horizons))]
        equal = equal_weights(self.members, self.matrix.horizons, "")
        tables = [
            self._proposed.table[column] if better else equal.table[column] for column, (better, _) in enumerate(tested)
        ]
        return msgspec.structs.replace(
            self._proposed, table=tuple(tables), reasons=tuple(reason for _, reason in tested)
        )

    def learn(self, row: Int64Array, forecasts: Mapping[str, Forecast]) -> None:
        """Remember what the members forecast for these rows, and forget what is too old."""
        if len(row) == 0:
            return
        own = {name: forecasts[name] for name in self.members if name in forecasts}
        self._parts.append(_Part(row, own, self._proposed))
        longest = int(self.matrix.horizons.max())
        ends = np.array([int(self.matrix.issued_at[part.row].max()) for part in self._parts])
        recent_parts = recent(ends, horizon=longest, bar_us=self.matrix.bar_us)
        self._parts = [part for part, keep in zip(self._parts, recent_parts.tolist(), strict=True) if keep]

    def combined(self, row: Int64Array, forecasts: Mapping[str, Forecast], weights: Weights) -> Forecast:
        """The ensemble's forecast of the rows by the members that have one. Raises ValueError if none has."""
        present = [name for name in self.members if name in forecasts]
        if not present:
            raise ValueError(f"no forecast of {', '.join(self.members)}, found {', '.join(forecasts) or 'none'}")
        columns = np.arange(len(self.matrix.horizons))
        return combine([forecasts[name] for name in present], weights.of(self.matrix.rows(row), columns, present))

    def _propose(self, parts: Sequence[_Part], known_at: int) -> Weights | None:
        if not parts or len(self.members) < 2:
            return None
        row = np.concatenate([part.row for part in parts])
        stacked = [concatenate([part.forecasts[name] for part in parts]) for name in self.members]
        table = []
        for column in range(len(self.matrix.horizons)):
            usable = self._known(row, column, known_at)
            if usable.sum() < LEAST_ROWS:
                table.append(np.full(len(self.members), 1.0 / len(self.members)))
                continue
            table.append(self._learned(row, stacked, usable, column))
        return Weights(
            members=self.members,
            horizons=tuple(self.matrix.horizons.tolist()),
            cuts=(),
            table=tuple((tuple(weights.tolist()),) for weights in table),
            reasons=("",) * len(table),
        )

    def _learned(self, row: Int64Array, stacked: Sequence[Forecast], usable: BoolArray, column: int) -> FloatArray:
        """(M,): what would have served best at the horizon, shrunk to equal."""
        rows = np.flatnonzero(usable)
        times = len(np.unique(self.matrix.issued_at[row[rows]]))
        if len(rows) > MOST_ROWS:
            rows = rows[np.linspace(0, len(rows) - 1, MOST_ROWS).round().astype(np.int64)]
        unit = self.matrix.volatility[row[rows], column]
        outcome = self.matrix.returns[row[rows], column] / unit
        quantiles = np.stack([f.values[rows, column] / unit[:, None] for f in stacked], axis=1)
        independent = times / float(self.matrix.horizons[column])
        best = simplex_weights(quantiles, outcome, stacked[0].levels)
        trust = independent / (independent + PRIOR_BLOCKS)
        return np.asarray(trust * best + (1.0 - trust) / len(self.members))

    def _tested(self, parts: Sequence[_Part], column: int, known_at: int) -> tuple[bool, str]:
        """Whether the proposals of past blocks were better than equal weights, on what followed them; and in words."""
        rated = [part for part in parts if part.proposed is not None]
        if not rated:
            return False, "equal: nothing has followed a proposal yet"
        ours, equals, dates = [], [], []
        for part in rated:
            usable = self._known(part.row, column, known_at)
            loss = self._loss(part, usable, column)
            ours.append(loss[0])
            equals.append(loss[1])
            dates.append(self.matrix.issued_at[part.row[usable]])
        horizon = int(self.matrix.horizons[column])
        test = diebold_mariano(
            np.concatenate(ours), np.concatenate(equals), np.concatenate(dates), horizon=horizon, step=1
        )
        if test.p_better is None:
            return False, f"equal: {test.n} days have followed a proposal, too few to test"
        if test.p_better < ALPHA:
            return True, f"learned: better than equal weights on {test.n} bars out of fold (p {test.p_better:.3f})"
        return False, f"equal: no better than equal weights on {test.n} bars out of fold (p {test.p_better:.2f})"

    def _loss(self, part: _Part, usable: BoolArray, column: int) -> tuple[FloatArray, FloatArray]:
        """CRPS in volatilities of the part's known rows: with the weights proposed before it, and with equal ones."""
        row, at = part.row[usable], np.array([column])
        unit = self.matrix.volatility[row, column]
        outcome = self.matrix.returns[row, column] / unit
        own = [part.forecasts[name].values[usable, column] / unit[:, None] for name in self.members]
        values = np.stack(own, axis=1)
        levels = next(iter(part.forecasts.values())).levels
        proposed = part.proposed
        if proposed is None:
            raise ValueError("a part without a proposal cannot be tested")
        weights = proposed.of(self.matrix.rows(row), at, self.members)[:, 0]
        ours = crps(outcome, (weights[:, :, None] * values).sum(axis=1), levels)
        return ours, crps(outcome, values.mean(axis=1), levels)

    def _known(self, row: Int64Array, column: int, known_at: int) -> BoolArray:
        ended = self.matrix.label_end[row, column] <= known_at
        return np.asarray(ended & np.isfinite(self.matrix.returns[row, column]))


@dataclass(frozen=True, slots=True)
class StackLearner:
    """The members' learners by name, in order."""

    members: Mapping[str, Learner]
    kind: ClassVar[str] = KIND
    calibrate: ClassVar[bool] = True

    def fit(
        self, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun
    ) -> "StackForecaster":
        """All members, and their weights from forecasts out of fold within the rows. Raises DataError if none can.

        `models.fitting` and the walk forward do not come here: they have the members' out-of-fold forecasts already.
        """
        if len(train) == 0:
            raise DataError("ml_ensemble has no bars to learn from. Fetch more: cryptocast fetch.")
        fixed = {} if rounds is None else rounds.members
        first, last = int(train.issued_at.min()), int(train.issued_at.max()) + 1
        bounds = blocks(first + round((last - first) * FIRST_SHARE), last, BLOCKS) if last - first > BLOCKS else None
        earlier: dict[str, OutOfFold] = {}

        def fit(name: str, member: Learner) -> Forecaster:
            forecaster = member.fit(train, stop=stop, rounds=fixed.get(name), seed=seed, run=run)
            if bounds is not None:
                earlier[name] = out_of_fold(member, train, bounds, rounds=forecaster.rounds, seed=seed, run=run)
            return forecaster

        forecasters, dropped = fit_members(self.members, fit)
        weights = equal_weights(tuple(forecasters), train.horizons, "too few bars to try the members")
        if bounds is not None:
            weights, _ = stacked(Stacking(train, tuple(forecasters)), earlier, bounds)
        return StackForecaster(forecasters, msgspec.structs.replace(weights, dropped=dropped))


@dataclass(frozen=True, slots=True, eq=False)
class StackForecaster:
    """Fitted members by name, and their weights."""

    members: Mapping[str, Forecaster]
    weights: Weights
    kind: ClassVar[str] = KIND

    @property
    def rounds(self) -> Rounds:
        """Those of the members."""
        return Rounds(members={name: member.rounds for name, member in self.members.items()})

    def predict(self, rows: Matrix) -> Forecast:
        """The weighted mean of the members' quantiles. A member that cannot forecast is left out, and logged."""
        horizons = np.array(self.weights.horizons, dtype=np.int64)
        columns = horizon_columns(rows.horizons, horizons, self.kind)
        forecasts: dict[str, Forecast] = {}
        failure: ModelError | None = None
        for name, member in self.members.items():
            try:
                forecasts[name] = member.predict(rows)
            except ModelError as error:
                failure = error
                log.warning("ml_ensemble forecasts without %s: %s", name, error)
        if not forecasts:
            raise ModelError(f"No member of this ml_ensemble can forecast: {failure}") from failure
        return combine(list(forecasts.values()), self.weights.of(rows, columns, tuple(forecasts)))

    def save(self) -> Artefacts:
        """The weights as JSON, and each member's files behind its name."""
        own = {FILE: msgspec.json.encode(self.weights)}
        return own | {
            f"{name}{BETWEEN}{file}": content
            for name, member in self.members.items()
            for file, content in member.save().items()
        }

    @classmethod
    def load(cls, files: Artefacts) -> Self:
        """What `save` wrote. Raises ModelError otherwise."""
        try:
            weights = msgspec.json.decode(files[FILE], type=Weights)
            table = np.array(weights.table, dtype=np.float64)
            table = table.reshape(len(weights.horizons), len(weights.cuts) + 1, len(weights.members))
            if (table < 0).any() or not np.allclose(table.sum(axis=-1), 1.0):
                raise ValueError("its weights do not lie on the simplex")
        except (KeyError, ValueError) as error:
            raise ModelError(f"The saved ml_ensemble cannot be read: {error}. Train it anew.") from error
        members: dict[str, Forecaster] = {}
        for name in weights.members:
            own = f"{name}{BETWEEN}"
            part = {file.removeprefix(own): content for file, content in files.items() if file.startswith(own)}
            members[name] = kinds.forecaster_type(name).load(part)
        return cls(members, weights)


FORECASTER: Final = StackForecaster


def learner(config: Config) -> StackLearner:
    """With the learners of the members in [ml_ensemble] of the settings."""
    return StackLearner({name: kinds.learner(name, config) for name in config.ml_ensemble.members})


def fit_members(
    members: Mapping[str, Learner], fit: Callable[[str, Learner], T]
) -> tuple[dict[str, T], dict[str, str]]:
    """What `fit` gives of each member that can be fitted, and why the others cannot.

    Raises DataError if none has anything to learn.
    """
    results, dropped = dict[str, T](), dict[str, str]()
    for name, member in members.items():
        try:
            results[name] = fit(name, member)
        except CryptocastError as error:
            dropped[name] = str(error)
            if not isinstance(error, NotInstalledError):  # known before the work: a note of the command says it
                log.warning("ml_ensemble goes on without %s: %s", name, error)
    if set(results) <= {"baseline"}:
        raise DataError(f"ml_ensemble has no member that can learn: {next(iter(dropped.values()), 'none is set')}")
    return results, dropped


def stacked(
    stacking: Stacking, earlier: Mapping[str, OutOfFold], bounds: Int64Array
) -> tuple[Weights, tuple[OutOfFold, ...]]:
    """The weights after the last of the blocks between the bounds, and the combined forecasts block by block.

    found: the members' out-of-fold forecasts. Each block is combined with the weights that were known before it.
    """
    parts: list[OutOfFold] = []
    for begin, end in pairwise(bounds.tolist()):
        weights = stacking.weights(begin)
        inside = {name: part.between(stacking.matrix, begin, end) for name, part in earlier.items()}
        inside = {name: part for name, part in inside.items() if len(part.row)}
        if not inside:
            continue
        # A member has the whole block or nothing of it.
        row = next(iter(inside.values())).row
        forecasts = {name: part.forecast for name, part in inside.items()}
        parts.append(OutOfFold(row, stacking.combined(row, forecasts, weights)))
        stacking.learn(row, forecasts)
    return stacking.weights(int(bounds[-1])), tuple(parts)


def equal_weights(members: tuple[str, ...], horizons: Int64Array, reason: str) -> Weights:
    """The same for all."""
    line = (1.0 / len(members),) * len(members)
    return Weights(
        members=members,
        horizons=tuple(horizons.tolist()),
        cuts=(),
        table=((line,),) * len(horizons),
        reasons=(f"equal: {reason}",) * len(horizons),
    )


def simplex_weights(quantiles: FloatArray, outcome: FloatArray, levels: FloatArray) -> FloatArray:
    """(M,) the weights on the simplex with the least mean CRPS of the combined quantiles.

    quantiles (n, M, q), outcome (n,). The loss is convex in the weights.
    """
    from scipy.optimize import minimize  # scipy costs more time than this module's other imports

    n, members, _ = quantiles.shape
    level_weights = 2.0 * crps_weights(levels)

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        error = outcome[:, None] - np.einsum("nmq,m->nq", quantiles, weights)
        slope = (levels - (error < 0.0)) * level_weights
        return float((error * slope).sum() / n), -np.einsum("nmq,nq->m", quantiles, slope) / n

    start = np.full(members, 1.0 / members)
    solution = minimize(
        loss,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
        options={"maxiter": 100, "ftol": 1e-9},
    )
    weights = np.clip(solution.x, 0.0, None)
    total = weights.sum()
    return weights / total if np.isfinite(total) and total > 0 else start
