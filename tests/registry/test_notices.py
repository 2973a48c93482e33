"""What somebody should be told: each condition once, each promotion, by one of many processes."""

import multiprocessing
import sqlite3
import tempfile
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.config import GateConfig
from cryptocast.errors import RegistryError
from cryptocast.market import Market
from cryptocast.registry import Condition, NoticeCode, Registry, VersionKey
from cryptocast.registry.database import Database
from cryptocast.registry.notices import KEEP_UNSENT, PAUSE_MOST, OutboxEntry
from cryptocast.registry.objects import Objects
from cryptocast.registry.registry import refusal
from cryptocast.registry.schema import MIGRATIONS, NOTICES
from tests.registry.registry_fits import NOW, bad_hold_out, register

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def stale(coin: str = "bitcoin", *, holds: bool = True, phase: str = "") -> Condition:
    return Condition(NoticeCode.STALE, coin, {"coin": coin} if holds else None, phase)


def take(registry: Registry, minutes: float = 0, most: int = 100) -> list[OutboxEntry]:
    return list(registry.take_notices(NOW + minutes * MINUTE, most=most, max_age=DAY))


def told(registry: Registry) -> list[str]:
    return [entry.notice.code for entry in registry.outbox()]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.booleans(), st.sampled_from(["1", "2"])), max_size=12))
