"""Long work, shown: a bar with the time left on a terminal, else a line now and then, and each phase in the log."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from rich.console import Console

from cryptocast.number_format import span

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)

SAY_EVERY_S: Final = 30.0
BESIDE: Final = 44  # columns of a bar that its task, its total and its note leave to the rest
SPEED_OVER_S: Final = 180.0  # calls that wait for a limit come minutes apart


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


def shown_progress(console: Console, *, quiet: bool = False) -> Shown:
    """The bar where somebody looks, else the lines. quiet: where a machine reads along, the log alone."""
    if quiet:
        return Lines()
    return Bar(console) if console.is_terminal else Lines(console)


@dataclass(slots=True)
class Phase:
    """A piece of work under way. said_at: when it was last told of, in seconds of the clock."""

    task: str
    total: int
    began: float
    said_at: float
    done: int = 0

    def each_s(self, now: float) -> float:
        """How long a step takes, so far."""
        return max(now - self.began, 1e-9) / max(self.done, 1)

    def in_words(self, now: float, note: str) -> str:
        """`fetch: 120 of 400, 55 a minute, 5.1 min left (bitcoin to 2015-01-01)`."""
        left = span(max(self.total - self.done, 0) * self.each_s(now))
        return f"{self.task}: {self.done:,} of {self.total:,}, {self.pace(now)}, {left} left ({note})"

    def pace(self, now: float) -> str:
        """Steps in a minute."""
        return f"{60 / self.each_s(now):,.0f} a minute"


class Bar:
    """A bar for each piece of work; pieces may lie inside each other."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._tasks: list[tuple[TaskID, Phase]] = []

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
                TextColumn("{task.fields[pace]}", style="dim"),
                TimeRemainingColumn(compact=True),
                console=self._console,
                speed_estimate_period=SPEED_OVER_S,
                transient=True,
                expand=True,
            )
            self._bars.start()
        now = time.monotonic()
        self._tasks.append((self._bars.add_task(task, total=total, note="", pace=""), Phase(task, total, now, now)))

    def step(self, note: str) -> None:
        """The innermost bar moves on."""
        if self._bars is not None and self._tasks:
            bar, phase = self._tasks[-1]
            phase.done += 1
            room = self._console.width - len(phase.task) - len(f"{phase.total:,}") - BESIDE
            note = note if len(note) <= room else note.split(" ")[0]
            fits = len(note) <= room
            self._bars.update(bar, advance=1, note=note if fits else "", pace=phase.pace(time.monotonic()))

    def end(self) -> None:
        """The innermost bar goes; with the last one the display."""
        if self._bars is None or not self._tasks:
            return
        self._bars.remove_task(self._tasks.pop()[0])
        if not self._tasks:
            self.close()

    def close(self) -> None:
        """Nothing is left on the terminal."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = None
        self._tasks.clear()


class Lines:
    """A line when a phase has been going on for a while, and again and again; its begin and its end in the log."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._phases: list[Phase] = []

    def begin(self, task: str, total: int) -> None:
        """A phase begins."""
        now = self._clock()
        self._phases.append(Phase(task, total, now, now))
        log.info("%s: %d %s", task, total, "step" if total == 1 else "steps")

    def step(self, note: str) -> None:
        """Steps are for those who debug, but for one now and then."""
        if not self._phases:
            return
        phase, now = self._phases[-1], self._clock()
        phase.done += 1
        log.debug("%s: %s", phase.task, note)
        if self._console is not None and now - phase.said_at >= SAY_EVERY_S:
            phase.said_at = now
            self._console.print(phase.in_words(now, note), soft_wrap=True)

    def end(self) -> None:
        """A phase is over."""
        if self._phases:
            phase = self._phases.pop()
            log.info("%s: done in %.1f s", phase.task, self._clock() - phase.began)

    def close(self) -> None:
        """There is nothing to clear away."""
        self._phases.clear()
