"""The whole leakage audit, as `features --audit` and `train` run it: features, labels, and the fits to come."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import numpy as np
import polars as pl

from cryptocast.config import Config
from cryptocast.data.schema import CANDLE_SCHEMA
from cryptocast.errors import ModelError
from cryptocast.evaluation.fit_audit import FitPath, FitTrial, audit_fits
from cryptocast.evaluation.plan import fold_starts, plan_folds
from cryptocast.evaluation.walk_forward import walk_forward
from cryptocast.features.audit import (
    AUDIT_STEPS,
    AuditCheck,
    AuditFinding,
    AuditReport,
    Values,
    audit,
    check_of,
    compare,
    with_checks,
)
from cryptocast.features.builder import required_history
from cryptocast.features.catalogue import Feature
from cryptocast.features.foresight import audit_foresight
from cryptocast.features.matrix import Matrix
from cryptocast.features.own import with_own
from cryptocast.features.row_audit import ROW_STEPS, audit_rows
from cryptocast.models.base import FitRun, Learner
from cryptocast.models.selective import SelectiveLearner
from cryptocast.workflows.clean_candles import pending_times, unit_since
from cryptocast.workflows.coin_pool import CoinPool, PoolRows, candles_of, missing_needs, rows_at
from cryptocast.workflows.context import NoProgress, Progress, steps
from cryptocast.workflows.feature_sets import FeatureSet
from cryptocast.workflows.recipes import calibration_of, fit_by

# The audit of a training looks at this many bars of each coin, or at what the user's own features need, and takes the
# future away at this many moments; `features --audit` looks at all bars, at more moments, and walks forward too.
TRAINING_BARS: Final = 700
TRAINING_CUTS: Final = 2
# The paths of its fits are walked on the first coins that have so many rows together.
FIT_ROWS: Final = 100_000
# Checks whose findings are faults of this package: nobody could mend a feature for them.
NOT_OF_A_FEATURE: Final = ("targets", "folds", "fitted", "known")
KNOWN: Final = "rows around bad prints and changes of a unit, made from only the bars up to them"
KNOWN_RTOL: Final = 1e-7
REMEDY: Final = "Mend it, see cryptocast features --audit, or waive the audit with [train] audit = false."


def audit_steps(rows: PoolRows, *, paths: int) -> int:
    """How many steps an audit takes: its checks, and the ways of fitting that it looks at."""
    return AUDIT_STEPS + (ROW_STEPS if rows.features.own else 0) + 1 + paths


def audit_for_training(config: Config, rows: PoolRows, step: Callable[[str], None] = lambda _: None) -> AuditReport:
    """What stands between features and a fit: seconds, on the last bars of each coin, over the fits of a training."""
    own = [feature for feature in rows.features.features if feature.name in rows.features.own]
    bars = max(TRAINING_BARS, required_history(own) + TRAINING_BARS // 4 if own else 0)
    paths = {"hold-out": _hold_out(config)}
    return _audit(config, rows, cuts=TRAINING_CUTS, bars=bars, paths=paths, step=step)


def audit_pool(
    config: Config, rows: PoolRows, *, cuts: int, step: Callable[[str], None] = lambda _: None
) -> AuditReport:
    """The same on all bars, over the fits of a training and of a walk-forward."""
    paths = {"hold-out": _hold_out(config), "walk-forward": _walk(config, rows.pool)}
    return _audit(config, rows, cuts=cuts, bars=None, paths=paths, step=step)


def _audit(
    config: Config,
    rows: PoolRows,
    *,
    cuts: int,
    bars: int | None,
    paths: Mapping[str, FitPath],
    step: Callable[[str], None],
) -> AuditReport:
    pool, features, seed = rows.pool, rows.features, config.train.seed
    without = missing_needs(pool)
    report = audit(
        candles_of(pool, tail=bars, features=features.features),
        features.features,
        bar_us=pool.bar_us,
        cuts=cuts,
        seed=seed,
        without=without,
        horizons=rows.horizons,
        step=step,
    )
    if features.own and any(check.name != "build" for check in report.checks):
        # On all bars, though the rest may look at the last ones: a formula can look ahead where it is not looked at.
        fresh, candles = partial(_own_anew, features), candles_of(pool, features=features.features)
        own = audit_rows(candles, fresh, bar_us=pool.bar_us, seed=seed, without=without, step=step)
        report = with_checks(report, own)
        if features.series:
            report = with_checks(report, (audit_foresight(candles, tuple(features.series)),))
    report = with_checks(report, _known_then(rows, cuts, seed))
    step("known")
    wrap = partial(SelectiveLearner, max_correlation=config.features.max_correlation)
    matrix = rows.matrix if bars is None else first_coins(rows.matrix, FIT_ROWS)
    return with_checks(report, audit_fits(matrix, paths, seed=seed, wrap=wrap, step=step))


def first_coins(matrix: Matrix, most: int) -> Matrix:
    """The rows of the first coins, at most so many unless one coin has more: how a fit divides time does not depend on
    how many coins there are."""
    if len(matrix) <= most:
        return matrix
    coins, rows = np.unique(matrix.coin, return_counts=True)
    enough = int(np.searchsorted(np.cumsum(rows), most, side="right"))
    return matrix.rows(matrix.coin < coins[max(1, enough)])


def _known_then(rows: PoolRows, cuts: int, seed: int) -> tuple[AuditCheck, ...]:
    """Whether the rows around bad prints and changes of a unit are those of only the bars up to them.

    Without any, no check: what is known of no bar is the same at every moment.
    """
    matrix, pending = rows.matrix, [pending_times(bars) for bars in rows.pool.bars.values()]
    around = np.unique(np.concatenate([times + step * matrix.bar_us for times in pending for step in (0, 1, 2)]))
    # Before its unit changed a coin was of another market.
    since = max(unit_since(bars) for bars in rows.pool.bars.values())
    moments = np.intersect1d(around[around >= since], matrix.issued_at)
    if not len(moments):
        return ()
    drawn = np.random.default_rng(seed).choice(moments, size=min(3 * cuts, len(moments)), replace=False)
    parts = []
    for at in np.sort(drawn).tolist():
        then = rows_at(rows.pool, matrix.horizons.tolist(), rows.features.features, at)
        parts.append(compare(_as_values(matrix.rows(matrix.issued_at == at)), _as_values(then), KNOWN_RTOL, least=1.0))
    return (check_of("known", KNOWN, parts, ()),)


def _as_values(rows: Matrix) -> Values:
    """The features of rows, and what their forecasts are stated in."""
    keys = pl.DataFrame({"coin": rows.coin_names, "close_time": rows.issued_at})
    keys = keys.with_columns(pl.col("coin").cast(pl.String), pl.col("close_time").cast(CANDLE_SCHEMA["close_time"]))
    names = (*rows.feature_names, "price", *(f"volatility over {h} bars" for h in rows.horizons.tolist()))
    return Values(keys, names, np.column_stack([rows.features, rows.price, rows.volatility]))


def _own_anew(features: FeatureSet) -> tuple[Feature, ...]:
    """The user's features, from their text again, so that they remember nothing."""
    again = with_own(features.text, features.origin, features.series)
    return tuple(feature for feature in again.features if feature.name in again.own)


