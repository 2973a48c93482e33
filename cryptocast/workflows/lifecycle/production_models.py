"""The versions in production, from the registry's list."""

from typing import Literal

import msgspec

from cryptocast.registry import PRODUCTION
from cryptocast.times import Moment
from cryptocast.workflows.context import Context


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One version in production."""

    coin: str
    kind: str
    version: int
    source: str
    vs: str
    granularity: str
    created_at: Moment


class ModelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Every version in production. Where a coin has none, the baseline answers."""

    schema: Literal["cryptocast.models/1"] = "cryptocast.models/1"
    models: tuple[ModelRow, ...]


def production_models(context: Context) -> ModelDocument:
    """Read now. Raises RegistryError."""
    rows = []
    for one in context.registry(create=False).listing(alias=PRODUCTION):
        market = msgspec.structs.asdict(one.key.market)
        rows.append(
            ModelRow(coin=one.key.coin, kind=one.key.kind, version=one.number, created_at=one.created_at, **market)
        )
    return ModelDocument(models=tuple(rows))
