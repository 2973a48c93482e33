"""`/models`: the versions in production, from the registry's list."""

from datetime import datetime
from typing import Literal

import msgspec

from cryptocast.registry import PRODUCTION, Registry, VersionSummary
from cryptocast.workflows.context import Context

__all__ = ["ModelDocument", "ModelRow", "production_models"]


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One version in production."""

    coin: str
    kind: str
    version: int
    source: str
    vs: str
    granularity: str
    created_at: datetime


class ModelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Every version in production. Where a coin has none, the baseline answers."""

    schema: Literal["cryptocast.models/1"] = "cryptocast.models/1"
    models: tuple[ModelRow, ...]


def production_models(context: Context) -> ModelDocument:
    """Read now. Raises RegistryError."""
    registry: Registry = context.registry(create=False)
    return ModelDocument(models=tuple(_row(one) for one in registry.listing(alias=PRODUCTION)))


def _row(one: VersionSummary) -> ModelRow:
    key = one.key
    return ModelRow(
        coin=key.coin,
        kind=key.kind,
        version=one.number,
        source=key.source,
        vs=key.vs,
        granularity=key.granularity,
        created_at=one.created_at,
    )
