import sqlite3
from datetime import timedelta
from pathlib import Path

from cryptocast.registry import PRODUCTION, Registry
from cryptocast.serving.stamps import registry_stamp
from tests.registry.registry_fits import BITCOIN, NOW, register


def test_where_there_is_no_registry_the_stamp_says_so_and_makes_none(tmp_path: Path) -> None:
    stamp = registry_stamp(tmp_path)

    assert stamp() == stamp()
    assert list(tmp_path.iterdir()) == []


def test_every_commit_changes_the_stamp_and_no_look_does(tmp_path: Path) -> None:
    stamp = registry_stamp(tmp_path)
    seen = [stamp()]
    registry = Registry.open(tmp_path)
    seen.append(stamp())
    for label in ("1", "2"):
        register(registry, label)
        seen.append(stamp())
    for number in (2, 1, 2):
        registry.promote(BITCOIN, number, now=NOW + timedelta(days=number), who="ada", why="better")
        seen.append(stamp())
    reader = Registry.open(tmp_path, create=False)
    version = reader.alias(BITCOIN, PRODUCTION)
    reader.history()

    assert version is not None
    assert version.number == 2
    assert len(set(seen)) == len(seen)
    assert stamp() == seen[-1]


def test_a_commit_is_seen_while_another_process_keeps_the_registry_open(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    register(registry, "1")
    register(registry, "2")
    # An open connection keeps commits in the write-ahead log.
    other = sqlite3.connect(tmp_path / "registry" / "registry.db")
    other.execute("SELECT count(*) FROM fits").fetchone()
    try:
        before = registry_stamp(tmp_path)()
        registry.promote(BITCOIN, 2, now=NOW, who="ada", why="better")
        assert registry_stamp(tmp_path)() != before
    finally:
        other.close()
