import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cryptocast.data import parquet
from cryptocast.data.cached_store import CachedCandles, PublishedCandles
from cryptocast.data.schema import SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.errors import DataError
from cryptocast.market import Market
from tests.conftest import simulated_candles

KEY = SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
FRAME = simulated_candles(("bitcoin",), 60)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read."""
    seen: list[Path] = []
    real = parquet.read_bytes

    def counted(path: Path) -> bytes:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(parquet, "read_bytes", counted)
    return seen


def plain(root: Path) -> CandleStore:
    return CandleStore(root, lock_timeout_s=5)


def kept(root: Path, most: int = 256) -> CachedCandles:
    return CachedCandles(root, lock_timeout_s=5, most=most)


def rows(store: CandleStore) -> int:
    found = store.read(KEY)
    return 0 if found is None else found.provenance.rows


def test_an_unchanged_series_is_read_once_and_equals_what_any_store_reads(tmp_path: Path, reads: list[Path]) -> None:
    plain(tmp_path).write(KEY, FRAME.head(50), fetched_at=NOW)
    store, before = kept(tmp_path), len(reads)
    found = [store.read(KEY) for _ in range(5)]

    assert len(reads) - before == 1
    other, first = plain(tmp_path).read(KEY), found[0]
    assert found[4] is first
    assert first is not None
    assert other is not None
    assert first.frame.equals(other.frame)
    assert first.provenance == other.provenance


def test_what_another_store_writes_is_seen_with_the_next_read_and_what_it_removes_is_gone(tmp_path: Path) -> None:
    store = kept(tmp_path)
    assert rows(store) == 0
    for count in (40, 41, 60):
        plain(tmp_path).write(KEY, FRAME.head(count), fetched_at=NOW)
        assert rows(store) == count
    plain(tmp_path).path(KEY).unlink()
    assert store.read(KEY) is None
    assert store.facts(KEY) is None


def test_its_own_writes_are_merged_with_what_is_on_the_disk(tmp_path: Path) -> None:
    store = kept(tmp_path)
    store.write(KEY, FRAME.head(30), fetched_at=NOW)
    assert rows(store) == 30
    plain(tmp_path).write(KEY, FRAME.head(45), fetched_at=NOW)
    store.write(KEY, FRAME.tail(20), fetched_at=NOW)
    assert rows(store) == rows(plain(tmp_path)) == 60


def test_a_damaged_file_is_no_series_and_verify_trusts_no_memory(tmp_path: Path) -> None:
    store = kept(tmp_path)
    store.write(KEY, FRAME, fetched_at=NOW)
    assert rows(store) == 60
    path = store.path(KEY)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    facts = path.stat()
    path.write_bytes(content)
    import os

    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as a failing disk changes it: nothing tells

    assert rows(store) == 60
    assert len(store.verify()) == 1
    with pytest.raises(DataError):
        store.read(KEY)


def test_memory_is_bounded(tmp_path: Path, reads: list[Path]) -> None:
    keys = [SeriesKey(Market("coingecko", "usd", "daily"), f"coin-{i}") for i in range(4)]
    for key in keys:
        plain(tmp_path).write(key, simulated_candles((key.coin,), 30), fetched_at=NOW)
    store, before = kept(tmp_path, most=2), len(reads)
    for key in (*keys, keys[-1], keys[0]):
        assert store.read(key) is not None
    assert len(reads) - before == 5


def test_several_threads_read_one_state_or_the_next(tmp_path: Path) -> None:
    store, seen, stop = kept(tmp_path), set[int](), threading.Event()
    plain(tmp_path).write(KEY, FRAME.head(40), fetched_at=NOW)

    def read() -> None:
        while not stop.is_set():
            seen.add(rows(store))
            time.sleep(0.001)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for count in range(42, 61, 3):
        plain(tmp_path).write(KEY, FRAME.head(count), fetched_at=NOW)
    stop.set()
    for thread in threads:
        thread.join()
    assert seen <= set(range(40, 61))
    assert rows(store) == 60


def test_new_bars_are_shown_once_they_are_announced(tmp_path: Path) -> None:
    fresh = kept(tmp_path)
    shown = PublishedCandles(tmp_path, fresh, lock_timeout_s=5)
    assert shown.read(KEY) is None
    fresh.write(KEY, FRAME.head(50), fetched_at=NOW)
    assert rows(shown) == 50  # there was nothing: it is looked for each time
    fresh.write(KEY, FRAME.head(51), fetched_at=NOW)
    assert (rows(fresh), rows(shown)) == (51, 50)
    shown.publish(KEY, fresh.facts(KEY))
    assert rows(shown) == 51
    fresh.path(KEY).unlink()
    assert rows(shown) == 51
    shown.publish(KEY, None)
    assert shown.read(KEY) is None


def test_what_has_changed_since_it_was_read_or_announced_is_known(tmp_path: Path) -> None:
    fresh = kept(tmp_path)
    shown = PublishedCandles(tmp_path, fresh, lock_timeout_s=5)
    assert shown.read(KEY) is None
    assert shown.changed() == {}
    for count in (50, 51):
        fresh.write(KEY, FRAME.head(count), fetched_at=NOW)
        assert shown.changed() == {KEY: fresh.facts(KEY)}
        shown.publish(KEY, fresh.facts(KEY))
        assert shown.changed() == {}
        assert rows(shown) == count
