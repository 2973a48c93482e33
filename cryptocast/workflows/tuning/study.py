"""The search itself, on Optuna: a study in a database that any later run goes on with.

Every draw depends on the seed, the number of the trial and the trials before it, and on nothing that a process
remembers: a study that was killed and taken up again is the study of one run. Each fold is kept as it ends.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from cryptocast.addresses import shown_address, without_logins
from cryptocast.arrays import Int64Array
from cryptocast.errors import DataError, UpstreamError, UsageError
from cryptocast.features.matrix import Matrix
from cryptocast.kinds import Range
from cryptocast.models.base import Learner
from cryptocast.spread import Spread
from cryptocast.workflows.context import Progress, steps
from cryptocast.workflows.tuning.folds import FoldJob, FoldLoss, evaluate_fold
from cryptocast.workflows.tuning.search_space import Parameters, spread_over

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

# Trials that cover the ranges evenly, behind the one with the defaults and before the search learns from them.
EVEN: Final = 7
# A trial is given up where its mean over the folds so far is above the median of those that went through, from so many
# folds and so many such trials on.
LEAST_FOLDS: Final = 2
LEAST_COMPLETE: Final = 4
DRIVER: Final = "driver"
TAKEN: Final = "Optuna takes sqlite:///FILE, postgresql://..., mysql://... and others that SQLAlchemy knows."
# Packages whose name is not that of their module.
DRIVERS: Final[Mapping[str, str]] = {"MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary"}


@dataclass(frozen=True, slots=True, eq=False)
class StudyQuestion:
    """What a study is about. part: rows of the training part; bounds: of its folds; learner: of some parameters."""

    name: str
    kind: str
    part: Matrix
    bounds: Int64Array
    ranges: tuple[Range, ...]
    defaults: Parameters
    learner: Callable[[Parameters], Learner]
    least_blocks: int
    seed: int
    threads: int


@dataclass(frozen=True, slots=True)
class StudyStorage:
    """url: of the storage. driver: who asks; of the trials that nobody finished, only that one's are taken up."""

    url: str
    driver: str
    shared: bool  # whether others may be at work on the same study


@dataclass(frozen=True, slots=True)
class Attempt:
    """One trial that has ended. state: complete, pruned or failed; folds: as many as it went through."""

    number: int
    parameters: Parameters
    state: str
    folds: tuple[FoldLoss, ...]

    @property
    def score(self) -> float:
        """Mean over its folds."""
        return float(np.mean([fold.score for fold in self.folds])) if self.folds else float("nan")


@dataclass(frozen=True, slots=True)
class StudyState:
    """The attempts of a study in their order, and how many of them were there before this run."""

    attempts: tuple[Attempt, ...]
    earlier: int


def check_storage(url: str) -> None:
    """Raises as `search` does unless a study could be kept there."""
    with _refusals(url):
        _storage(url)


def search(
    question: StudyQuestion,
    where: StudyStorage,
    *,
    trials: int,
    deadline: float | None,
    spread: Spread,
    progress: Progress,
    ended: Callable[[Sequence[Attempt]], None],
) -> StudyState:
    """Carry the study on until it has so many trials, or no new one may begin after `deadline` (monotonic seconds).

    spread: makes as many trials side by side as it has width. ended: told of those that an earlier run had finished,
    then of each batch. Raises DataError if the defaults cannot be fitted or the storage is locked or damaged,
    UsageError for an address that is no storage, UpstreamError if nobody answers there.
    """
    with _refusals(where.url):
        driven = _Search(question, where, _open(where.url, question.name), progress)
        driven.begin()
        earlier = driven.attempts()
        ended(earlier)
        done, folds = len(earlier), len(question.bounds) - 1
        width = spread.width  # of the whole run: a worker that is lost meanwhile decides no trial
        with steps(progress, f"tuning {question.kind}", max(0, trials - done) * folds):
            while done < trials and (deadline is None or time.monotonic() < deadline):
                # The defaults go alone: they say whether there is anything to tune on.
                batch = driven.unfinished() or driven.ask(min(width if done else 1, trials - done))
                driven.carry_out(batch, spread)
                attempts = driven.attempts()
                ended([a for a in attempts if a.number in {r.trial.number for r in batch}])
                done = len(attempts)
        return StudyState(driven.attempts(), len(earlier))


