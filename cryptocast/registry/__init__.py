"""Fits, versions, aliases, history, evidence and trials in SQLite, artefacts by hash, and the gate before production.

In: a manifest with its files, and for each coin its calibration and hold-out scores; what backtests found and tried.
Out: versions by reference, with files that were checked against their hashes; the evidence about a recipe. Every change
is one transaction, and each that moves an alias leaves rows in an append-only history; a kill at any moment leaves the
registry before or after the change. It never fits or loads a model, never runs code from a file, and never looks at a
clock: the time and the person come in as arguments.
"""

from cryptocast.evaluation.records import Evidence, HoldOut, HorizonScore
from cryptocast.registry.cached_registry import CachedRegistry, RegistryWatch, registry_stamp
from cryptocast.registry.contest import Contest
from cryptocast.registry.experiments import AbEvent, AbTest, Side, side_of
from cryptocast.registry.gate import first_version
from cryptocast.registry.ledger import LedgerOutcome, LedgerRow, MaturedRow
from cryptocast.registry.live_status import LiveMark
from cryptocast.registry.manifest import (
    CoinCalibration,
    CoinData,
    FitManifest,
    SeriesData,
    artefacts_of,
    recipe_hash,
    sha256_hex,
)
from cryptocast.registry.notices import Condition, Notice, NoticeCode
from cryptocast.registry.reasons import Reason
from cryptocast.registry.references import VersionReference
from cryptocast.registry.registry import ProductionMovedError, Registry
from cryptocast.registry.source_moves import SettledSources, SourceMove
from cryptocast.registry.version import CHALLENGER, PRODUCTION, Event, NewVersion, Version, VersionKey, VersionSummary

__all__ = [
    "CHALLENGER",
    "PRODUCTION",
    "AbEvent",
    "AbTest",
    "CachedRegistry",
    "CoinCalibration",
    "CoinData",
    "Condition",
    "Contest",
    "Event",
    "Evidence",
    "FitManifest",
    "HoldOut",
    "HorizonScore",
    "LedgerOutcome",
    "LedgerRow",
    "LiveMark",
    "MaturedRow",
    "NewVersion",
    "Notice",
    "NoticeCode",
    "ProductionMovedError",
    "Reason",
    "Registry",
    "RegistryWatch",
    "SeriesData",
    "SettledSources",
    "Side",
    "SourceMove",
    "Version",
    "VersionKey",
    "VersionReference",
    "VersionSummary",
    "artefacts_of",
    "first_version",
    "recipe_hash",
    "registry_stamp",
    "sha256_hex",
    "side_of",
]
