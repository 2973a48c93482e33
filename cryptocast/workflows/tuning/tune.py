"""Search for better settings of a model on folds before the hold-out, and keep them only if they are better.

Every trial is recorded in the registry, so that a backtest on the same bars counts it among the attempts.
"""

import hashlib
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, cast

import msgspec
import numpy as np
from filelock import FileLock, Timeout

from cryptocast import __version__
from cryptocast.addresses import shown_address
from cryptocast.config import TUNABLE
from cryptocast.data.parquet import write_atomically
from cryptocast.errors import DataError
from cryptocast.evaluation.records import Trial
from cryptocast.files import OWN_FILE, create_own_file, make_own_folder
from cryptocast.kinds import check_learns, libraries_of
from cryptocast.models.auxiliary_rows import with_help
from cryptocast.models.kinds import learner
from cryptocast.scoring.diebold_mariano import diebold_mariano
from cryptocast.spread import Spread, in_turn, rounding_notes
from cryptocast.workflows.audits import audit_words
from cryptocast.workflows.auxiliary_history import help_for
from cryptocast.workflows.coin_pool import (
    CoinPool,
    Failures,
    PoolRows,
    data_used,
    gather,
    moment,
    pool_of,
    pool_rows,
    series_data,
    without_stablecoins,
)
from cryptocast.workflows.context import Context, Selection, steps
from cryptocast.workflows.engines import Engine, spread_on
from cryptocast.workflows.environment import code_version, library_versions
from cryptocast.workflows.feature_sets import FeatureSet, feature_set
from cryptocast.workflows.recipes import recipe_of, threads_of
from cryptocast.workflows.reports import CoinError, DataUsed
from cryptocast.workflows.tuning.adopted_settings import (
    FOLDER,
    TunedSettings,
    parameter_words,
    section_facts,
    write_tuned,
)
from cryptocast.workflows.tuning.folds import fewest_labels, fold_bounds, training_part
from cryptocast.workflows.tuning.search_space import as_tried, defaults, ranges_for, with_parameters
from cryptocast.workflows.tuning.study import (
    Attempt,
    StudyQuestion,
    StudyState,
    StudyStorage,
    check_storage,
    search,
)

# What was found is taken over if its score is lower by this share of the defaults', if it is lower on more than half of
# the folds, and if the difference by date is significant (one-sided, Diebold-Mariano with the correction of Harvey,
# Leybourne and Newbold). The p is not corrected for the number of trials: what confirms a choice is the hold-out, which
# no trial has seen, and the gate of the registry.
MARGIN: Final = 0.001
ALPHA: Final = 0.05
# With fewer labels than this a horizon is not fitted at all.
LEAST_LABELS: Final = 200
ID_DIGITS: Final = 16
UNUSED: Final = "[tune] use = false: no training will use what was found"
LIBRARIES: Final = tuple(sorted({"optuna", *libraries_of(TUNABLE)}))
STORAGE: Final = "studies.db"


@dataclass(frozen=True, slots=True)
class TuneOrder:
    """What to tune; None and empty take the settings.

    trials: of the study in all, those of earlier runs among them. timeout: after it no new trial begins. storage: any
    address that Optuna takes; else a file below the store.
    """

    selection: Selection = Selection()
    model: str = TUNABLE[0]
    horizons: tuple[int, ...] = ()
    trials: int | None = None
    timeout: timedelta | None = None
    storage: str | None = None
    engine: Engine = Engine()


