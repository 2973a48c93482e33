"""Archives of real fits: carried to another store they answer the same; a hostile one never reaches LightGBM."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from cryptocast.errors import RegistryError, UsageError
from cryptocast.registry import Registry, artefacts_of, canonical_json, sha256_hex
from cryptocast.registry.archive import Index, pack, unpack
from cryptocast.workflows.archives import export_version, import_archive
from cryptocast.workflows.context import Selection
from cryptocast.workflows.train import Order, train
from tests.registry.registry_fits import NOW
from tests.registry.test_archive import members, zipped
from tests.workflows.test_backtest import context


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Registry, Path]:
    """A registry with a lightgbm of bitcoin, and its archive."""
    folder = tmp_path_factory.mktemp("trained")
    trained = context(folder)
    train(trained, Order(selection=Selection(("bitcoin",)), model="lightgbm", horizons=(1, 7)))
    registry = trained.registry()
    path = folder / "bitcoin.zip"
    export_version(registry, registry.versions()[0], path, whole_fit=False, overwrite=False)
    return registry, path


def test_an_archive_brings_the_same_fit_and_importing_it_again_changes_nothing(
    exported: tuple[Registry, Path], tmp_path: Path
) -> None:
    registry, path = exported
    other = Registry.open(tmp_path)
    checked = import_archive(other, path, dry_run=True, who="eve", now=NOW)
    assert (checked.versions, other.versions()) == ((), ())
    first = import_archive(other, path, dry_run=False, who="eve", now=NOW)
    again = import_archive(other, path, dry_run=False, who="eve", now=NOW + timedelta(days=1))
    assert [row.was_there for row in (*first.versions, *again.versions)] == [False, True]
    (version,) = other.versions()
    (origin,) = registry.versions()
    assert (version.fit_id, version.hold_out, version.calibration) == (
        origin.fit_id,
        origin.hold_out,
        origin.calibration,
    )
    assert other.load_files(version.fit_id) == registry.load_files(origin.fit_id)
    assert other.history()[0].who == "eve (import)"
    assert other.verify() == ()


def test_a_file_that_is_there_is_not_replaced_unasked(exported: tuple[Registry, Path]) -> None:
    registry, path = exported
    with pytest.raises(UsageError, match="--overwrite"):
        export_version(registry, registry.versions()[0], path, whole_fit=False, overwrite=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"num_leaves=", b"num_leaves=9"),
        (b"num_class=1\n", b"num_class=1000000000\n"),
        (b"left_child=", b"left_child=9"),
        (b"tree\nversion=v4", b"\x80\x04K\x01."),
    ],
)
def test_a_well_packed_archive_of_a_hostile_model_is_refused_and_leaves_nothing(
    exported: tuple[Registry, Path], tmp_path: Path, old: bytes, new: bytes
) -> None:
    archive = unpack(exported[1].read_bytes(), "a.zip")
    name = next(name for name, data in archive.files.items() if data.startswith(b"tree"))
    files = {**archive.files, name: archive.files[name].replace(old, new, 1)}
    assert files != archive.files
    manifest = msgspec.structs.replace(archive.manifest, artefacts=artefacts_of(files))
    text = canonical_json(manifest)
    packed = msgspec.json.decode(members(exported[1].read_bytes())["index.json"], type=Index)
    index = msgspec.structs.replace(
        packed, fit_id=sha256_hex(text), manifest_bytes=len(text), artefacts=manifest.artefacts
    )
    content = {"index.json": canonical_json(index), "manifest.json": text}
    evil = tmp_path / "evil.zip"
    evil.write_bytes(zipped({**content, **{f"artefacts/{n}": data for n, data in files.items()}}))
    registry = Registry.open(tmp_path)
    with pytest.raises(RegistryError, match=r"evil\.zip is refused"):
        import_archive(registry, evil, dry_run=False, who="eve", now=NOW)
    assert registry.versions() == ()
    assert not list((tmp_path / "registry").glob("objects/*"))


def test_what_is_packed_is_of_one_fit(exported: tuple[Registry, Path]) -> None:
    with pytest.raises(ValueError, match="one fit"):
        pack([], {})
