"""A recorded backtest, repeated: the same bars, the same settings, and whether the same numbers come out."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from cryptocast.config import Config
from cryptocast.errors import DataError, ModelError
from cryptocast.evaluation.plan import WalkPlan
from cryptocast.kinds import LIBRARIES, MIX
from cryptocast.models.own import SETTING
from cryptocast.workflows.auxiliary_history import help_for
from cryptocast.workflows.backtesting.contenders import contenders, left_out
from cryptocast.workflows.backtesting.report import report_of
from cryptocast.workflows.backtesting.run import BacktestInput, carry_out, scored_part
from cryptocast.workflows.backtesting.run_folder import RunManifest, digest_of, read_manifest
from cryptocast.workflows.coin_pool import CoinPool, choice_of, gather, pool_rows, series_data
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.environment import code_version, library_versions
from cryptocast.workflows.feature_sets import feature_set
from cryptocast.workflows.own_models import code_of
from cryptocast.workflows.reports import BacktestReport


class ModelComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One model then and now. largest_difference: of a mean CRPS, relative."""

    model: str
    same: bool
    largest_difference: float


class RerunReport(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a run came out as it was recorded. differs: what is not as it was, beside the numbers."""

    schema: Literal["cryptocast.rerun/3"] = "cryptocast.rerun/3"
    run: str
    same: bool
    models: tuple[ModelComparison, ...]
    differs: tuple[str, ...]
    then: BacktestReport
    now: BacktestReport

    @property
    def exit_code(self) -> int:
        """0 if every forecast is the same, bit for bit."""
        return 0 if self.same else ModelError.exit_code


def rerun(context: Context, path: Path, *, engine: Engine | None = None) -> RerunReport:
    """Make every forecast of a recorded run anew and compare.

    path: of its manifest or folder, or its id. Raises DataError if there is no finished run, or its bars cannot be had
    as they were; ModelError if this release computes its features differently.
    """
    manifest, folder = read_manifest(path, context.config.store.path)
    recorded = folder.finished()
    began = time.perf_counter()
    inputs = as_recorded(context, manifest)
    outcome = carry_out(inputs, None, engine or Engine())
    report = report_of(inputs, scored_part(inputs, outcome), folder.run_id, (), seconds=time.perf_counter() - began)
    digests = digest_of(outcome.judgement.forecasts)
    models = tuple(
        ModelComparison(
            model=name,
            same=digests.get(name) == digest,
            largest_difference=_difference(recorded.report, report, name),
        )
        for name, digest in recorded.digests.items()
    )
    return RerunReport(
        run=folder.run_id,
        same=all(model.same for model in models),
        models=models,
        differs=_surroundings(manifest),
        then=recorded.report,
        now=report,
    )


def as_recorded(context: Context, manifest: RunManifest) -> BacktestInput:
    """All that a recorded run rests on, as it was. Raises as `rerun` does."""
    config = _settings(context.config, manifest)
    context = replace(context, config=config)
    features = feature_set(config)
    if features.digest != manifest.feature_hash:
        raise ModelError(
            f"The run {manifest.run_id} had features that are computed differently now (by this release, or by the file"
            " of [features]), so it cannot be repeated. Run the backtest anew."
        )
    if (code_of(set(manifest.models) - {MIX}, config) or msgspec.UNSET) != manifest.model_code:
        raise ModelError(
            f"The run {manifest.run_id} had models of a file of its own, and {SETTING} names another now, or none."
            " Put it back, or run the backtest anew."
        )
    pool = _pool(context, manifest)
    for name, now in series_data(pool, features).items():
        if now != manifest.series.get(name):
            raise DataError(
                f"The run {manifest.run_id} cannot be repeated: the values of {name} are not those of then."
            )
    extra = help_for(context, pool, features, manifest.horizons)
    models = contenders(config, manifest.models).learning_from(extra.rows)
    plan = WalkPlan(**manifest.plan) if manifest.plan else None
    notes = left_out(config, manifest.models)
    return BacktestInput(context, pool_rows(pool, features, manifest.horizons), models, plan, notes)


def _settings(config: Config, manifest: RunManifest) -> Config:
    """The settings now, with those that decide the numbers as they were then."""
    sections: dict[str, Any] = {}
    for name, values in manifest.settings.items():
        now = getattr(config, name)
        sections[name] = msgspec.convert({**msgspec.to_builtins(now), **values}, type(now))
    return msgspec.structs.replace(config, **sections)


def _pool(context: Context, manifest: RunManifest) -> CoinPool:
    """The same bars: as they are now up to the last one of then, or as the store knew them then."""
    order = [coin.coin for coin in manifest.coins]
    request = Resolved(
        coins=manifest.named,
        source=choice_of(manifest.source),
        vs=manifest.vs,
        granularity=manifest.granularity,
        now=max(coin.last for coin in manifest.coins),
    )
    wrong = ""
    for bars in (request, replace(request, as_of=manifest.created_at)):
        try:
            (pool,) = gather(context, bars, pool=order, fetch_allowed=False)
        except DataError as error:
            wrong = str(error)
            continue
        wrong = _first_difference(pool, manifest)
        if not wrong:
            return replace(pool, bars={coin: pool.bars[coin] for coin in order}, named=manifest.named)
    raise DataError(f"The run {manifest.run_id} cannot be repeated: {wrong}")


def _first_difference(pool: CoinPool, manifest: RunManifest) -> str:
    for coin in manifest.coins:
        bars = pool.bars.get(coin.coin)
        if bars is None:
            return f"there are no candles of {coin.coin} from {manifest.source} any more."
        facts = bars.candles.provenance
        if facts.content_hash != coin.content_hash:
            return (
                f"the candles of {coin.coin} are not those of then: {facts.rows} bars with hash "
                f"{facts.content_hash[:12]}, recorded are {coin.rows} with {coin.content_hash[:12]}."
            )
    return ""


def _difference(then: BacktestReport, now: BacktestReport, model: str) -> float:
    pairs = [
        (old.crps[model], new.crps[model])
        for before, after in zip(then.rows, now.rows, strict=True)
        for old, new in zip(before.scores, after.scores, strict=True)
        if model in old.crps and model in new.crps
    ]
    return float(np.max([abs(new - old) / abs(old) if old else abs(new - old) for old, new in pairs], initial=0.0))


def _surroundings(manifest: RunManifest) -> tuple[str, ...]:
    """What is not as it was, of that which should not matter, and may."""
    libraries = library_versions(LIBRARIES)
    then, now = {"code": manifest.code_version, **manifest.libraries}, {"code": code_version(), **libraries}
    return tuple(
        f"{name} {version}, now {now.get(name, 'not installed')}"
        for name, version in then.items()
        if now.get(name) != version
    )
