"""What lies in the store of candles, and whether it is whole."""

from datetime import datetime
from typing import Literal

import msgspec

from cryptocast.config import Config
from cryptocast.data.schema import Provenance
from cryptocast.data.store import DamagedFile
from cryptocast.workflows.market_data.resolve import open_store


class SeriesListing(msgspec.Struct, frozen=True, kw_only=True):
    """One series of candles, as the metadata of its file says."""

    coin: str
    source: str
    vs: str
    granularity: str
    rows: int
    first: datetime
    last: datetime
    fetched_at: datetime
    content_hash: str
    notes: tuple[str, ...]


class StoreListing(msgspec.Struct, frozen=True, kw_only=True):
    """Every series of the store."""

    schema: Literal["cryptocast.store/1"] = "cryptocast.store/1"
    path: str
    series: tuple[SeriesListing, ...]


class StoreCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong in the store; no findings: every file was read and is what it was written as."""

    schema: Literal["cryptocast.store-check/1"] = "cryptocast.store-check/1"
    path: str
    series: int
    findings: tuple[DamagedFile, ...]


def list_store(config: Config) -> StoreListing:
    """What is there, from the metadata alone."""
    return StoreListing(path=str(config.store.path), series=tuple(listed(facts) for facts in open_store(config).ls()))


def listed(facts: Provenance) -> SeriesListing:
    """One series as a list has it."""
    return SeriesListing(
        coin=facts.key.coin,
        **msgspec.structs.asdict(facts.key.market),
        rows=facts.rows,
        first=facts.first,
        last=facts.last,
        fetched_at=facts.fetched_at,
        content_hash=facts.content_hash,
        notes=facts.notes,
    )


def check_store(config: Config) -> StoreCheck:
    """Every file read, hashed and checked."""
    store = open_store(config)
    return StoreCheck(path=str(config.store.path), series=len(store.ls()), findings=tuple(store.verify()))
