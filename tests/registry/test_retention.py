import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cryptocast.errors import RegistryError
from cryptocast.registry import Registry
from tests.registry.registry_fits import BITCOIN, FILES, NOW, manifest, new_version
from tests.registry.registry_ledger import row
from tests.registry.test_experiments import event


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Eight versions of bitcoin; 1, then 2 in production."""
    made = Registry.open(tmp_path)
    for label in "12345678":
        files = {**FILES, "model-1.txt": label.encode() * 50}
        made.register(manifest(label, files=files), files, [new_version()], now=NOW, who="ada")
    made.promote(BITCOIN, 2, now=NOW, who="ada", why="better")
    return made


def numbers(registry: Registry) -> list[int]:
    return [version.number for version in registry.versions()]


def test_what_is_old_and_needed_by_nothing_goes_with_its_artefacts(registry: Registry, tmp_path: Path) -> None:
    objects = tmp_path / "registry" / "objects"
    before = len(list(objects.iterdir()))
    told = registry.collect(3)
    assert [number for _, number in told.versions] == [5, 4, 3]
    assert (told.fits, told.objects, told.bytes) == (3, 3, 150)
    assert numbers(registry) == [1, 2, 6, 7, 8]  # 2 is production, 1 what it would be rolled back to
    assert len(list(objects.iterdir())) == before - 3
    assert registry.verify() == ()
    assert all(registry.load_files(version.fit_id) for version in registry.versions())
    assert registry.collect(3).versions == ()


def test_a_dry_run_says_the_same_and_changes_nothing(registry: Registry) -> None:
    told = registry.collect(3, dry_run=True)
    assert len(numbers(registry)) == 8
    assert registry.collect(3) == told


def test_what_the_ledger_and_a_running_test_need_stays(registry: Registry) -> None:
    registry.write_ledger([row(3)])
    registry.start_ab(event(production=2, challenger=4))
    registry.collect(1)
    assert numbers(registry) == [1, 2, 3, 4, 8]
    registry.end_ab(event(production=2, challenger=4, event="stop"))
    registry.collect(1)
    assert numbers(registry) == [1, 2, 3, 8]


def test_a_number_is_never_given_twice(registry: Registry) -> None:
    registry.collect(1)
    (version,) = registry.register(manifest("9"), FILES, [new_version()], now=NOW, who="ada")
    assert version.number == 9


def test_only_our_own_and_old_leftovers_are_taken(registry: Registry, tmp_path: Path) -> None:
    objects = tmp_path / "registry" / "objects"
    for name in (".incoming-1-old", ".0.1-ab.tmp", ".0.2-ab.tmp", "notes.txt", "0" * 64):
        (objects / name).write_bytes(b"x")
    old = time.time() - 7200
    for name in (".incoming-1-old", ".0.1-ab.tmp"):
        os.utime(objects / name, (old, old))
    registry.collect(100)
    left = {path.name for path in objects.iterdir()}
    assert {".0.2-ab.tmp", "notes.txt"} <= left
    assert left.isdisjoint({".incoming-1-old", ".0.1-ab.tmp", "0" * 64})


def test_keeping_nothing_is_refused_and_so_is_a_store_without_a_registry(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected 1 or more"):
        registry.collect(0)
    with pytest.raises(RegistryError, match="no registry"):
        Registry.open(tmp_path / "elsewhere", create=False).collect(1)


def test_every_file_is_passed_on_as_it_is_deleted_and_none_where_nothing_is(registry: Registry) -> None:
    seen: list[Path] = []

    def each(files: Sequence[tuple[Path, int]]) -> Iterator[tuple[Path, int]]:
        for path, size in files:
            assert path.exists()
            yield path, size
            assert not path.exists()
            seen.append(path)

    registry.collect(3, dry_run=True, each=each)
    assert seen == []
    assert registry.collect(3, each=each).objects == len(seen) == 3