class TuneTrial(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt: its settings, and its CRPS over that of the baseline (below 1 is better than the baseline)."""

    trial: int  # from 1 on; 1 has the defaults
    state: Literal["complete", "pruned", "failed"]
    settings: dict[str, int | float]
    score: float | None  # mean over its folds; null where it has none
    folds: tuple[float, ...]
    by_horizon: tuple[float, ...]


class TuneFold(msgspec.Struct, frozen=True, kw_only=True):
    """The bars that a fold forecasts."""

    start: datetime
    end: datetime


class TunedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What a study came to. p_better: of the best against the defaults; null where there are too few dates."""

    kind: str
    source: str
    coins: tuple[str, ...]
    study: str
    storage: str
    folds: tuple[TuneFold, ...]
    earlier_trials: int  # that were there before this run
    trials: tuple[TuneTrial, ...]
    default: TuneTrial
    best: TuneTrial
    p_better: float | None
    adopted: bool
    reason: str
    file: str
    seconds: float


class TuneReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a tuning found."""

    schema: Literal["cryptocast.tune/1"] = "cryptocast.tune/1"
    granularity: str
    vs: str
    horizons: tuple[int, ...]
    data: tuple[DataUsed, ...]
    left_out: tuple[CoinError, ...]
    models: tuple[TunedModel, ...]
    notes: tuple[str, ...]
    seconds: float


def tune(context: Context, order: TuneOrder) -> TuneReport:
    """Search for better settings of one model, a study for each source of the named coins.

    Raises DataError or UpstreamError if no named coin has candles, there are too few or the storage is locked;
    UsageError for a model without settings to tune or an unknown storage; ModelError if a feature leaks or the model
    cannot learn here.
    """
    began = time.perf_counter()
    request = order.selection.resolved(context.config)
    ranges_for(order.model, context.config)
    check_learns(order.model)
    horizons = tuple(sorted(set(order.horizons))) or context.config.horizons(request.granularity)
    if order.storage:
        check_storage(order.storage)
    pools = gather(context, request, pool=pool_of(context.config))
    models: list[TunedModel] = []
    data: list[DataUsed] = []
    failures = Failures()
    # The cluster first: a refusal leaves nothing behind.
    with spread_on(order.engine, context.progress) as spread:
        for whole in pools:
            with failures.of(whole.named):
                pool = without_stablecoins(context.config, whole)
                models.append(tune_pool(context, pool, horizons, order, spread))
                data += data_used(pool)
        others = rounding_notes(spread.others)
    failures.raise_unless(models)
    return TuneReport(
        granularity=request.granularity,
        vs=request.vs,
        horizons=horizons,
        data=tuple(data),
        left_out=tuple(dict.fromkeys((*(row for pool in pools for row in pool.left_out), *failures.rows))),
        models=tuple(models),
        notes=(*(() if context.config.tune.use else (UNUSED,)), *others),
        seconds=round(time.perf_counter() - began, 3),
    )


def tune_pool(
    context: Context, pool: CoinPool, horizons: tuple[int, ...], order: TuneOrder, spread: Spread = in_turn
) -> TunedModel:
    """Carry on the study of the order's model on these bars, and keep what it found. Raises as `tune` does."""
    began = time.perf_counter()
    config = context.config
    tuning = _tuning(context, pool, horizons, order)
    with _alone(config.store.path, tuning.study) as driver:
        own = config.store.path / FOLDER / STORAGE
        if not order.storage:
            _make_own(own)
        url = order.storage or f"sqlite:///{own.resolve().as_posix()}"
        state = search(
            tuning.question,
            StudyStorage(url, driver, shared=bool(order.storage)),
            trials=order.trials or config.tune.trials,
            deadline=None if order.timeout is None else time.monotonic() + order.timeout.total_seconds(),
            spread=spread,
            progress=context.progress,
            ended=tuning.record,
        )
        return tuning.conclude(state, shown_address(url), began)


@dataclass(frozen=True, slots=True, eq=False)
class _Tuning:
    """The study of a model on the rows of a pool, which ends where the hold-out begins (microseconds)."""

    context: Context
    rows: PoolRows
    question: StudyQuestion
    end: int

    @property
    def study(self) -> str:
        """Its name."""
        return self.question.name.rpartition("/")[2]

    def record(self, attempts: Sequence[Attempt]) -> None:
        """Into the registry. What a tuning learns serves all coins of the pool: each of them has tried these."""
        pool, rows = self.rows.pool, [self._trial(attempt) for attempt in attempts]
        self.context.registry().record_trials(
            [msgspec.structs.replace(row, series=pool.series(coin)) for coin in pool.coins for row in rows]
        )

    def _trial(self, attempt: Attempt) -> Trial:
        kind = self.question.kind
        config = with_parameters(self.context.config, kind, attempt.parameters)
        return Trial(
            run=f"tune-{self.study}",
            at=self.context.wall_clock(),
            command="tune",
            series="any/usd/daily/any",  # each series of the pool gets a row of its own
            start=moment(int(self.question.bounds[0])),
            end=moment(self.end),
            name=f"tune {kind} trial {attempt.number + 1}: {parameter_words(attempt.parameters)}",
            recipe=recipe_of(config, kind, self.rows.features.digest),
            sharpe=None,
            bars=sum(len(fold.dates) for fold in attempt.folds),
            score=attempt.score if attempt.folds else None,
        )

    def conclude(self, state: StudyState, storage: str, began: float) -> TunedModel:
        """Keep what is taken over, and say why. Raises DataError if the defaults were not tried."""
        complete = [attempt for attempt in state.attempts if attempt.state == "complete"]
        default = next((attempt for attempt in complete if attempt.number == 0), None)
        if default is None:
            raise DataError("The time was over before the trial with the defaults had ended. Give it more: --timeout.")
        best = min(complete, key=lambda attempt: (attempt.score, attempt.number))
        config, question, pool = self.context.config, self.question, self.rows.pool
        p, adopted, reason = compared(default, best, longest=max(self.rows.horizons))
        settings = TunedSettings(
            kind=question.kind,
            **msgspec.structs.asdict(pool.market),
            coins=pool.coins,
            horizons=self.rows.horizons,
            data_hash=_data_hash(pool, self.rows.features),
            feature_hash=self.rows.features.digest,
            base=section_facts(config, question.kind),
            settings=dict(best.parameters) if adopted else {},
            score=best.score,
            default_score=default.score,
            p_better=p,
            trials=len(state.attempts),
            study=question.name,
            seen_until=moment(self.end),
            found_at=self.context.wall_clock(),
            code_version=code_version(),
        )
        file = write_tuned(config.store.path, settings)
        edges = [moment(edge) for edge in question.bounds.tolist()]
        return TunedModel(
            kind=question.kind,
            source=pool.source,
            coins=pool.coins,
            study=self.study,
            storage=storage,
            folds=tuple(TuneFold(start=start, end=end) for start, end in pairwise(edges)),
            earlier_trials=state.earlier,
            trials=tuple(_trial(attempt) for attempt in state.attempts),
            default=_trial(default),
            best=_trial(best),
            p_better=p,
            adopted=adopted,
            reason=reason,
            file=str(file),
            seconds=round(time.perf_counter() - began, 3),
        )


def _tuning(context: Context, pool: CoinPool, horizons: tuple[int, ...], order: TuneOrder) -> _Tuning:
    kind, config, features = order.model, context.config, feature_set(context.config)
    with steps(context.progress, "features", 1) as step:
        rows = pool_rows(pool, features, horizons)
        step("features")
    if features.own:
        audit_words(config, rows, context.progress)  # what a user adds may never have been audited
    extra = help_for(context, pool, features, horizons)
    part, end = training_part(rows.matrix, config.split)
    bounds = fold_bounds(part, end, config.tune.folds)
    ranges = ranges_for(kind, config, labels=fewest_labels(part, bounds, LEAST_LABELS))
    facts = {
        "space": [(r.name, r.low, r.high, r.log, r.whole) for r in ranges],
        "base": section_facts(config, kind),
        "data": _data_hash(pool, features),
        "horizons": horizons,
        "features": features.digest,
        "history": extra.notes,  # they name the bars by their hash
        "max_correlation": config.features.max_correlation,
        "split": msgspec.to_builtins(config.split),
        "folds": config.tune.folds,
        "seed": config.train.seed,
        "least_blocks": config.train.min_independent_blocks,
        "release": __version__,
        "libraries": library_versions(LIBRARIES),
    }
    digest = hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()[:ID_DIGITS]
    question = StudyQuestion(
        name=f"cryptocast/{pool.source}/{pool.vs}/{pool.granularity}/{kind}/{digest}",
        kind=kind,
        part=part,
        bounds=bounds,
        ranges=ranges,
        defaults=defaults(kind, config, ranges),
        learner=lambda parameters: with_help(learner(kind, as_tried(config, kind, parameters)), extra.rows),
        least_blocks=config.train.min_independent_blocks,
        seed=config.train.seed,
        threads=threads_of(config) if order.engine.is_here else 1,
    )
    return _Tuning(context, rows, question, end)


def _data_hash(pool: CoinPool, features: FeatureSet) -> str:
    hashes = [f"{coin} {pool.bars[coin].candles.provenance.content_hash}" for coin in sorted(pool.coins)]
    hashes += [f"{name} {data.content_hash}" for name, data in series_data(pool, features).items()]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


@contextmanager
def _alone(store: Path, study: str) -> Iterator[str]:
    """This process alone drives the study from this store, under a name that is the store's."""
    folder = store / FOLDER
    try:
        make_own_folder(folder)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be made: {error.strerror or error}. Check the rights of the store."
        ) from error
    lock = FileLock(folder / f".{study}.lock", mode=OWN_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(
            f"Another process is at work on this study ({study}). Wait for it, or tune other coins, bars or models."
        ) from error
    try:
        name = folder / ".driver"
        if not name.is_file():
            write_atomically(name, secrets.token_hex(8).encode())
        yield name.read_text(encoding="ascii")
    finally:
        lock.release()


def _make_own(path: Path) -> None:
    try:
        create_own_file(path)  # before SQLite makes it, readable by everybody
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}. Check the rights of the store."
        ) from error


