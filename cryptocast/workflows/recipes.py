"""A fit by the settings: how it is made, which of them decide it, and their hash, which two fits share when one is the
other on newer data."""

import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cryptocast.config import Config
from cryptocast.features.matrix import Matrix
from cryptocast.kinds import KINDS, SHIPPED, is_installed
from cryptocast.models.base import FitRun, Learner
from cryptocast.models.fitting import TrainingResult, fit_in_time
from cryptocast.registry import recipe_hash
from cryptocast.workflows import pretrained
from cryptocast.workflows.context import Progress
from cryptocast.workflows.own_models import own_settings

# Which features there are is in their hash; the rest is data, luck, speed or a check.
LEFT_OUT: Final = frozenset(
    {
        "features.file",
        "features.across_coins",
        "train.pool",
        "train.seed",
        "train.threads",
        "train.audit",
        "train.min_train_bars",
        "train.models",
        "train.pretrained",
    }
)


def threads_of(config: Config) -> int:
    """How many threads a fit may take."""
    return config.train.threads or os.cpu_count() or 1


def fit_run(config: Config, progress: Progress | None = None) -> FitRun:
    """How a fit is run here. progress: a step for each fit, where one work makes several."""
    threads = threads_of(config)
    if progress is None:
        return FitRun(threads=threads)
    return FitRun(threads=threads, step=progress.tell, done=progress.step)


def calibration_of(config: Config) -> dict[str, Any]:
    """What decides how forecasts are calibrated, and the seed, as arguments of `fit_in_time` and `walk_forward`."""
    train = config.train
    return {"block_count": train.blocks, "least_blocks": train.min_independent_blocks, "seed": train.seed}


def fit_by(
    config: Config, learner: Learner, rows: Matrix, run: FitRun, members: Mapping[str, TrainingResult] | None = None
) -> TrainingResult:
    """The training of a learner on these rows, see `fit_in_time`."""
    split = config.split
    return fit_in_time(
        learner, rows, fit=split.fit, stop=split.stop, run=run, members=members, **calibration_of(config)
    )


def fit_settings(config: Config, kind: str) -> dict[str, bool | int | float | str | None]:
    """What decides a fit of the kind, as "section.key". A kind without settings of its own has the common ones.

    What decides a fit of its members decides an ensemble, too: of those that can be fitted here.
    """
    sections = {"features": config.features, "split": config.split, "train": config.train}
    members = tuple(member for member in config.members(kind) if is_installed(member))
    for part in (kind, *members):
        own = getattr(config, part, None) if part in KINDS else None
        if own is not None:
            sections[part] = own
    if members:
        sections[kind] = msgspec.structs.replace(sections[kind], members=members)
    flat: dict[str, bool | int | float | str | None] = {
        f"{section}.{key}": ",".join(value) if isinstance(value, tuple) else value
        for section, values in sections.items()
        for key, value in msgspec.structs.asdict(values).items()
    }
    return {name: value for name, value in flat.items() if name not in LEFT_OUT} | own_settings(kind, config)


def recipe_of(config: Config, kind: str, feature_digest: str, history: int = 0) -> str:
    """The hash of kind, settings and features. history: bars of its coin that a forecast knows, 0 for all of them."""
    cut = {"backtest.history_bars": history} if history else {}
    if kind == SHIPPED and (fit := pretrained.pretrained_fit(config)) is not None:
        return recipe_hash(fit.kind, {**fit.evidence_settings, **cut}, fit.feature_hash)
    return recipe_hash(kind, {**fit_settings(config, kind), **cut}, feature_digest)
