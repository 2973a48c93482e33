import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import filelock
import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cryptocast.data import parquet
from cryptocast.data.schema import CANDLE_SCHEMA, SeriesKey
from cryptocast.data.store import LAYOUT, REVISION_SCHEMA, CandleStore, encode_series
from cryptocast.errors import DataError, UsageError
from cryptocast.market import Market

KEY = SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin")
START = datetime(2020, 1, 1, tzinfo=UTC)
T1, T2, T3 = (datetime(2021, 1, day, tzinfo=UTC) for day in (1, 2, 3))
ROOT = Path(__file__).resolve().parents[2]


def bars(closes: dict[int, float], coin: str = "bitcoin", volume: float | None = 5.0) -> pl.DataFrame:
    """One bar for each day after START, with that close."""
    rows = [(coin, START + timedelta(days=d), c, c, c, c, volume, None, True) for d, c in sorted(closes.items())]
    return pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row")


def store_at(path: Path, lock_timeout_s: float = 5.0) -> CandleStore:
    return CandleStore(path, lock_timeout_s=lock_timeout_s)


def closes(store: CandleStore, key: SeriesKey = KEY) -> dict[int, float]:
    candles = store.read(key)
    assert candles is not None
    return {(at - START).days: close for at, close in candles.frame.select("close_time", "close").rows()}


