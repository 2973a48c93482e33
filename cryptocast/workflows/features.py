"""What the models see: the catalogue, the table of values, the leakage audit, and what a fitted model made of them."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
import polars as pl

from cryptocast.data.tables import check_table_path, write_table
from cryptocast.errors import ModelError, UsageError
from cryptocast.features.audit import AuditCheck, AuditReport, audit
from cryptocast.features.catalogue import required_history
from cryptocast.registry import Version
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.documents import CoinError, DataUsed
from cryptocast.workflows.panel import (
    Pool,
    data_used,
    feature_set,
    feature_set_hash,
    feature_table,
    gather,
    missing_needs,
    pool_of,
)

__all__ = [
    "AuditCheck",
    "AuditReport",
    "Catalogue",
    "FeatureFacts",
    "FeatureRow",
    "FeatureRows",
    "FeatureWeight",
    "Importance",
    "audit_features",
    "catalogue",
    "feature_importance",
    "latest_features",
    "raise_for_leaks",
    "save_features",
]

# `features --audit` takes the future away at this many moments; `train` at three.
AUDIT_CUTS: Final = 8
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
    """The latest row of each coin, and where the whole table was written."""

    schema: Literal["cryptocast.features/1"] = "cryptocast.features/1"
    granularity: str
    vs: str
    feature_hash: str
    data: tuple[DataUsed, ...]
    left_out: tuple[CoinError, ...]
    rows: tuple[FeatureRow, ...]
    written: str | None = None
    written_rows: int | None = None


class FeatureWeight(msgspec.Struct, frozen=True, kw_only=True):
    """How much a model leans on a feature."""

    name: str
    family: str
    gain: float  # share of the total gain of all splits
    splits: int


class Importance(msgspec.Struct, frozen=True, kw_only=True):
    """The features of one version, the most used first. Gain says what was used, not what predicts."""

    schema: Literal["cryptocast.importance/1"] = "cryptocast.importance/1"
    version: str
    source: str
    trained_at: datetime
    features: tuple[FeatureWeight, ...]
    unused: tuple[str, ...]


def catalogue(family: str | None = None) -> Catalogue:
    """The catalogue. Raises UsageError for a family that it does not have."""
    families: dict[str, int] = defaultdict(int)
    for feature in feature_set():
        families[feature.family] += 1
    if family is not None and family not in families:
        raise UsageError(f"There is no family of features {family!a}. Choose among {', '.join(families)}.")
    return Catalogue(
        feature_hash=feature_set_hash(),
        families=dict(families),
        features=tuple(
            FeatureFacts(
                name=feature.name,
                family=feature.family,
                warmup=feature.warmup,
                memory=feature.memory,
                unit=feature.unit,
                needs=tuple(sorted(feature.needs)),
                source=feature.source,
            )
            for feature in feature_set()
            if family in (None, feature.family)
        ),
    )


def latest_features(context: Context, selection: Selection) -> FeatureRows:
    """The features at the last close of each named coin, computed from the bars that serving would keep."""
    return _rows(context, _pools(context, selection), tail=required_history(feature_set()) + 1)[0]


def save_features(context: Context, selection: Selection, path: Path) -> FeatureRows:
    """The same, and the whole table of the named coins, candles beside features, as .csv or .parquet."""
    check_table_path(path)
    rows, table = _rows(context, _pools(context, selection), tail=None)
    write_table(table, path)
    return msgspec.structs.replace(rows, written=str(path), written_rows=table.height)


def audit_features(context: Context, selection: Selection) -> AuditReport:
    """Look for features that know the future, on all candles of the named coins and their pool.

    Raises UsageError if the named coins have different sources.
    """
    pools = _pools(context, selection)
    if len(pools) > 1:
        sources = ", ".join(pool.source for pool in pools)
        raise UsageError(f"An audit looks at one source at a time, and these coins have {sources}. Set --source.")
    (pool,) = pools
    candles = pl.concat([bars.candles.frame for bars in pool.bars.values()])
    context.progress.begin("audit", 1)
    seed = context.config.train.seed
    report = audit(candles, feature_set(), bar_us=pool.bar_us, cuts=AUDIT_CUTS, seed=seed, without=missing_needs(pool))
    context.progress.step(", ".join(pool.coins))
    context.progress.end()
    return report


def raise_for_leaks(report: AuditReport) -> None:
    """Raise ModelError if the audit found anything. For after the report is shown."""
    wrong = [name for name in report.features if name in {*report.leaks, *report.misdeclared}]
    unrun = [check.name for check in report.checks if not check.ran]
    if wrong:
        raise ModelError(f"The audit refuses {', '.join(wrong)}. Mend the formula, or what the catalogue declares.")
    if unrun:
        raise ModelError(f"The audit could not run {', '.join(unrun)}. Fetch more candles and try again.")


def feature_importance(context: Context, selection: Selection) -> Importance:
    """What the first named coin's lightgbm leans on: the one in production, else the newest.

    Read from the saved trees themselves, so that LightGBM need not be loaded. Raises RegistryError if there is none.
    """
    asked = selection.resolved(context.config)
    coin = asked.coins[0]
    one = Selection((coin,), asked.source, asked.vs, asked.granularity, asked.now).resolved(context.config)
    (pool,) = gather(context, one, pool=(), fetch_allowed=False)
    registry = context.registry(create=False)
    version = registry.get(f"{coin}/lightgbm", source=pool.source, vs=asked.vs, granularity=asked.granularity)
    weights = _weights(version, registry.load_files(version.fit_id))
    used = {weight.name for weight in weights}
    return Importance(
        version=version.name,
        source=pool.source,
        trained_at=version.manifest.trained_at,
        features=tuple(weights),
        unused=tuple(name for name in version.manifest.features if name not in used),
    )


def _pools(context: Context, selection: Selection) -> tuple[Pool, ...]:
    return gather(context, selection.resolved(context.config), pool=pool_of(context.config))


def _rows(context: Context, pools: tuple[Pool, ...], *, tail: int | None) -> tuple[FeatureRows, pl.DataFrame]:
    """The latest rows of the named coins, and their whole tables below each other."""
    tables = []
    context.progress.begin("features", len(pools))
    for pool in pools:
        # The whole pool, since features of the market look at all of its coins; then those that were named.
        tables.append(feature_table(pool, tail=tail).filter(pl.col("coin").is_in(list(pool.named))))
        context.progress.step(pool.source)
    context.progress.end()
    table = pl.concat(tables)
    names = [feature.name for feature in feature_set()]
    latest = table.group_by("coin", maintain_order=True).last()
    rows = tuple(
        FeatureRow(coin=row["coin"], close_time=row["close_time"], values={name: row[name] for name in names})
        for row in latest.iter_rows(named=True)
    )
    report = FeatureRows(
        granularity=pools[0].granularity,
        vs=pools[0].vs,
        feature_hash=feature_set_hash(),
        data=tuple(used for pool in pools for used in data_used(pool) if used.coin in pool.named),
        left_out=tuple(dict.fromkeys(error for pool in pools for error in pool.left_out)),
        rows=rows,
    )
    return report, table


def _weights(version: Version, files: Mapping[str, bytes]) -> list[FeatureWeight]:
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
    names, families = version.manifest.features, {feature.name: feature.family for feature in feature_set()}
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
