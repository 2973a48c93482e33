"""The whole leakage audit, as `features --audit` and `train` run it: features, labels, and the fits to come."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from cryptocast.config import Config
from cryptocast.errors import ModelError
from cryptocast.evaluation.fit_audit import FitPath, FitTrial, audit_fits
from cryptocast.evaluation.plan import fold_starts, plan_folds
from cryptocast.evaluation.walk_forward import walk_forward
from cryptocast.features.audit import AuditFinding, AuditReport, audit, with_checks
from cryptocast.features.builder import required_history
from cryptocast.features.catalogue import Feature
from cryptocast.features.foresight import audit_foresight
from cryptocast.features.matrix import Matrix
from cryptocast.features.own import with_own
from cryptocast.features.row_audit import audit_rows
from cryptocast.models.base import FitRun, Learner
from cryptocast.models.selective import SelectiveLearner
from cryptocast.workflows.coin_pool import CoinPool, PoolRows, candles_of, missing_needs
from cryptocast.workflows.feature_sets import FeatureSet
from cryptocast.workflows.recipes import calibration_of, fit_by

# The audit of a training looks at this many bars of each coin, or at what the user's own features need, and takes the
# future away at this many moments; `features --audit` looks at all bars, at more moments, and walks forward too.
TRAINING_BARS: Final = 700
TRAINING_CUTS: Final = 2
# Checks whose findings are faults of this package: nobody could mend a feature for them.
NOT_OF_A_FEATURE: Final = ("targets", "folds", "fitted")
REMEDY: Final = "Mend it, see cryptocast features --audit, or waive the audit with [train] audit = false."


def audit_for_training(config: Config, rows: PoolRows) -> AuditReport:
    """What stands between features and a fit: seconds, on the last bars of each coin, over the fits of a training."""
    own = [feature for feature in rows.features.features if feature.name in rows.features.own]
    bars = max(TRAINING_BARS, required_history(own) + TRAINING_BARS // 4 if own else 0)
    return _audit(config, rows, cuts=TRAINING_CUTS, bars=bars, paths={"hold-out": _hold_out(config)})


def audit_pool(config: Config, rows: PoolRows, *, cuts: int) -> AuditReport:
    """The same on all bars, over the fits of a training and of a walk-forward."""
    paths = {"hold-out": _hold_out(config), "walk-forward": _walk(config, rows.pool)}
    return _audit(config, rows, cuts=cuts, bars=None, paths=paths)


def _audit(config: Config, rows: PoolRows, *, cuts: int, bars: int | None, paths: Mapping[str, FitPath]) -> AuditReport:
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
    )
    if features.own and any(check.name != "build" for check in report.checks):
        # On all bars, though the rest may look at the last ones: a formula can look ahead where it is not looked at.
        fresh, candles = partial(_own_anew, features), candles_of(pool, features=features.features)
        report = with_checks(report, audit_rows(candles, fresh, bar_us=pool.bar_us, seed=seed, without=without))
        if features.series:
            report = with_checks(report, (audit_foresight(candles, tuple(features.series)),))
    wrap = partial(SelectiveLearner, max_correlation=config.features.max_correlation)
    return with_checks(report, audit_fits(rows.matrix, paths, seed=seed, wrap=wrap))


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
        case "prefix" | "past first" | "rows":
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


def audit_words(config: Config, rows: PoolRows) -> tuple[str, ...]:
    """What the audit says of features that may be fitted on. Raises ModelError for those that may not."""
    if config.train.audit:
        return refuse_training(audit_for_training(config, rows), rows.features)
    if rows.features.own:
        own = ", ".join(rows.features.own)
        return (f"Nobody has looked whether {own} of {rows.features.origin} know the future: [train] audit is false.",)
    return ()
