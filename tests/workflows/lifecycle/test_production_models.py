from pathlib import Path

import msgspec
import pytest

from cryptocast.errors import RegistryError
from cryptocast.registry import Registry
from cryptocast.workflows.lifecycle.production_models import production_models
from tests.registry.registry_fits import register
from tests.serving.serving_app import config, context


def test_the_versions_in_production_are_listed_and_no_others(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    (first,) = register(registry, "1")
    register(registry, "2")

    (row,) = production_models(context(config(store=tmp_path))).models
    assert (row.coin, row.kind, row.version) == (first.key.coin, first.key.kind, first.number)
    assert (row.source, row.vs, row.granularity) == msgspec.structs.astuple(first.key.market)


def test_a_registry_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "registry.db").write_bytes(b"no database" * 100)
    with pytest.raises(RegistryError):
        production_models(context(config(store=tmp_path)))
