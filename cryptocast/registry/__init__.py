"""Fits, versions, aliases, history, evidence and trials in SQLite, artefacts by hash, and the gate before production.

In: a manifest with its files, and for each coin its calibration and hold-out scores; what backtests found and tried.
Out: versions by reference, with files that were checked against their hashes; the evidence about a recipe. Every change
is one transaction, and each that moves an alias leaves rows in an append-only history; a kill at any moment leaves the
registry before or after the change. It never fits or loads a model, never runs code from a file, and never looks at a
clock: the time and the person come in as arguments.
"""

from cryptocast.evaluation.records import Evidence, Trial
from cryptocast.registry.append_only import most_telling
from cryptocast.registry.cached_registry import CachedRegistry, RegistryWatch, registry_stamp
from cryptocast.registry.contest import Contest, Paired, contest, horizon_reason
from cryptocast.registry.experiments import AbEvent, AbTest, Side, side_of
from cryptocast.registry.gate import Standing, first_version
from cryptocast.registry.ledger import CalibrationState, LedgerRow, MaturedRow, Outcome
from cryptocast.registry.live_status import Drift, LiveMark
from cryptocast.registry.manifest import (
    CoinCalibration,
    CoinData,
    FitManifest,
    HoldOut,
    HorizonScore,
    IntervalCoverage,
    artefacts_of,
    canonical_json,
    recipe_hash,
    sha256_hex,
)
from cryptocast.registry.reasons import Reason, ReasonCode
from cryptocast.registry.references import VersionReference, parse_reference
from cryptocast.registry.registry import ProductionMovedError, Promotion, Registry
from cryptocast.registry.retention import Deletion
from cryptocast.registry.verify import RegistryFault
from cryptocast.registry.version import (
    CHALLENGER,
    PRODUCTION,
    Action,
    Event,
    NewVersion,
    ScoreSummary,
    VerdictSummary,
    Version,
    VersionKey,
    VersionSummary,
    version_name,
)

__all__ = [
    "CHALLENGER",
    "PRODUCTION",
    "AbEvent",
    "AbTest",
    "Action",
    "CachedRegistry",
    "CalibrationState",
    "CoinCalibration",
    "CoinData",
    "Contest",
    "Deletion",
    "Drift",
    "Event",
    "Evidence",
    "FitManifest",
    "HoldOut",
    "HorizonScore",
    "IntervalCoverage",
    "LedgerRow",
    "LiveMark",
    "MaturedRow",
    "NewVersion",
    "Outcome",
    "Paired",
    "ProductionMovedError",
    "Promotion",
    "Reason",
    "ReasonCode",
    "Registry",
    "RegistryFault",
    "RegistryWatch",
    "ScoreSummary",
    "Side",
    "Standing",
    "Trial",
    "VerdictSummary",
    "Version",
    "VersionKey",
    "VersionReference",
    "VersionSummary",
    "artefacts_of",
    "canonical_json",
    "contest",
    "first_version",
    "horizon_reason",
    "most_telling",
    "parse_reference",
    "recipe_hash",
    "registry_stamp",
    "sha256_hex",
    "side_of",
    "version_name",
]