@dataclass(slots=True, eq=False)
class _Running:
    """A trial under way: the folds that it has, and of how many the study was told."""

    trial: "optuna.Trial"
    parameters: dict[str, int | float]
    folds: list[FoldLoss] = field(default_factory=list)
    reported: int = 0
    pruned: bool = False


@dataclass(slots=True, eq=False)
class _Search:
    question: StudyQuestion
    where: StudyStorage
    study: "optuna.Study"
    progress: Progress

    def begin(self) -> None:
        """The defaults first, then trials that cover the ranges: each is put on the list once."""
        listed = [
            dict(self.question.defaults),
            *spread_over(self.question.ranges, EVEN, self.question.seed),
        ]
        for parameters in listed[len(self.study.get_trials(deepcopy=False)) :]:
            self.study.enqueue_trial(parameters)

    def attempts(self) -> tuple[Attempt, ...]:
        """All trials that have ended."""
        from optuna.trial import TrialState

        names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        trials = self.study.get_trials(deepcopy=False, states=tuple(names))
        return tuple(Attempt(t.number, dict(t.params), names[t.state], _folds(t.user_attrs)) for t in trials)

    def unfinished(self) -> list[_Running]:
        """The trials that an earlier run of this driver left in the middle."""
        from optuna import Trial
        from optuna.trial import TrialState

        running_trials = []
        for left in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            of = left.user_attrs.get(DRIVER)
            if of == self.where.driver or (of is None and not self.where.shared):
                self.study.sampler = self._sampler(left.number)
                running = self._running(Trial(self.study, left._trial_id))
                running.folds, running.reported = list(_folds(left.user_attrs)), len(left.intermediate_values)
                running_trials.append(running)
        return running_trials

    def ask(self, count: int) -> list[_Running]:
        """New trials."""
        batch = []
        for _ in range(count):
            self.study.sampler = self._sampler(self._next())
            trial = self.study.ask()
            trial.set_user_attr(DRIVER, self.where.driver)
            batch.append(self._running(trial))
        return batch

    def carry_out(self, batch: Sequence[_Running], spread: Spread) -> None:
        """Fold by fold, all trials side by side; what falls behind is given up. Those that end are told in order."""
        question = self.question
        for place in range(len(question.bounds) - 1):
            due = [r for r in batch if not r.pruned and len(r.folds) == place]
            for running, loss in zip(due, spread(evaluate_fold, question.part, self._jobs(due, place)), strict=True):
                if loss.failed:
                    self._fail(running, loss.failed)
                    continue
                running.trial.set_user_attr(_fold_name(place), msgspec.to_builtins(loss))
                running.folds.append(loss)
                self.progress.step(self._note(running, place))
            for running in batch:
                if len(running.folds) > place:
                    self._judge(running, place)
        for running in batch:
            if not running.pruned:
                self.study.tell(running.trial, _mean(running.folds))
                log.info("trial %d: %.5f with %s", running.trial.number, _mean(running.folds), running.parameters)

    def _judge(self, running: _Running, place: int) -> None:
        """Tell the study how it stands behind this fold, and give it up if that is worse than usual."""
        from optuna.trial import TrialState

        if running.reported <= place:
            running.trial.report(_mean(running.folds[: place + 1]), place)
            running.reported = place + 1
        ahead = len(self.question.bounds) - 2 - place
        if running.pruned or ahead == 0 or len(running.folds) > place + 1 or place + 1 < LEAST_FOLDS:
            return
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        there = [t.intermediate_values[place] for t in complete if place in t.intermediate_values]
        if len(there) >= LEAST_COMPLETE and _mean(running.folds) > float(np.median(there)):
            self.study.tell(running.trial, state=TrialState.PRUNED)
            running.pruned = True
            for _ in range(ahead):
                self.progress.step(f"trial {running.trial.number + 1} is given up")

    def _fail(self, running: _Running, why: str) -> None:
        from optuna.trial import TrialState

        if running.trial.number == 0:
            raise DataError(f"There is too little to tune on. In the first fold {why}")
        running.trial.set_user_attr("failed", why)
        self.study.tell(running.trial, state=TrialState.FAIL)
        running.pruned = True
        log.warning("trial %d failed: %s", running.trial.number, why)

    def _running(self, trial: "optuna.Trial") -> _Running:
        parameters: dict[str, int | float] = {}
        for one in self.question.ranges:
            if one.whole:
                parameters[one.name] = trial.suggest_int(one.name, int(one.low), int(one.high), log=one.log)
            else:
                parameters[one.name] = trial.suggest_float(one.name, one.low, one.high, log=one.log)
        return _Running(trial, parameters)

    def _jobs(self, due: Sequence[_Running], place: int) -> list[FoldJob]:
        begin, end = self.question.bounds[place : place + 2].tolist()
        question = self.question
        return [
            FoldJob(
                question.learner(running.parameters), begin, end, question.least_blocks, question.seed, question.threads
            )
            for running in due
        ]

    def _next(self) -> int:
        from optuna.trial import TrialState

        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return waiting[0].number if waiting else len(self.study.get_trials(deepcopy=False))

    def _sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        """For one trial only: what it draws must not depend on what a process drew before."""
        from optuna.samplers import TPESampler

        seed = int(np.random.SeedSequence([self.question.seed, number]).generate_state(1)[0])
        return TPESampler(n_startup_trials=1, multivariate=True, seed=seed)

    def _note(self, running: _Running, place: int) -> str:
        done = [a for a in self.attempts() if a.state == "complete"]
        best = min(done, key=lambda a: (a.score, a.number), default=None)
        best_words = "" if best is None else f"; best {best.score:.4f}, trial {best.number + 1}"
        return f"trial {running.trial.number + 1}, fold {place + 1}: {_mean(running.folds):.4f}{best_words}"


