"""The part of a store that forecasts of some coins need, as files that travel to a worker which does not see the store.

Of the registry all of its database, and of its artefacts those of the versions that may answer for these coins.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from cryptocast.choices import Granularity
from cryptocast.config import Config
from cryptocast.data.store import REVISIONS
from cryptocast.features.market import BITCOIN
from cryptocast.registry import PRODUCTION, Registry, Version
from cryptocast.workflows.context import Context
from cryptocast.workflows.market_data.resolve import open_store

DATABASE = "registry/registry.db"
OBJECTS = "registry/objects"


def registry_files(context: Context) -> dict[str, bytes]:
    """The database of the registry as it is at one moment, by its path below the store."""
    content = context.registry(create=False).snapshot()
    return {} if content is None else {DATABASE: content}


def coin_files(context: Context, coins: Sequence[str], vs: str, granularity: Granularity) -> dict[str, bytes]:
    """By their paths below the store: candles of the coins, of bitcoin and of the pools of their versions, with their
    revisions, and the artefacts of these versions."""
    root, versions = context.config.store.path, list(_versions(context.registry(create=False), coins, vs, granularity))
    pools = [version.manifest.coins for version in versions if not version.manifest.learned_in_parts]
    needed = {*coins, BITCOIN, *(data.coin for pool in pools for data in pool)}
    store = open_store(context.config)
    paths = [
        store.path(key)
        for key in store.series_keys()
        if key.coin in needed and (key.vs, key.granularity) == (vs, granularity)
    ]
    paths += [path.with_name(path.name.replace(".parquet", REVISIONS)) for path in paths]
    paths += [root / OBJECTS / file.sha256 for version in versions for file in version.manifest.artefacts]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def _versions(registry: Registry, coins: Sequence[str], vs: str, granularity: Granularity) -> Iterator[Version]:
    for coin in coins:
        yield from registry.versions(alias=PRODUCTION, coin=coin, vs=vs, granularity=granularity)


@contextmanager
def store_of(config: Config, files: Mapping[str, bytes]) -> Iterator[Config]:
    """The settings with a store of these files, which is gone at the end."""
    with TemporaryDirectory(prefix="cryptocast-") as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield msgspec.structs.replace(config, store=msgspec.structs.replace(config.store, path=Path(folder)))
