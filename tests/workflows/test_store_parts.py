"""The part of a store that travels to a worker."""

from pathlib import Path

from cryptocast.config import Config, StoreConfig
from cryptocast.workflows.context import Context
from cryptocast.workflows.store_parts import coin_files, registry_files, store_of


def test_files_stand_where_they_stood_and_are_gone_at_the_end(tmp_path: Path) -> None:
    with store_of(Config(store=StoreConfig(path=tmp_path)), {"candles/a/usd/daily/x.parquet": b"bars"}) as config:
        folder = config.store.path
        assert folder != tmp_path
        assert (folder / "candles" / "a" / "usd" / "daily" / "x.parquet").read_bytes() == b"bars"
    assert not folder.exists()


def test_an_empty_store_has_no_files(tmp_path: Path) -> None:
    context = Context(config=Config(store=StoreConfig(path=tmp_path)))
    assert registry_files(context) == {}
    assert coin_files(context, ("bitcoin",), "usd", "daily") == {}
