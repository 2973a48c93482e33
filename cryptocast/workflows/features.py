"""What the models see: the catalogue, the table of values, the leakage audit, and what a fitted model made of them."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
import polars as pl

from cryptocast.config import Config
from cryptocast.data.tables import check_table_path, write_table
from cryptocast.errors import CryptocastError, UsageError
from cryptocast.features.audit import AuditCheck, AuditReport
from cryptocast.features.builder import required_history
from cryptocast.features.catalogue import Feature
from cryptocast.registry import Version, VersionReference
from cryptocast.spread import Spread, rounding_notes
from cryptocast.workflows.audits import audit_pool, audit_steps, raise_for_leaks
from cryptocast.workflows.coin_pool import CoinPool, data_used, feature_table, gather, pool_of, pool_rows
from cryptocast.workflows.context import Context, Selection, steps
from cryptocast.workflows.engines import Engine, spread_on
from cryptocast.workflows.explanation import ShapValues, explain
from cryptocast.workflows.feature_parts import spread_table
from cryptocast.workflows.feature_sets import FeatureSet, feature_set
from cryptocast.workflows.reports import CoinError, DataUsed

__all__ = [
    "AuditCheck",
    "AuditReport",
    "Catalogue",
    "Engine",
    "FeatureFacts",
    "FeatureImportance",
    "FeatureRow",
    "FeatureRows",
    "FeatureWeight",
    "audit_features",
    "catalogue",
    "feature_importance",
    "latest_features",
    "refuse_findings",
    "save_features",
]

HERE: Final = Engine()
# `features --audit` takes the future away at this many moments; `train` at three.
AUDIT_CUTS: Final = 8
# Bars of the coin that SHAP values are computed on: a year of days.
SHAP_BARS: Final = 365
# LightGBM's text format, one line for each fact of a tree.
TREE_FACT: Final = re.compile(r"^(split_feature|split_gain)=(.*)$", re.MULTILINE)


class FeatureFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the catalogue; see features.catalogue.Feature."""

    name: str
    family: str
    warmup: int
    memory: int
    unit: str
    needs: tuple[str, ...]
    source: str


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """Every feature, or those of one family."""

    schema: Literal["cryptocast.catalogue/1"] = "cryptocast.catalogue/1"
    feature_hash: str
    families: dict[str, int]
    features: tuple[FeatureFacts, ...]


class FeatureRow(msgspec.Struct, frozen=True, kw_only=True):
    """The features of one coin at one close; null is undefined, such as within the warm-up."""

    coin: str
    close_time: datetime
    values: dict[str, float | None]


class FeatureRows(msgspec.Struct, frozen=True, kw_only=True):
    """The latest row of each coin, and where the whole table was written. notes: what to know of who computed it."""

    schema: Literal["cryptocast.features/1"] = "cryptocast.features/1"
    granularity: str
    vs: str
    feature_hash: str
    data: tuple[DataUsed, ...]
    left_out: tuple[CoinError, ...]
    rows: tuple[FeatureRow, ...]
    notes: tuple[str, ...] = ()
    written: str | None = None
    written_rows: int | None = None


class FeatureWeight(msgspec.Struct, frozen=True, kw_only=True):
    """How much a model leans on a feature.

    gain: share of the total gain of all splits. shap: by how much the feature moves the log of the forecast volatility,
    up or down, in the mean over the recent bars and all horizons; latest: how it moves it at the last bar. Null where
    they could not be computed.
    """

    name: str
    family: str
    gain: float
    splits: int
    shap: float | None = None
    latest: float | None = None


class FeatureImportance(msgspec.Struct, frozen=True, kw_only=True):
    """The features of one version, the most used first. They say what was used, not what predicts.

    shap_bars: recent bars of the coin behind the SHAP values; shap_note: why there are none. dropped: features that the
    fit was spared, and why.
    """

    schema: Literal["cryptocast.importance/1"] = "cryptocast.importance/1"
    version: str
    source: str
    trained_at: datetime
    features: tuple[FeatureWeight, ...]
    unused: tuple[str, ...]
    dropped: dict[str, str]
    shap_bars: int
    shap_note: str | None = None


def catalogue(config: Config, family: str | None = None) -> Catalogue:
    """The catalogue, and what the settings add. Raises UsageError for a family that it does not have."""
    features = feature_set(config)
    families: dict[str, int] = defaultdict(int)
    for feature in features.features:
        families[feature.family] += 1
    if family is not None and family not in families:
        raise UsageError(f"There is no family of features {family!a}. Choose among {', '.join(families)}.")
    return Catalogue(
        feature_hash=features.digest,
        families=dict(families),
        features=tuple(_facts(feature) for feature in features.features if family in (None, feature.family)),
    )


def _facts(feature: Feature) -> FeatureFacts:
    names = (name for name in FeatureFacts.__struct_fields__ if name != "needs")
    return FeatureFacts(needs=tuple(sorted(feature.needs)), **{name: getattr(feature, name) for name in names})


def latest_features(context: Context, selection: Selection, engine: Engine = HERE) -> FeatureRows:
    """The features at the last close of each named coin, computed from the bars that serving would keep."""
    features = feature_set(context.config)
    tail = required_history(features.features) + 1
    return _rows(context, _pools(context, selection), features, tail=tail, engine=engine)[0]


def save_features(context: Context, selection: Selection, path: Path, engine: Engine = HERE) -> FeatureRows:
    """The same, and the whole table of the named coins, candles beside features, as .csv or .parquet."""
    check_table_path(path)
    features = feature_set(context.config)
    rows, table = _rows(context, _pools(context, selection), features, tail=None, engine=engine)
    write_table(table, path)
    return msgspec.structs.replace(rows, written=str(path), written_rows=table.height)