def _mean(folds: Sequence[FoldLoss]) -> float:
    return float(np.mean([fold.score for fold in folds]))


def _fold_name(place: int) -> str:
    return f"fold {place}"


def _folds(attributes: Mapping[str, Any]) -> tuple[FoldLoss, ...]:
    folds: list[FoldLoss] = []
    while (stored := attributes.get(_fold_name(len(folds)))) is not None:
        folds.append(msgspec.convert(stored, FoldLoss))
    return tuple(folds)


def _open(url: str, name: str) -> "optuna.Study":
    import optuna

    storage = _storage(url)
    return optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)


def _storage(url: str) -> "optuna.storages.BaseStorage":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.storages.get_storage(_with_driver(url))
    except ImportError as error:
        raise UsageError(
            f"--storage {shown_address(url)} needs a driver that is not installed: {_install(url, error)}."
        ) from error
    except ValueError as error:
        raise UsageError(f"--storage {shown_address(url)} cannot be used: {_first_line(error)} {TAKEN}") from error


def _with_driver(url: str) -> str:
    """The address for the driver of the extra `postgres`, where it names PostgreSQL and no driver."""
    scheme, separator, rest = url.partition("://")
    if scheme in ("postgresql", "postgres") and separator and find_spec("psycopg") is not None:
        return f"postgresql+psycopg://{rest}"
    return url.replace("postgres://", "postgresql://", 1) if scheme == "postgres" else url


def _install(url: str, error: ImportError) -> str:
    """How to get the driver. error: Optuna's, caused by the import that failed."""
    if url.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        return "pip install 'cryptocast[postgres]'"
    missing = (error.__cause__ if isinstance(error.__cause__, ImportError) else error).name or "that of the database"
    return f"pip install {DRIVERS.get(missing, missing)}"


@contextmanager
def _refusals(url: str) -> Iterator[None]:
    """What databases say, as our errors: one line, without a password."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        yield
    except ArgumentError as error:
        raise UsageError(f"--storage {shown_address(url)} is no address of a storage. {TAKEN}") from error
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ or error
        words = f"The storage {shown_address(url)} of the study refused: {_first_line(cause)}"
        if "locked" in str(cause):
            raise DataError(f"{words} Another process holds it: wait for it, or name another --storage.") from error
        if url.startswith("sqlite"):
            raise DataError(f"{words} Check the file, its folder and the space left.") from error
        raise UpstreamError(f"{words} Is the database up?") from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = without_logins(lines[0]).strip().rstrip(".") if lines else type(error).__name__
    return f"{text}."
