from pathlib import Path

import pytest

from cryptocast.net.shared_window import MAX_PAUSE_S, SharedWindow


class Wall:
    """A wall clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_600_000_000.0

    def __call__(self) -> float:
        return self.now


def window(path: Path, wall: Wall, limit: int = 2) -> SharedWindow:
    return SharedWindow(path, limit=limit, window_s=60.0, wall=wall, clock=wall)


def test_two_windows_on_one_file_hold_one_limit_together(tmp_path: Path) -> None:
    wall = Wall()
    one, other = window(tmp_path / "calls.json", wall), window(tmp_path / "calls.json", wall)
    assert (one.take(), other.take()) == (0.0, 0.0)
    assert one.take() == pytest.approx(60.0)
    wall.now += 60.0
    assert other.take() == 0.0


def test_a_look_counts_nothing(tmp_path: Path) -> None:
    shared = window(tmp_path / "calls.json", Wall(), limit=1)
    assert [shared.take(count=False) for _ in range(3)] == [0.0] * 3
    assert (shared.take(), shared.take() > 0) == (0.0, True)


def test_a_pause_is_bounded_and_holds_for_the_other_process(tmp_path: Path) -> None:
    wall = Wall()
    window(tmp_path / "calls.json", wall).pause(10 * MAX_PAUSE_S)
    other = window(tmp_path / "calls.json", wall)
    assert other.take() == pytest.approx(MAX_PAUSE_S)
    wall.now += MAX_PAUSE_S
    assert other.take() == 0.0


def test_a_call_that_was_given_back_is_free_again(tmp_path: Path) -> None:
    shared = window(tmp_path / "calls.json", Wall(), limit=1)
    shared.take()
    shared.give_back(shared.taken_at)
    assert shared.take() == 0.0
