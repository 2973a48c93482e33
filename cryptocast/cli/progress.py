"""Long work, shown: a bar with the time left on a terminal, else one log line for each phase."""

import logging
import time
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)


class Shown(Protocol):
    """A `workflows.context.Progress` that can be cleared away."""

    def begin(self, task: str, total: int) -> None:
        """A piece of work starts."""
        ...

    def step(self, note: str) -> None:
        """One step of it is done."""
        ...

    def end(self) -> None:
        """It is over."""
        ...

    def close(self) -> None:
        """Whatever was shown is gone, also when the work was broken off."""
        ...


def shown_progress(console: Console) -> Shown:
    """The bar where somebody looks, else the lines."""
    return Bar(console) if console.is_terminal else Lines()


class Bar:
    """A bar for each piece of work; pieces may lie inside each other."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._tasks: list[TaskID] = []

    def begin(self, task: str, total: int) -> None:
        """A new bar."""
        # Loaded with the first bar: --help shows none.
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        if self._bars is None:
            self._bars = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False, style="dim"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=self._console,
                transient=True,
                expand=True,
            )
            self._bars.start()
        self._tasks.append(self._bars.add_task(task, total=total, note=""))

    def step(self, note: str) -> None:
        """The innermost bar moves on."""
        if self._bars is not None and self._tasks:
            self._bars.update(self._tasks[-1], advance=1, note=note)

    def end(self) -> None:
        """The innermost bar goes; with the last one the display."""
        if self._bars is None or not self._tasks:
            return
        self._bars.remove_task(self._tasks.pop())
        if not self._tasks:
            self.close()

    def close(self) -> None:
        """Nothing is left on the terminal."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = None
        self._tasks.clear()


class Lines:
    """A line in the log when a phase begins and when it ends."""

    def __init__(self) -> None:
        self._phases: list[tuple[str, float]] = []

    def begin(self, task: str, total: int) -> None:
        """A phase begins."""
        self._phases.append((task, time.monotonic()))
        log.info("%s: %d %s", task, total, "step" if total == 1 else "steps")

    def step(self, note: str) -> None:
        """Steps are for those who debug."""
        log.debug("%s: %s", self._phases[-1][0] if self._phases else "", note)

    def end(self) -> None:
        """A phase is over."""
        if self._phases:
            task, began = self._phases.pop()
            log.info("%s: done in %.1f s", task, time.monotonic() - began)

    def close(self) -> None:
        """There is nothing to clear away."""
        self._phases.clear()
