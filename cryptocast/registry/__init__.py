"""Fits, versions, aliases, history, evidence and trials in SQLite, artefacts by hash, and the gate before production.

In: a manifest with its files, and for each coin its calibration and hold-out scores; what backtests found and tried.
Out: versions by reference, with files that were checked against their hashes; the evidence about a recipe. Every change
is one transaction, and each that moves an alias leaves rows in an append-only history; a kill at any moment leaves the
registry before or after the change. It never fits or loads a model, never runs code from a file, and never looks at a
clock: the time and the person come in as arguments.
"""

from cryptocast.evaluation.records import Evidence, Trial, TrialCommand
from cryptocast.registry.append_only import SeriesLike, most_telling, series_name
from cryptocast.registry.cached_registry import KeptRegistry, RegistryWatch, registry_stamp
from cryptocast.registry.contest import Contest, HorizonContest, Paired, contest, horizon_sentence
from cryptocast.registry.experiments import AbEvent, AbTest, Side, side_of
from cryptocast.registry.gate import (
    Decision,
    Grounds,
    Standing,
    best_of,
    first_version,
    next_version,
    standings,
    successor,
)
from cryptocast.registry.ledger import CalibrationState, Learn, LedgerRow, MaturedRow, Outcome
from cryptocast.registry.live_status import Drift, LiveMark
from cryptocast.registry.manifest import (
    Artefact,
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
from cryptocast.registry.references import BEST, Reference, nearest, parse_reference
from cryptocast.registry.registry import ProductionMovedError, Promotion, Registry
from cryptocast.registry.retention import Collected
from cryptocast.registry.verify import Finding
from cryptocast.registry.version import (
    CHALLENGER,
    PRODUCTION,
    Action,
    Event,
    ListedScore,
    ListedVerdict,
    ListedVersion,
    NewVersion,
    Version,
    VersionKey,
    version_name,
)

__all__ = [
    "BEST",
    "CHALLENGER",
    "PRODUCTION",
    "AbEvent",
    "AbTest",
    "Action",
    "Artefact",
    "CalibrationState",
    "CoinCalibration",
    "CoinData",
    "Collected",
    "Contest",
    "Decision",
    "Drift",
    "Event",
    "Evidence",
    "Finding",
    "FitManifest",
    "Grounds",
    "HoldOut",
    "HorizonContest",
    "HorizonScore",
    "IntervalCoverage",
    "KeptRegistry",
    "Learn",
    "LedgerRow",
    "ListedScore",
    "ListedVerdict",
    "ListedVersion",
    "LiveMark",
    "MaturedRow",
    "NewVersion",
    "Outcome",
    "Paired",
    "ProductionMovedError",
    "Promotion",
    "Reference",
    "Registry",
    "RegistryWatch",
    "SeriesLike",
    "Side",
    "Standing",
    "Trial",
    "TrialCommand",
    "Version",
    "VersionKey",
    "artefacts_of",
    "best_of",
    "canonical_json",
    "contest",
    "first_version",
    "horizon_sentence",
    "most_telling",
    "nearest",
    "next_version",
    "parse_reference",
    "recipe_hash",
    "registry_stamp",
    "series_name",
    "sha256_hex",
    "side_of",
    "standings",
    "successor",
    "version_name",
]