def test_a_condition_is_told_when_it_begins_and_only_then(steps: list[tuple[str, bool, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        follow(Registry.open(Path(folder)), steps)


def follow(registry: Registry, steps: list[tuple[str, bool, str]]) -> None:
    standing: dict[str, str] = {}
    expected = 0
    for number, (coin, holds, phase) in enumerate(steps):
        new = registry.observe([stale(coin, holds=holds, phase=phase)], NOW + number * MINUTE)
        assert new == (holds and standing.get(coin) != phase)
        expected += new
        if holds:
            standing[coin] = phase
        else:
            standing.pop(coin, None)
    assert len(registry.outbox()) == expected
    assert len({entry.notice.id for entry in registry.outbox()}) == expected


def test_a_promotion_is_told_with_the_change_itself(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    (first,) = register(registry)
    (second,) = register(registry, "2", rounds=500)
    registry.promote(second.key, 2, now=NOW + DAY, who="ann", why="better")
    registry.promote(second.key, 2, now=NOW + DAY, who="ann", why="again")  # which changes nothing
    facts = [entry.notice.facts for entry in registry.outbox()]
    assert [(f["number"], f["previous"], f["action"]) for f in facts] == [(1, None, "promote"), (2, 1, "promote")]
    with pytest.raises(RegistryError):
        registry.promote(first.key, 9, now=NOW + DAY, who="ann", why="no such")
    assert told(registry) == ["promoted", "promoted"]
    assert registry.verify() == ()


def test_a_first_version_that_is_refused_is_told_and_a_promotion_ends_that(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    (version,) = register(registry, scores=bad_hold_out())
    (entry,) = registry.outbox()
    assert (entry.notice.code, entry.notice.facts["number"]) == ("refused", 1)
    assert entry.notice.facts["reasons"]
    registry.promote(version.key, 1, now=NOW, who="ann", why="forced", action="force")
    assert told(registry) == ["refused", "promoted"]


def test_a_notice_that_was_taken_is_nobody_elses_until_its_pause_is_over(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    registry.observe([stale("a"), stale("b")], NOW)
    (first,) = take(registry, most=1)
    (second,) = take(registry)
    assert (first.notice.facts["coin"], second.notice.facts["coin"]) == ("a", "b")
    assert take(registry, 0.9) == []
    registry.mark_sent([first.number])
    again = take(registry, 1.1)
    assert [(e.number, e.notice.id, e.tries) for e in again] == [(second.number, second.notice.id, 1)]


def test_tries_come_at_longer_and_longer_pauses_and_end_with_the_age(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    registry.observe([stale()], NOW)
    tries = [minute for minute in range(25 * 60 + 1) if take(registry, minute)]
    assert tries[:8] == [0, 1, 3, 7, 15, 31, 63, 123]
    assert {later - earlier for earlier, later in pairwise(tries[6:])} == {PAUSE_MOST // MINUTE}
    assert DAY - PAUSE_MOST <= tries[-1] * MINUTE <= DAY
    assert [entry.state for entry in registry.outbox()] == ["dropped"]


def test_what_is_too_old_is_given_up_and_what_is_long_over_is_forgotten(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    registry.observe([stale("a")], NOW)
    registry.observe([stale("b")], NOW + DAY)
    assert [e.notice.facts["coin"] for e in take(registry, 60 * 30)] == ["b"]
    assert [e.state for e in registry.outbox()] == ["dropped", "waiting"]
    registry.observe([stale("a", holds=False)], NOW + DAY)
    registry.observe([stale("c")], NOW + 40 * DAY)
    take(registry, 60 * 24 * 40)
    assert [e.notice.facts["coin"] for e in registry.outbox()] == ["b", "c"]  # b still lasts
    assert registry.observe([stale("b")], NOW + 41 * DAY) == 0


def test_where_nobody_takes_them_what_is_long_over_is_forgotten_when_more_is_told(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    registry.observe([stale("a"), stale("b")], NOW)
    registry.observe([stale("a", holds=False)], NOW + DAY)
    registry.observe([stale("c")], NOW + KEEP_UNSENT)
    assert [e.notice.facts["coin"] for e in registry.outbox()] == ["a", "b", "c"]
    registry.observe([stale("d")], NOW + KEEP_UNSENT + MINUTE)
    assert [e.notice.facts["coin"] for e in registry.outbox()] == ["b", "c", "d"]  # b still lasts


def test_where_nothing_is_to_tell_no_registry_is_made(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path, create=False)
    assert registry.observe([stale(holds=False)], NOW) == 0
    assert (take(registry), registry.outbox()) == ([], ())
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_notice_keeps_none_of_the_others_from_being_sent(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    registry.observe([stale("a"), stale("b")], NOW)
    with sqlite3.connect(tmp_path / "registry" / "registry.db") as connection:
        connection.execute("UPDATE notices SET record = CAST(replace(CAST(record AS TEXT), '\"a\"', '\"x\"') AS BLOB)")
    connection.close()
    assert [fault.where for fault in registry.verify()] == ["row 1 of the notices"]
    assert [e.notice.facts["coin"] for e in take(registry)] == ["b"]
    assert take(registry, 2)[0].notice.facts["coin"] == "b"


def test_a_registry_that_is_held_at_an_older_schema_tells_nothing(tmp_path: Path) -> None:
    older = MIGRATIONS[: MIGRATIONS.index(NOTICES)]
    database = Database(tmp_path / "registry" / "registry.db", migrations=older, is_made=True)
    registry = Registry(database, Objects(tmp_path / "registry" / "objects"), GateConfig())
    database.create()
    (version,) = register(registry)
    assert version.number == 1
    assert Registry.open(tmp_path, create=False).outbox() == ()


def _take_all(store: str, numbers: "multiprocessing.queues.Queue[list[int]]") -> None:
    registry = Registry.open(Path(store))
    mine = [entry.number for _ in range(40) for entry in registry.take_notices(NOW, most=3, max_age=DAY)]
    numbers.put(mine)


def test_two_processes_that_take_at_the_same_time_share_no_notice(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    registry.observe([stale(f"coin-{number}") for number in range(60)], NOW)
    spawn = multiprocessing.get_context("spawn")
    numbers = spawn.Queue()
    processes = [spawn.Process(target=_take_all, args=(str(tmp_path), numbers)) for _ in range(2)]
    for process in processes:
        process.start()
    shares = [numbers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(120)
    assert sorted(shares[0] + shares[1]) == list(range(1, 61))


def test_a_refusal_of_the_same_version_is_told_once_and_of_another_again(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    key = VersionKey("bitcoin", Market("sample", "usd", "daily"), "lightgbm")
    for number in (4, 4, 5, 4):
        registry.observe([refusal(key, number, ())], NOW + number * MINUTE)
    assert [entry.notice.facts["number"] for entry in registry.outbox()] == [4, 5, 4]
