"""Candles in, named columns out, and from those the arrays that models learn from.

In: a candle frame in CANDLE_SCHEMA, as a lazy Polars plan. Out: the same rows on their complete time grid with one
column for each feature of the catalogue; a Matrix with targets. Training, serving and the leakage audit go through the
same `add_features`. Never here: files, the network, fitting, or anything that looks forward but `targets`.
"""

from cryptocast.features.audit import AuditCheck, AuditFinding, AuditReport, audit
from cryptocast.features.builder import (
    LOOKBACK,
    add_features,
    evaluate,
    feature_hash,
    required_history,
    select_features,
)
from cryptocast.features.catalogue import BAR_VOLUME, FEATURES, Family, Feature
from cryptocast.features.grid import complete_grid
from cryptocast.features.matrix import Matrix, Panel, build_matrix

__all__ = [
    "BAR_VOLUME",
    "FEATURES",
    "LOOKBACK",
    "AuditCheck",
    "AuditFinding",
    "AuditReport",
    "Family",
    "Feature",
    "Matrix",
    "Panel",
    "add_features",
    "audit",
    "build_matrix",
    "complete_grid",
    "evaluate",
    "feature_hash",
    "required_history",
    "select_features",
]
