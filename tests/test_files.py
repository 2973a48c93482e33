import os
import stat
from pathlib import Path

import pytest

from cryptocast.files import create_own_file, make_own_folder, nearest_folder, replace_file, write_refusal

pytestmark = pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX")


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_made_is_its_owners_alone_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        make_own_folder(tmp_path / "a" / "b")
        create_own_file(tmp_path / "a" / "b" / "empty")
        replace_file(tmp_path / "a" / "file", b"content")
    finally:
        os.umask(before)
    assert [rights(tmp_path / name) for name in ("a", "a/b", "a/b/empty", "a/file")] == [0o700, 0o700, 0o600, 0o600]


def test_a_folder_and_a_file_that_are_there_stay_as_they_are(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_own_folder(tmp_path)
    (tmp_path / "file").write_bytes(b"content")
    create_own_file(tmp_path / "file")
    assert rights(tmp_path) == 0o755
    assert (tmp_path / "file").read_bytes() == b"content"
    with pytest.raises(FileExistsError):
        make_own_folder(tmp_path / "file")


def test_whether_something_can_be_written_is_asked_of_the_nearest_folder_and_leaves_nothing(tmp_path: Path) -> None:
    assert nearest_folder(tmp_path / "a" / "b") == tmp_path
    assert write_refusal(tmp_path / "a" / "b") is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert write_refusal(tmp_path / "file") == "Not a directory"
