"""Long work in a notebook: a bar below the cell that runs, gone when the work is over.

Jupyter's own display is all it takes: no widgets, no script.
"""

import sys
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from cryptocast.evaluation.report.markup import join, tag
from cryptocast.workflows.progress import Phase

KERNEL: Final = "ZMQInteractiveShell"  # of Jupyter; IPython in a terminal has another
SHOWN_EVERY_S: Final = 0.2


class LiveView(Protocol):
    """What IPython.display gives for a display that can be changed."""

    def update(self, obj: Any) -> None:
        """Show this in its place."""
        ...


def display_of_notebook() -> "Callable[[Any], LiveView] | None":
    """What shows a thing that can be changed later below the cell that runs; None outside of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if type(shell).__name__ != KERNEL:
        return None
    from IPython.display import display

    return lambda view: display(view, display_id=True)


class View:
    """HTML, as a notebook takes it."""

    def __init__(self, html: str) -> None:
        self._html = html

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:  # what a viewer without HTML shows
        return ""


class NotebookBar:
    """A bar for each piece of work under way; pieces may lie inside each other."""

    def __init__(self, display: Callable[[Any], LiveView], clock: Callable[[], float] = time.monotonic) -> None:
        self._display, self._clock = display, clock
        self._phases: list[Phase] = []
        self._shown: LiveView | None = None
        self._shown_at = 0.0

    def begin(self, task: str, total: int) -> None:
        """A new bar."""
        self._phases.append(Phase(task, total, self._clock()))
        self._show("")

    def step(self, note: str) -> None:
        """The innermost bar moves on."""
        if self._phases:
            self._phases[-1].step(self._clock())
            self.tell(note)

    def tell(self, note: str) -> None:
        """What goes on inside of the step under way."""
        if self._phases and self._clock() - self._shown_at >= SHOWN_EVERY_S:
            self._show(note)

    def say(self, line: str) -> None:
        """Beside the innermost bar, at once."""
        if self._phases:
            self._show(line)

    def end(self) -> None:
        """The innermost bar goes."""
        if self._phases:
            self._phases.pop()
            self._show("")

    def _show(self, note: str) -> None:
        now = self._shown_at = self._clock()
        lines = [
            tag(
                "div",
                f"{phase.task} ",
                tag("progress", value=str(phase.done), max=str(phase.total)),
                f" {phase.done:,} of {phase.total:,} {phase.left_in_words(now)} ",
                note if phase is self._phases[-1] else "",
            )
            for phase in self._phases
        ]
        if self._shown is None:
            self._shown = self._display(View(join(lines)))
        else:
            self._shown.update(View(join(lines)))
