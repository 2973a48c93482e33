"""What the edges hand to every use case."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cryptocast.config import Config, DataConfig, StoreConfig
from cryptocast.registry import Registry
from cryptocast.workflows.context import Context, NoProgress, Resolved, Selection, each, steps


class Heard(NoProgress):
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def begin(self, task: str, total: int) -> None:
        self.events.append((task, total))

    def step(self, note: str) -> None:
        self.events.append(note)

    def tell(self, note: str) -> None:
        self.events.append(f"inside: {note}")

    def end(self) -> None:
        self.events.append("end")


def test_what_a_selection_leaves_open_comes_from_the_settings_and_a_coin_stands_once() -> None:
    config = Config(data=DataConfig(coins=("bitcoin",), vs="eur", source="sample"))
    at = datetime(2025, 1, 1, tzinfo=UTC)
    assert Selection().resolved(config) == Resolved(("bitcoin",), "sample", "eur", "daily", None)
    full = Selection(("a", "b", "a"), "coingecko", "usd", "hourly", at, at, stored=True)
    assert full.resolved(config) == Resolved(("a", "b"), "coingecko", "usd", "hourly", at, at, stored=True)


def test_steps_end_even_where_the_work_fails() -> None:
    progress = Heard()

    def fail() -> None:
        with steps(progress, "work", 2) as step:
            step("one")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert progress.events == [("work", 2), "one", "end"]


def test_a_registry_that_is_kept_is_for_reading_alone(tmp_path: Path) -> None:
    kept = Registry.open(tmp_path / "kept")
    context = Context(Config(store=StoreConfig(path=tmp_path)), kept_registry=kept)
    assert context.registry(create=False) is kept
    assert context.registry() is not kept


def test_each_item_is_a_step_when_the_next_one_is_asked_for() -> None:
    progress = Heard()
    seen = [len(progress.events) for _ in each(progress, "read", "ab", str.upper)]
    assert seen == [1, 2]
    assert progress.events == [("read", 2), "A", "B", "end"]
