import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.errors import RegistryError
from cryptocast.registry.manifest import sha256_hex
from cryptocast.registry.objects import Objects


@settings(max_examples=20)
@given(data=st.binary(max_size=2000))
def test_what_is_put_can_be_got_by_its_hash(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    objects = Objects(tmp_path_factory.mktemp("o") / "objects")
    sha256 = objects.put(data)
    assert sha256 == sha256_hex(data)
    assert objects.get(sha256, len(data)) == data
    assert objects.put(data) == sha256
    assert [path.name for path in objects.folder.iterdir()] == [sha256]


def test_a_stored_object_is_read_only(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    assert stat.S_IMODE(objects.path(objects.put(b"abc")).stat().st_mode) == 0o400


def _stored(tmp_path: Path) -> tuple[Objects, str, Path]:
    objects = Objects(tmp_path / "objects")
    sha256 = objects.put(b"a model of some length")
    path = objects.path(sha256)
    path.chmod(0o644)
    return objects, sha256, path


@pytest.mark.parametrize("position", [0, 7, 21])
def test_a_flipped_byte_is_refused_with_the_file_and_what_to_do(tmp_path: Path, position: int) -> None:
    objects, sha256, path = _stored(tmp_path)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(RegistryError, match=r"damaged.*backup.*cryptocast train") as caught:
        objects.get(sha256, 22)
    assert str(path) in str(caught.value)


def test_putting_the_bytes_again_heals_a_damaged_object(tmp_path: Path) -> None:
    objects, sha256, path = _stored(tmp_path)
    path.write_bytes(b"a model of some lenght")
    assert objects.put(b"a model of some length") == sha256
    assert objects.get(sha256, 22) == b"a model of some length"


def test_a_truncated_or_longer_object_is_refused_before_it_is_read(tmp_path: Path) -> None:
    objects, sha256, path = _stored(tmp_path)
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # sparse: reading it would exhaust the memory
    with pytest.raises(RegistryError, match=r"has 1099511627776 bytes, expected 22"):
        objects.get(sha256, 22)
    path.write_bytes(b"a model")
    with pytest.raises(RegistryError, match=r"has 7 bytes, expected 22"):
        objects.get(sha256, 22)


def test_a_missing_object_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"is missing"):
        Objects(tmp_path).get("0" * 64, 1)


@pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")
def test_links_pipes_and_folders_are_not_objects(tmp_path: Path) -> None:
    objects, sha256, path = _stored(tmp_path)
    elsewhere = path.rename(tmp_path / "elsewhere")
    path.symlink_to(elsewhere)
    with pytest.raises(RegistryError, match="cannot be read"):
        objects.get(sha256, 22)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RegistryError, match="not a plain file"):
        objects.get(sha256, 0)
    path.unlink()
    path.mkdir()
    with pytest.raises(RegistryError, match=r"not a plain file|cannot be read"):
        objects.get(sha256, 22)


@pytest.mark.parametrize("name", ["", "../registry.db", "A" * 64, "0" * 63, "0" * 64 + "\n", "/etc/passwd"])
def test_a_name_that_is_no_hash_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="not a sha256"):
        Objects(tmp_path).get(name, 1)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RegistryError, match=r"cannot be stored.*rights and space"):
        Objects(tmp_path / "file" / "objects").put(b"abc")