def compared(default: Attempt, best: Attempt, *, longest: int) -> tuple[float | None, bool, str]:
    """p of the paired test, whether the best is taken over (see MARGIN), and why. longest: horizon, in bars."""
    if best.number == default.number:
        return None, False, "the defaults stay: no trial was better on the folds"
    gain = 1 - best.score / default.score
    pairs = list(zip(best.folds, default.folds, strict=True))
    lower = sum(ours.score < theirs.score for ours, theirs in pairs)
    test = diebold_mariano(
        np.concatenate([ours.loss for ours, _ in pairs]),
        np.concatenate([theirs.loss for _, theirs in pairs]),
        np.concatenate([np.array(ours.dates, dtype=np.int64) for ours, _ in pairs]),
        horizon=longest,
        step=1,
    )
    numbers = f"the best trial's CRPS is {100 * gain:.2f} % lower, on {lower} of {len(pairs)} folds"
    if test.p_better is None:
        return None, False, f"the defaults stay: {numbers}, but {test.n} dates are too few to test it ({10 * test.k})"
    numbers += f", p = {test.p_better:.3f} (not corrected for the search)"
    if gain >= MARGIN and 2 * lower > len(pairs) and test.p_better <= ALPHA:
        return test.p_better, True, f"taken over: {numbers}"
    bound = f"it takes {100 * MARGIN:.1f} %, more than half of the folds and p of at most {ALPHA}"
    return test.p_better, False, f"the defaults stay: {numbers}; {bound}"


def _trial(attempt: Attempt) -> TuneTrial:
    by_horizon = np.mean([fold.horizons for fold in attempt.folds], axis=0).tolist() if attempt.folds else []
    return TuneTrial(
        trial=attempt.number + 1,
        state=cast('Literal["complete", "pruned", "failed"]', attempt.state),
        settings=dict(attempt.parameters),
        score=attempt.score if attempt.folds else None,
        folds=tuple(fold.score for fold in attempt.folds),
        by_horizon=tuple(by_horizon),
    )