def audit_features(context: Context, selection: Selection) -> AuditReport:
    """Look for what knows the future, on all candles of the named coins and their pool: features, labels and fits.

    Raises UsageError if the named coins have different sources.
    """
    config = context.config
    pools = _pools(context, selection)
    if len(pools) > 1:
        sources = ", ".join(pool.source for pool in pools)
        raise UsageError(f"An audit looks at one source at a time, and these coins have {sources}. Set --source.")
    (pool,) = pools
    with steps(context.progress, "features", 1) as step:
        rows = pool_rows(pool, feature_set(config), config.horizons(pool.granularity))
        step(pool.source)
    with steps(context.progress, "audit", audit_steps(rows, paths=2)) as step:
        return audit_pool(config, rows, cuts=AUDIT_CUTS, step=step)


def refuse_findings(context: Context, report: AuditReport) -> None:
    """Raise ModelError if the audit found anything, or could not look. For after the report is shown."""
    raise_for_leaks(report, feature_set(context.config))


def feature_importance(context: Context, selection: Selection) -> FeatureImportance:
    """What the first named coin's lightgbm leans on: the one in production, else the newest.

    Gain is read from the saved trees; SHAP values are LightGBM's own, on the coin's recent bars. Raises RegistryError
    if there is no version.
    """
    request = selection.resolved(context.config)
    request = replace(request, coins=request.coins[:1])
    (pool,) = gather(context, request, pool=(), fetch_allowed=False)
    registry = context.registry(create=False)
    reference = VersionReference(request.coins[0], "lightgbm")
    version = registry.get(reference, pool.market)
    files = registry.load_files(version.fit_id)
    weights = _weights(version, files, catalogue(context.config))
    names = {weight.name for weight in weights}
    note, bars = None, 0
    try:
        explained = explain(context, request, pool, version, files, rows=SHAP_BARS)
        weights, bars = [_explained(weight, explained) for weight in weights], explained.bars
    except CryptocastError as error:
        note = f"SHAP values could not be computed: {error}"
    return FeatureImportance(
        version=version.name,
        source=pool.source,
        trained_at=version.manifest.trained_at,
        features=tuple(weights),
        unused=tuple(name for name in version.manifest.features if name not in names),
        dropped=dict(version.manifest.dropped),
        shap_bars=bars,
        shap_note=note,
    )


def _explained(weight: FeatureWeight, explained: ShapValues) -> FeatureWeight:
    typical, latest = explained.typical[weight.name], explained.latest[weight.name]
    return msgspec.structs.replace(weight, shap=typical, latest=latest)


def _pools(context: Context, selection: Selection) -> tuple[CoinPool, ...]:
    return gather(context, selection.resolved(context.config), pool=pool_of(context.config))


def _rows(
    context: Context, pools: tuple[CoinPool, ...], features: FeatureSet, *, tail: int | None, engine: Engine
) -> tuple[FeatureRows, pl.DataFrame]:
    """The latest rows of the named coins, and their whole tables below each other."""
    tables = []
    with spread_on(engine, context.progress) as spread:
        for pool in pools:
            # The whole pool, since features of the market look at all of its coins; then those that were named.
            table = _table(context, pool, features, tail=tail, spread=None if engine.is_here else spread)
            tables.append(table.filter(pl.col("coin").is_in(list(pool.named))))
        others = rounding_notes(spread.others)
    table = pl.concat(tables)
    latest = table.group_by("coin", maintain_order=True).last()
    rows = tuple(
        FeatureRow(coin=row["coin"], close_time=row["close_time"], values={name: row[name] for name in features.names})
        for row in latest.iter_rows(named=True)
    )
    report = FeatureRows(
        granularity=pools[0].granularity,
        vs=pools[0].vs,
        feature_hash=features.digest,
        data=tuple(row for pool in pools for row in data_used(pool) if row.coin in pool.named),
        left_out=tuple(dict.fromkeys(error for pool in pools for error in pool.left_out)),
        rows=rows,
        notes=others,
    )
    return report, table


def _table(
    context: Context, pool: CoinPool, features: FeatureSet, *, tail: int | None, spread: Spread | None
) -> pl.DataFrame:
    if spread is not None:
        return spread_table(spread, pool, features, tail=tail, progress=context.progress)
    with steps(context.progress, "features", 1) as step:
        table = feature_table(pool, features.features, tail=tail)
        step(pool.source)
    return table


def _weights(version: Version, files: Mapping[str, bytes], whole: Catalogue) -> list[FeatureWeight]:
    """The used features by their share of the gain, largest first."""
    gain: dict[int, float] = defaultdict(float)
    splits: dict[int, int] = defaultdict(int)
    for name, content in files.items():
        if not name.endswith(".txt"):
            continue
        for feature, value in _splits(content.decode()):
            gain[feature] += value
            splits[feature] += 1
    total = sum(gain.values()) or 1.0
    names, families = version.manifest.features, {facts.name: facts.family for facts in whole.features}
    return [
        FeatureWeight(name=names[at], family=families.get(names[at], "gone"), gain=gain[at] / total, splits=splits[at])
        for at in sorted(gain, key=lambda at: (-gain[at], at))
    ]


def _splits(text: str) -> Iterator[tuple[int, float]]:
    """The column and the gain of each split of a booster in LightGBM's text format."""
    facts: dict[str, list[str]] = {"split_feature": [], "split_gain": []}
    for name, values in TREE_FACT.findall(text):
        facts[name] += values.split()
    yield from zip(map(int, facts["split_feature"]), map(float, facts["split_gain"]), strict=True)