def _hold_out(config: Config) -> FitPath:
    def path(matrix: Matrix, learner: Learner) -> FitTrial:
        training = fit_by(config, learner, matrix, FitRun())
        return FitTrial(training.test_start, training.hold_out.row, training.hold_out.forecast)

    return path


def _walk(config: Config, pool: CoinPool) -> FitPath:
    """The forecasts of the first refit in the second half of a walk over all folds."""

    def path(matrix: Matrix, learner: Learner) -> FitTrial:
        step, refit_every = config.steps(pool.granularity)
        plan = plan_folds(
            matrix,
            step=step,
            refit_every=refit_every,
            embargo=config.backtest.embargo_bars,
            min_train_bars=config.train.min_train_bars,
            start=None,
            end=None,
        )
        walk = walk_forward(matrix, {"witness": learner}, plan, run=FitRun(), **calibration_of(config))
        folds = sorted(set(walk.fold.tolist()))
        fold = folds[len(folds) // 2]
        keep = walk.fold == fold
        known_at = int(fold_starts(plan, matrix.bar_us)[fold]) - plan.embargo * matrix.bar_us
        return FitTrial(known_at, walk.row[keep], walk.forecasts["witness"].rows(keep))

    return path


def raise_for_leaks(report: AuditReport, features: FeatureSet) -> None:
    """Raise ModelError if the audit found anything, or could not look: for after the report is shown."""
    _raise_for(report, features, (*report.leaks, *report.misdeclared))
    unrun = [check for check in report.checks if not check.ran]
    if unrun:
        reasons = "; ".join(f"{check.name}: {', '.join(check.not_run)}" for check in unrun)
        raise ModelError(f"The audit could not run {reasons}. Fetch more candles and try again.")


def refuse_training(report: AuditReport, features: FeatureSet) -> tuple[str, ...]:
    """Raise ModelError for what no model may be fitted on, before it is; what is only odd comes back as notes.

    Refused are leaks, and features of the user's own that are not as they declare. That there are too few bars for a
    check is no reason to refuse: the model itself then says what so little data can show.
    """
    _raise_for(report, features, (*report.leaks, *(name for name in report.misdeclared if name in features.own)))
    failed = [check for check in report.checks if check.name == "build"]
    if failed:
        raise ModelError(f"The audit could not compute the features: {', '.join(failed[0].not_run)}.")
    odd = [_words(*_first(report, name), features) for name in report.misdeclared]
    return tuple(f"{words} It is of the catalogue: please report it." for words in odd)


def _raise_for(report: AuditReport, features: FeatureSet, names: tuple[str, ...]) -> None:
    if names:
        others = dict.fromkeys(name for name in names if name != names[0])
        more = f" Found too: {', '.join(others)}." if others else ""
        check, finding = _first(report, names[0])
        remedy = "" if check in NOT_OF_A_FEATURE else f" {REMEDY}"
        raise ModelError(_words(check, finding, features) + remedy + more)


def _first(report: AuditReport, name: str) -> tuple[str, AuditFinding]:
    # What differs from itself differs from everything, so this comes first.
    checks = sorted(report.checks, key=lambda check: check.name != "repeated")
    return next((check.name, one) for check in checks for one in check.findings if one.feature == name)


def _words(check: str, finding: AuditFinding, features: FeatureSet) -> str:
    name = f"The feature {finding.feature}{features.where(finding.feature)}"
    where = f"for {finding.coin} at {finding.close_time:%Y-%m-%d %H:%M}"
    one, other = _value(finding.value_with), _value(finding.value_without)
    match check:
        case "repeated":
            return (
                f"{name} is not the same when it is computed again: {where} it is {one} at first and {other} then. "
                f"Take out what is drawn by chance, read from a clock or remembered."
            )
        case "prefix" | "past first" | "rows" | "known":
            return (
                f"{name} looks into the future: {where} it is {one} with all candles and {other} without the later "
                "ones."
            )
        case "perturbation":
            return (
                f"{name} looks into the future: {where} it is {one} with all candles and {other} once the later ones "
                "are changed."
            )
        case "coins":
            return f"{name} depends on the order of rows or coins: {where} it is {one} in one and {other} in another."
        case "warmup":
            declared = next((f.warmup for f in features.features if f.name == finding.feature), 0)
            what = "undefined or infinite behind" if finding.value_with is None else f"{one} within"
            return f"{name} is {what} its declared warm-up of {declared} bars, {where}."
        case "streaming" | "memory":
            return (
                f"{name} remembers more than it declares: {where} it is {one} with all candles and {other} with the "
                "declared memory."
            )
        case "foresight":
            return (
                f"[series.{finding.feature}] seems to be known later than known_after says: its changes go with what"
                f" the price does after them, with a rank correlation of {one} up to {finding.close_time:%Y-%m-%d};"
                f" what was known by then stays below {other}. Set known_after to when values were really published."
            )
        case "targets":
            return (
                f"The {finding.feature} {where} is {one}, and {other} is known too early or wrong: a bug in the labels."
            )
        case "folds":
            return (
                f"A {finding.feature} overlaps its test, {where}: it ends at {one}, the test begins at {other} (Unix)."
            )
        case _:
            return f"The {finding.feature} {where} is {one}, and {other} with other test rows: a fit saw them."


def _value(value: float | None) -> str:
    return "undefined" if value is None else repr(value)


def audit_words(config: Config, rows: PoolRows, progress: Progress | None = None) -> tuple[str, ...]:
    """What the audit says of features that may be fitted on. Raises ModelError for those that may not."""
    if config.train.audit:
        with steps(progress or NoProgress(), "audit", audit_steps(rows, paths=1)) as step:
            return refuse_training(audit_for_training(config, rows, step), rows.features)
    if rows.features.own:
        own = ", ".join(rows.features.own)
        return (f"Nobody has looked whether {own} of {rows.features.origin} know the future: [train] audit is false.",)
    return ()