def test_a_series_comes_back_as_it_was_written(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    frame = bars({1: 10.0, 2: 11.0, 5: 12.5}, volume=None)
    result = store.write(KEY, frame, fetched_at=T1, notes=("a", "b"))
    candles = store.read(KEY)
    assert candles is not None
    assert_frame_equal(candles.frame, frame)
    assert candles.provenance == result.provenance
    assert candles.provenance.notes == ("a", "b")
    assert (result.added, result.revised, result.removed) == (3, 0, 0)
    assert (tmp_path / "candles/coingecko/usd/daily/bitcoin.parquet").is_file()
    assert store.ls() == [result.provenance]
    assert store.verify() == []


def test_the_market_of_a_series_stays_whatever_comes_from_another(tmp_path: Path) -> None:
    store, key = store_at(tmp_path), SeriesKey(Market("coinbase", "usd", "daily"), "bitcoin")
    store.write(key, bars({1: 1.0}), fetched_at=T1, market="BTC/USDC")
    change = store.write(key, bars({2: 2.0}), fetched_at=T2, market="BTC/USD")
    for candles in (store.read(key), store.read(key, T1)):
        assert candles is not None
        assert candles.provenance.market == "BTC/USDC"
        assert candles.provenance.market_in_other_currency == "BTC/USDC"
    assert change.provenance.market == "BTC/USDC"
    assert [one.market for one in store.ls()] == ["BTC/USDC"]


def test_what_was_never_written_reads_as_none(tmp_path: Path) -> None:
    assert store_at(tmp_path).read(KEY) is None
    assert store_at(tmp_path).ls() == []
    assert store_at(tmp_path).verify() == []


series = st.dictionaries(st.integers(1, 12), st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(series, min_size=1, max_size=4))
def test_writes_merge_like_dictionaries_and_keep_every_old_value(writes: list[dict[int, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = store_at(Path(folder))
        expected: dict[int, float] = {}
        history: list[tuple[int, float]] = []
        for number, write in enumerate(writes):
            revised = {day for day in write if day in expected and expected[day] != write[day]}
            history += [(day, expected[day]) for day in sorted(revised)]
            result = store.write(KEY, bars(write), fetched_at=T1 + timedelta(days=number))
            assert (result.added, result.revised) == (len(write.keys() - expected.keys()), len(revised))
            expected |= write
            assert closes(store) == expected
        past = store.revisions(KEY)
        assert [((at - START).days, close) for at, close in past.select("close_time", "close").rows()] == history
        assert store.verify() == []


@settings(max_examples=15, deadline=None)
@given(series, series)
def test_a_replacement_leaves_exactly_itself_and_records_what_it_dropped(
    first: dict[int, float], second: dict[int, float]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = store_at(Path(folder))
        store.write(KEY, bars(first), fetched_at=T1, notes=("old file",))
        result = store.write(KEY, bars(second), fetched_at=T2, notes=("new file",), replace=True)
        assert closes(store) == second
        assert result.provenance.notes == ("new file",)
        assert result.removed == len(first.keys() - second.keys())
        assert result.added == len(second.keys() - first.keys())
        lost = {day: close for day, close in first.items() if second.get(day) != close}
        past = store.revisions(KEY)
        assert {(at - START).days: c for at, c in past.select("close_time", "close").rows()} == lost


def test_writing_the_same_bars_again_changes_only_the_time_of_the_fetch(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    first = store.write(KEY, bars({1: 10.0, 2: 11.0}), fetched_at=T1)
    again = store.write(KEY, bars({1: 10.0, 2: 11.0}), fetched_at=T2)
    assert (again.added, again.revised) == (0, 0)
    assert again.provenance.content_hash == first.provenance.content_hash
    assert again.provenance.fetched_at == T2
    assert store.revisions(KEY).is_empty()


def test_a_revision_recorded_before_a_kill_is_not_recorded_twice(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bars({1: 10.0, 2: 11.0}), fetched_at=T1)
    old = store.path(KEY).read_bytes()
    store.write(KEY, bars({2: 12.0}), fetched_at=T2)
    store.path(KEY).write_bytes(old)  # as if killed between the two files
    store.write(KEY, bars({2: 12.0}), fetched_at=T3)
    past = store.revisions(KEY)
    assert past.schema == REVISION_SCHEMA
    assert past.select("close", "revised_at").rows() == [(11.0, T3)]


def test_a_removed_series_is_gone_with_its_revisions_and_nothing_else_is(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    other = SeriesKey(Market("coingecko", "usd", "hourly"), "bitcoin")
    for key in (KEY, other):
        store.write(key, bars({1: 10.0, 2: 11.0}), fetched_at=T1)
        store.write(key, bars({2: 12.0}), fetched_at=T2)
    assert store.series_keys() == (KEY, other)
    store.remove(KEY)
    assert store.series_keys() == (other,)
    assert store.read(KEY) is None
    assert [len(store.revisions(key)) for key in (KEY, other)] == [0, 1]
    assert store.verify() == []
    store.remove(KEY)  # as after a kill in between: no error
    store.write(KEY, bars({1: 10.0}), fetched_at=T3)
    assert store.known_since(KEY) == T3


def test_a_damaged_series_can_be_removed_and_a_refusal_of_the_disk_is_one_line(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bars({1: 10.0}), fetched_at=T1)
    store.path(KEY).write_bytes(b"PAR1")
    assert store.series_keys() == (KEY,)
    store.remove(KEY)
    assert store.series_keys() == ()
    store.path(KEY).mkdir()
    with pytest.raises(DataError, match=r"bitcoin\.parquet cannot be removed: "):
        store.remove(KEY)


def test_a_removal_waits_for_a_writer(tmp_path: Path) -> None:
    store = store_at(tmp_path, lock_timeout_s=0.05)
    store.write(KEY, bars({1: 10.0}), fetched_at=T1)
    lock = filelock.FileLock(tmp_path / "run/candles-coingecko-usd-daily-bitcoin.lock")
    with lock, pytest.raises(DataError, match="Another process has been writing bitcoin"):
        store.remove(KEY)
    assert store.read(KEY) is not None


def test_the_market_of_a_series_comes_back_and_never_changes_by_itself(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bars({1: 10.0}), fetched_at=T1, market="BTC/USDT")
    store.write(KEY, bars({2: 11.0}), fetched_at=T2, market="BTC/USDC")
    stored = store.read(KEY)
    assert stored is not None
    assert stored.provenance.market == "BTC/USDT"
    assert [facts.market for facts in store.ls()] == ["BTC/USDT"]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (bars({}), "no candles"),
        (bars({1: 1.0}).drop("volume"), "columns"),
        (bars({1: 1.0}, coin="ethereum"), "ethereum"),
        (pl.concat([bars({1: 1.0}), bars({1: 2.0})]), "not sorted"),
        (pl.concat([bars({2: 1.0}), bars({1: 2.0})]), "not sorted"),
        (bars({1: -3.0}), "-3.0 at 2020-01-02"),
        (bars({1: float("nan")}), "nan"),
        (bars({1: float("inf")}), "inf"),
        (bars({1: 0.0}), "positive"),
        (bars({1: 1.0}, volume=-1.0), "volume -1.0"),
        (bars({1: 1.0}).with_columns(pl.col("close_time").dt.offset_by("1h")), "off the daily grid"),
        (bars({1: 1.0}).with_columns(close=pl.lit(None, dtype=pl.Float64())), "without close"),
    ],
)
def test_a_frame_that_is_no_series_is_refused_and_the_store_stays(
    tmp_path: Path, frame: pl.DataFrame, words: str
) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bars({1: 10.0}), fetched_at=T1)
    with pytest.raises(DataError, match=words):
        store.write(KEY, frame, fetched_at=T2)
    assert closes(store) == {1: 10.0}


@pytest.mark.parametrize(
    "coin",
    ["../../etc/passwd", "..", "", "Bitcoin", "a/b", "a\x00b", "bit\ncoin", "₿itcoin", "🚀", "a" * 101, "-x", "a.b"],
)
def test_a_hostile_name_never_becomes_a_path(tmp_path: Path, coin: str) -> None:
    store = store_at(tmp_path / "store")
    key = SeriesKey(Market("coingecko", "usd", "daily"), coin)
    for attempt in (store.path, store.read, store.revisions):
        with pytest.raises(UsageError) as caught:
            attempt(key)
        message = str(caught.value)
        assert message.isascii()
        assert message.isprintable()
        assert len(message) < 250
    with pytest.raises(UsageError):
        store.write(key, bars({1: 1.0}), fetched_at=T1)
    assert not (tmp_path / "store").exists()


def test_a_wrong_source_quote_or_granularity_is_refused(tmp_path: Path) -> None:
    for key in (
        SeriesKey(Market("nowhere", "usd", "daily"), "bitcoin"),
        SeriesKey(Market("file", "../x", "daily"), "bitcoin"),
    ):
        with pytest.raises(UsageError):
            store_at(tmp_path).path(key)


def damaged(content: bytes) -> Sequence[tuple[str, bytes]]:
    frame = bars({1: 10.0, 2: 11.0})
    foreign = parquet.encode(frame)
    other = CandleStore(Path(tempfile.mkdtemp()), lock_timeout_s=1)
    elsewhere = SeriesKey(Market("coingecko", "usd", "daily"), "ethereum")
    moved = encode_series(
        bars({1: 1.0}, coin="ethereum"),
        other.write(elsewhere, bars({1: 1.0}, coin="ethereum"), fetched_at=T1).provenance,
    )
    return [
        ("cut off", content[: len(content) // 2]),
        ("empty", b""),
        ("text", b"hello"),
        ("no provenance", foreign),
        ("other series", moved),
        ("edited", parquet.encode(bars({1: 10.0, 2: 99.0}), b"{}")),
    ]


@pytest.mark.parametrize("which", range(6))
def test_a_damaged_file_is_named_with_a_remedy_and_found_by_verify(tmp_path: Path, which: int) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bars({1: 10.0, 2: 11.0}), fetched_at=T1)
    path = store.path(KEY)
    path.write_bytes(damaged(path.read_bytes())[which][1])
    with pytest.raises(DataError) as caught:
        store.read(KEY)
    assert "bitcoin.parquet" in str(caught.value)
    assert "cryptocast fetch bitcoin --source coingecko" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [finding.path for finding in store.verify()] == [str(path)]
    with pytest.raises(DataError):
        store.write(KEY, bars({3: 12.0}), fetched_at=T2)


@pytest.mark.parametrize("target", ["nowhere", "bitcoin.parquet"])
def test_a_link_that_leads_nowhere_or_in_a_circle_is_no_missing_series(tmp_path: Path, target: str) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bars({1: 10.0}), fetched_at=T1)
    path = store.path(KEY)
    path.unlink()
    path.symlink_to(target)
    with pytest.raises(DataError, match="cannot be read"):
        store.read(KEY)
    assert [finding.path for finding in store.verify()] == [str(path)]
    with pytest.raises(DataError):
        store.write(KEY, bars({2: 11.0}), fetched_at=T2)


def test_a_folder_where_a_series_should_be_is_one_line_with_a_next_step(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.path(KEY).mkdir(parents=True)
    with pytest.raises(DataError, match=r"cannot be read: Is a directory\. Check that it is a file"):
        store.read(KEY)


def test_a_store_that_is_a_file_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    for look in (store_at(tmp_path / "store").verify, store_at(tmp_path / "store").ls):
        with pytest.raises(DataError, match=r"is not a folder.*\[store\] path"):
            look()


def test_a_changed_price_under_the_old_hash_is_noticed(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    provenance = store.write(KEY, bars({1: 10.0, 2: 11.0}), fetched_at=T1).provenance
    store.path(KEY).write_bytes(encode_series(bars({1: 10.0, 2: 11.5}), provenance))
    with pytest.raises(DataError, match="does not match the hash"):
        store.read(KEY)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_flipped_byte_goes_unnoticed_or_escapes_as_another_error(data: st.DataObject) -> None:
    frame = bars({day: 100.0 + day for day in range(1, 30)})
    with tempfile.TemporaryDirectory() as folder:
        store = store_at(Path(folder))
        store.write(KEY, frame, fetched_at=T1)
        content = bytearray(store.path(KEY).read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        store.path(KEY).write_bytes(content)
        try:
            candles = store.read(KEY)
        except DataError:
            return
        assert candles is not None
        assert_frame_equal(candles.frame, frame)  # the byte said nothing about the data


def test_a_file_where_no_series_can_lie_is_found(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bars({1: 10.0}), fetched_at=T1)
    stray = store.path(KEY).with_name("Bit Coin.parquet")
    stray.write_bytes(store.path(KEY).read_bytes())
    assert [finding.path for finding in store.verify()] == [str(stray)]
    assert len(store.ls()) == 1


def test_a_damaged_revision_file_is_found_and_does_not_stop_reading(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bars({1: 10.0}), fetched_at=T1)
    store.write(KEY, bars({1: 11.0}), fetched_at=T2)
    path = store.path(KEY).with_name("bitcoin.revisions.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    assert closes(store) == {1: 11.0}
    assert len(store.verify()) == 1


def test_leftovers_of_a_killed_writer_are_ignored_and_cleaned(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bars({1: 10.0}), fetched_at=T1)
    leftover = store.path(KEY).with_name(".bitcoin.parquet.123-abcd.tmp")
    leftover.write_bytes(b"half")
    assert store.verify() == []
    assert closes(store) == {1: 10.0}
    store.write(KEY, bars({2: 11.0}), fetched_at=T2)
    assert not leftover.exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"cannot be written: .*\[store\] path"):
        store_at(tmp_path / "file").write(KEY, bars({1: 10.0}), fetched_at=T1)


def test_a_store_that_another_process_holds_is_told_after_the_timeout(tmp_path: Path) -> None:
    store = store_at(tmp_path, lock_timeout_s=0.1)
    store.write(KEY, bars({1: 10.0}), fetched_at=T1)
    with (
        filelock.FileLock(tmp_path / "run/candles-coingecko-usd-daily-bitcoin.lock"),
        pytest.raises(DataError, match="Another process"),
    ):
        store.write(KEY, bars({2: 10.0}), fetched_at=T2)
    assert closes(store) == {1: 10.0}


WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import polars as pl
from cryptocast.data.schema import CANDLE_SCHEMA, SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.market import Market

root, first, step, rounds, days = Path(sys.argv[1]), *map(int, sys.argv[2:6])
store = CandleStore(root, lock_timeout_s=600)
key = SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin")
start = datetime(2020, 1, 1, tzinfo=UTC)
print("ready", flush=True)
for number in range(rounds):
    price = float(number % 2 + 1)
    rows = [("bitcoin", start + timedelta(days=first + step * (number * (days == 1) + d)),
             *[price] * 4, None, None, False) for d in range(days)]
    store.write(key, pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row"), fetched_at=datetime.now(UTC))
"""


def start_writer(root: Path, first: int, step: int, rounds: int, days: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(root), *map(str, (first, step, rounds, days))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_series(tmp_path: Path) -> None:
    moments = random.Random(3)
    for turn in range(2):
        roots = [tmp_path / f"store{turn}{number}" for number in range(3)]
        writers = [start_writer(root, 1, 1, 1_000_000, 200) for root in roots]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            time.sleep(moments.uniform(0.0, 0.08))
            writer.send_signal(signal.SIGKILL)
        for root, writer in zip(roots, writers, strict=True):
            assert writer.wait() == -signal.SIGKILL
            assert writer.stdout is not None
            writer.stdout.close()
            store = store_at(root)
            assert store.verify() == []
            if store.path(KEY).exists():
                assert len(set(closes(store).values())) == 1  # a write changes all bars: never a mixture
            store.write(KEY, bars({1: 5.0}), fetched_at=T1)
            assert not list(root.rglob("*.tmp"))


def test_two_processes_that_write_one_series_sixty_times_lose_nothing(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, first, 2, 30, 1) for first in (0, 1)]
    for writer in writers:
        writer.communicate(timeout=600)
        assert writer.returncode == 0
    assert sorted(closes(store_at(tmp_path))) == list(range(60))
    assert store_at(tmp_path).verify() == []


HOLDER = """
import sys
import filelock

with filelock.FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run/candles-coingecko-usd-daily-bitcoin.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    store = store_at(tmp_path, lock_timeout_s=0.2)
    with pytest.raises(DataError, match="Another process"):
        store.write(KEY, bars({1: 1.0}), fetched_at=T1)
    holder.kill()
    holder.communicate(timeout=60)
    assert store.write(KEY, bars({1: 1.0}), fetched_at=T1).added == 1  # the lock's patience of 0.2 s is not needed


# --- what was known when


def known(store: CandleStore, as_of: datetime) -> dict[int, float] | None:
    candles = store.read(KEY, as_of)
    if candles is None:
        return None
    assert candles.provenance.rows == len(candles.frame)
    return {(at - START).days: close for at, close in candles.frame.select("close_time", "close").rows()}


def test_a_past_state_is_read_back_after_revisions_additions_and_a_replacement(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    second = timedelta(seconds=1)
    store.write(KEY, bars({1: 10.0, 2: 11.0}), fetched_at=T1)
    store.write(KEY, bars({2: 12.0, 3: 13.0}), fetched_at=T2)
    store.write(KEY, bars({3: 33.0}), fetched_at=T3, replace=True)
    assert known(store, T1 - second) is None
    assert known(store, T1) == known(store, T2 - second) == {1: 10.0, 2: 11.0}
    assert known(store, T2) == known(store, T3 - second) == {1: 10.0, 2: 12.0, 3: 13.0}
    assert known(store, T3) == closes(store) == {3: 33.0}
    assert store.known_since(KEY) == T1


def test_a_past_state_says_so_and_has_a_hash_of_its_own(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    first = store.write(KEY, bars({1: 10.0}), fetched_at=T1).provenance
    store.write(KEY, bars({1: 11.0, 2: 12.0}), fetched_at=T3)
    then = store.read(KEY, T2)
    assert then is not None
    assert then.provenance.content_hash == first.content_hash
    assert then.provenance.fetched_at == T1
    assert "as it was known at 2021-01-02T00:00:00Z" in then.provenance.notes


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(series, st.booleans()), min_size=1, max_size=4))
def test_every_past_state_is_what_a_copy_made_then_holds(writes: list[tuple[dict[int, float], bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = store_at(Path(folder))
        copies: list[tuple[datetime, dict[int, float]]] = []
        for number, (write, replace) in enumerate(writes):
            at = T1 + timedelta(hours=number)
            store.write(KEY, bars(write), fetched_at=at, replace=replace)
            copies.append((at, closes(store)))
        for at, copy in copies:
            assert known(store, at + timedelta(minutes=30)) == copy


def test_a_kill_between_the_two_files_leaves_the_past_as_it_was(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bars({1: 10.0, 2: 11.0}), fetched_at=T1)
    old = store.path(KEY).read_bytes()
    store.write(KEY, bars({2: 12.0}), fetched_at=T2)
    store.path(KEY).write_bytes(old)
    assert known(store, T1) == known(store, T3) == {1: 10.0, 2: 11.0}
    store.write(KEY, bars({2: 13.0}), fetched_at=T3)
    assert known(store, T2) == {1: 10.0, 2: 11.0}
    assert known(store, T3) == {1: 10.0, 2: 13.0}


# --- layouts


def old_layout(frame: pl.DataFrame, provenance_of: CandleStore) -> bytes:
    """A file as the first layout had it: no times, no coverage."""
    candles = provenance_of.read(KEY)
    assert candles is not None
    stated = candles.provenance
    metadata = {
        "layout": 1,
        "source": "coingecko",
        "vs": "usd",
        "granularity": "daily",
        "coin": "bitcoin",
        "fetched_at": stated.fetched_at,
        "content_hash": stated.content_hash,
        "rows": stated.rows,
        "first": stated.first,
        "last": stated.last,
        "notes": [],
    }
    return parquet.encode(frame, msgspec.json.encode(metadata))


def test_a_file_of_the_first_layout_is_read_and_written_anew_with_the_next_bars(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    frame = bars({1: 10.0, 2: 11.0})
    store.write(KEY, frame, fetched_at=T1)
    store.path(KEY).write_bytes(old_layout(frame, store))
    assert store.verify() == []
    assert known(store, T1) == {1: 10.0, 2: 11.0}
    assert known(store, T1 - timedelta(seconds=1)) is None
    store.write(KEY, bars({2: 12.0}), fetched_at=T2)
    assert known(store, T1) == {1: 10.0, 2: 11.0}
    assert store.verify() == []


def test_a_newer_layout_is_refused_by_name_and_left_alone(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bars({1: 10.0}), fetched_at=T1)
    path = store.path(KEY)
    newer = {"layout": LAYOUT + 1, "something": "that only a newer one knows"}
    path.write_bytes(parquet.encode(bars({1: 10.0}), msgspec.json.encode(newer)))
    before = path.read_bytes()
    for attempt in (lambda: store.read(KEY), lambda: store.write(KEY, bars({2: 1.0}), fetched_at=T2)):
        with pytest.raises(DataError, match=rf"layout {LAYOUT + 1}, this cryptocast reads up to {LAYOUT}.*upgrade"):
            attempt()
    (finding,) = store.verify()
    assert "Remove" not in finding.problem
    assert path.read_bytes() == before
    assert store.ls() == []


def test_edited_times_are_noticed(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bars({1: 10.0}), fetched_at=T1)
    path = store.path(KEY)
    frame, metadata = parquet.decode(path.read_bytes(), "x")
    path.write_bytes(parquet.encode(frame.with_columns(pl.col("known_from").dt.offset_by("-1y")), metadata))
    with pytest.raises(DataError, match="does not match the hash"):
        store.read(KEY)


# --- what the new bar does not know, the old one keeps


def bar(close: float, *, low: float | None = None, high: float | None = None, cap: float | None = 7.0) -> pl.DataFrame:
    """One bar of day 1; with low and high its range is known."""
    ranged = low is not None
    values = (close, high, low, close) if ranged else (close,) * 4
    return pl.DataFrame(
        [("bitcoin", START + timedelta(days=1), *values, 5.0, cap, ranged)], schema=CANDLE_SCHEMA, orient="row"
    )


def stored_bar(store: CandleStore) -> dict[str, object]:
    candles = store.read(KEY)
    assert candles is not None
    (row,) = candles.frame.drop("coin", "close_time").rows(named=True)
    return row


def test_a_close_only_bar_never_takes_away_a_range(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bar(10.0, low=8.0, high=12.0), fetched_at=T1)
    result = store.write(KEY, bar(10.0), fetched_at=T2)
    assert (result.revised, result.refined) == (0, 0)
    assert stored_bar(store)["range_known"]
    assert store.revisions(KEY).is_empty()


@pytest.mark.parametrize(("close", "low", "high"), [(11.0, 8.0, 12.0), (13.0, 8.0, 13.0), (7.0, 7.0, 12.0)])
def test_a_revised_close_widens_the_range_where_it_must(tmp_path: Path, close: float, low: float, high: float) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bar(10.0, low=8.0, high=12.0), fetched_at=T1)
    assert store.write(KEY, bar(close), fetched_at=T2).revised == 1
    row = stored_bar(store)
    assert (row["open"], row["low"], row["high"], row["close"], row["range_known"]) == (10.0, low, high, close, True)


def test_a_range_that_becomes_known_refines_the_bar_and_is_undone_in_the_past(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bar(10.0), fetched_at=T1)
    result = store.write(KEY, bar(10.0, low=8.0, high=12.0), fetched_at=T2, derived=True)
    assert (result.added, result.revised, result.refined) == (0, 0, 1)
    assert result.provenance.fetched_at == T1
    then = store.read(KEY, T1)
    assert then is not None
    assert not then.frame["range_known"][0]


def test_old_bars_say_nothing_of_when_the_newest_were_asked_for(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    assert store.write(KEY, bar(10.0), fetched_at=T3, asked_to=T1).provenance.fetched_at == T1
    assert store.write(KEY, bar(11.0), fetched_at=T3, asked_to=T2).provenance.fetched_at == T1
    assert store.write(KEY, bar(11.0), fetched_at=T2).provenance.fetched_at == T2
    assert store.known_since(KEY) == T3  # when it truly came
    store.cover(KEY, None, fetched_at=T3)
    stored = store.read(KEY)
    assert stored is not None
    assert (stored.provenance.fetched_at, store.covered(KEY)) == (T3, ())


def test_an_unknown_cap_does_not_take_away_a_known_one_and_a_known_one_refines(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bar(10.0, cap=None), fetched_at=T1)
    assert store.write(KEY, bar(10.0, cap=9.0), fetched_at=T2).refined == 1
    assert store.write(KEY, bar(10.0, cap=None), fetched_at=T3).refined == 0
    assert stored_bar(store)["market_cap"] == 9.0
    assert store.write(KEY, bar(10.0, cap=8.0), fetched_at=T3).revised == 1


def test_a_number_told_in_other_digits_is_no_revision(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bar(10.0, cap=7.0), fetched_at=T1)
    assert store.write(KEY, bar(10.0 * (1 + 1e-14), cap=7.0 * (1 - 1e-14)), fetched_at=T2).revised == 0
    assert stored_bar(store)["close"] == 10.0
    assert store.write(KEY, bar(10.0 * (1 + 1e-8)), fetched_at=T3).revised == 1


def test_a_replacement_is_exactly_what_it_says(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.write(KEY, bar(10.0, low=8.0, high=12.0), fetched_at=T1)
    store.write(KEY, bar(10.0, cap=None), fetched_at=T2, replace=True)
    row = stored_bar(store)
    assert (row["range_known"], row["market_cap"]) == (False, None)


def test_what_the_source_has_answered_for_is_kept_with_the_series(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    day = timedelta(days=1)
    store.cover(KEY, (START, START + day))  # nothing is there to keep it with
    assert store.covered(KEY) == ()
    store.write(KEY, bars({5: 1.0}), fetched_at=T1, covered=(START + 4 * day, START + 5 * day))
    store.write(KEY, bars({5: 1.0}), fetched_at=T1)
    store.cover(KEY, (START + 3 * day, START + 4 * day))
    store.cover(KEY, (START, START + day))
    assert store.covered(KEY) == ((START, START + day), (START + 3 * day, START + 5 * day))
    assert store.verify() == []
