"""Fits, versions, aliases, history, evidence and trials in SQLite, artefacts by hash, and the gate before production.

In: a manifest with its files, and for each coin its calibration and hold-out scores; what backtests found and tried.
Out: versions by reference, with files that were checked against their hashes; the evidence about a recipe. Every change
is one transaction, and each that moves an alias leaves rows in an append-only history; a kill at any moment leaves the
registry before or after the change. It never fits or loads a model, never runs code from a file, and never looks at a
clock: the time and the person come in as arguments.
"""

from cryptocast.evaluation.records import Evidence, Trial, TrialCommand
from cryptocast.registry.gate import Decision, best_of, first_version, next_version
from cryptocast.registry.journal import SeriesLike, series_name
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
from cryptocast.registry.references import Reference, parse_reference
from cryptocast.registry.registry import ProductionMovedError, Registry
from cryptocast.registry.verify import Finding
from cryptocast.registry.version import (
    CHALLENGER,
    PRODUCTION,
    Action,
    Event,
    ListedScore,
    ListedVersion,
    NewVersion,
    Version,
    VersionKey,
)

__all__ = [
    "CHALLENGER",
    "PRODUCTION",
    "Action",
    "Artefact",
    "CoinCalibration",
    "CoinData",
    "Decision",
    "Event",
    "Evidence",
    "Finding",
    "FitManifest",
    "HoldOut",
    "HorizonScore",
    "IntervalCoverage",
    "ListedScore",
    "ListedVersion",
    "NewVersion",
    "ProductionMovedError",
    "Reference",
    "Registry",
    "SeriesLike",
    "Trial",
    "TrialCommand",
    "Version",
    "VersionKey",
    "artefacts_of",
    "best_of",
    "canonical_json",
    "first_version",
    "next_version",
    "parse_reference",
    "recipe_hash",
    "series_name",
    "sha256_hex",
]
