"""Long work in a notebook."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from cryptocast.library import _reporting
from cryptocast.notebook import NotebookBar, display_of_notebook
from cryptocast.workflows.context import NoProgress, steps
from tests.workflows.backtesting.small_runs import context


class Cell:
    """What is below the cell that runs."""

    def __init__(self) -> None:
        self.views: list[str] = []

    def __call__(self, view: Any) -> "Cell":
        self.update(view)
        return self

    def update(self, obj: Any) -> None:
        self.views.append(obj._repr_html_())


class ZMQInteractiveShell:
    """Jupyter's shell, by its name."""


def jupyter(monkeypatch: pytest.MonkeyPatch, shell: object) -> Cell:
    cell = Cell()
    package = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", package)
    display = SimpleNamespace(display=lambda view, display_id: cell(view))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return cell


def test_a_bar_tells_how_far_and_how_long_and_is_gone_at_the_end() -> None:
    cell, now = Cell(), [0.0]
    bar = NotebookBar(cell, clock=lambda: now[0])
    with steps(bar, "walking <b>", 3) as step:
        for note in ("refit & 1", "refit 2"):
            now[0] += 10.0
            step(note)
        with steps(bar, "inside", 1):
            pass
    assert cell.views[0] == '<div>walking &lt;b&gt; <progress value="0" max="3"></progress> 0 of 3  </div>'
    assert cell.views[1].endswith("1 of 3 20 s left refit &amp; 1</div>")
    assert cell.views[2].endswith("2 of 3 10 s left refit 2</div>")
    assert "inside" in cell.views[3]
    assert cell.views[3].count("<progress") == 2
    assert cell.views[-1] == ""


def test_steps_that_come_faster_than_anybody_reads_are_not_all_drawn() -> None:
    cell, now = Cell(), [0.0]
    bar = NotebookBar(cell, clock=lambda: now[0])
    with steps(bar, "fetch", 1000) as step:
        for _ in range(1000):
            now[0] += 0.01
            step("one")
    assert 10 < len(cell.views) < 100


def test_a_call_in_a_notebook_shows_a_bar_unless_it_is_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    silent, own = context(tmp_path), context(tmp_path, progress := _Own())
    assert _reporting(silent, None) is silent  # there is no notebook here
    cell = jupyter(monkeypatch, ZMQInteractiveShell())
    bar = _reporting(silent, None).progress
    assert isinstance(bar, NotebookBar)
    bar.begin("training", 2)
    assert len(cell.views) == 1
    assert _reporting(own, None).progress is progress
    assert _reporting(silent, progress).progress is progress


class _Own(NoProgress):
    pass


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    jupyter(monkeypatch, object())
    assert display_of_notebook() is None
