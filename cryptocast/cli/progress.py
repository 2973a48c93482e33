"""Long work, shown: a bar with the time left on a terminal, else a line now and then, and each phase in the log."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from rich.console import Console
from rich.text import Text

from cryptocast.workflows.progress import Phase

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)

SAY_EVERY_S: Final = 30.0
BESIDE: Final = 48  # columns of a bar that its task, its counts and its note leave to the rest


class Shown(Protocol):
    """A `workflows.context.Progress` that can be cleared away."""

    def begin(self, task: str, total: int) -> None:
        """A piece of work starts."""
        ...

    def step(self, note: str) -> None:
        """One step of it is done."""
        ...

    def tell(self, note: str) -> None:
        """What goes on inside of the step under way."""
        ...

    def say(self, line: str) -> None:
        """What stays."""
        ...

    def end(self) -> None:
        """It is over."""
        ...

    def close(self) -> None:
        """Whatever was shown is gone, also when the work was broken off."""
        ...


def shown_progress(console: Console, *, quiet: bool = False) -> Shown:
    """The bar where somebody looks, else the lines. quiet: where a machine reads along, or nobody wants to: the log
    alone."""
    if quiet:
        return Lines()
    return Bar(console) if console.is_terminal else Lines(console)


class Bar:
    """A bar for each piece of work; pieces may lie inside each other."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._bars: Progress | None = None
        self._tasks: list[tuple[TaskID, Phase]] = []

    def begin(self, task: str, total: int) -> None:
        """A new bar."""
        if self._bars is None:
            self._bars = _display(self._console, self._clock)
            self._bars.start()
        phase = Phase(task, total, self._clock())
        self._tasks.append((self._bars.add_task(task, total=total, note="", phase=phase), phase))

    def step(self, note: str) -> None:
        """The innermost bar moves on."""
        if self._bars is not None and self._tasks:
            bar, phase = self._tasks[-1]
            phase.step(self._clock())
            self._bars.update(bar, advance=1)
            self.tell(note)

    def tell(self, note: str) -> None:
        """Beside the innermost bar, as far as there is room."""
        if self._bars is not None and self._tasks:
            bar, phase = self._tasks[-1]
            room = self._console.width - len(phase.task) - 2 * len(f"{phase.total:,}") - BESIDE
            note = note if len(note) <= room else note.split(" ")[0].rstrip(",")
            self._bars.update(bar, note=note if len(note) <= room else "")

    def say(self, line: str) -> None:
        """Above the bars, for good."""
        self._console.print(line, soft_wrap=True)

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


def _display(console: Console, clock: Callable[[], float]) -> "Progress":
    # Loaded with the first bar: --help shows none.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
    from rich.table import Column

    class Left(ProgressColumn):
        """Pace and time left, which runs down while a step lasts."""

        def render(self, task: Task) -> Text:
            phase: Phase = task.fields["phase"]
            words = (phase.pace, phase.left_in_words(clock())) if phase.done else ()
            return Text("  ".join(words), style="dim", no_wrap=True)

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False, style="dim"),
        Left(Column(no_wrap=True)),
        console=console,
        transient=True,
        expand=True,
    )


class Lines:
    """A line when a phase has been going on for a while, and again and again; its begin and its end in the log."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._phases: list[Phase] = []

    def begin(self, task: str, total: int) -> None:
        """A phase begins."""
        self._phases.append(Phase(task, total, self._clock()))
        log.info("%s: %d %s", task, total, "step" if total == 1 else "steps")

    def step(self, note: str) -> None:
        """One more is done."""
        if self._phases:
            self._phases[-1].step(self._clock())
            self.tell(note)

    def tell(self, note: str) -> None:
        """Notes are for those who debug, but for one now and then."""
        if not self._phases:
            return
        phase, now = self._phases[-1], self._clock()
        log.debug("%s: %s", phase.task, note)
        if self._console is not None and now - phase.said_at >= SAY_EVERY_S:
            phase.said_at = now
            self._console.print(phase.in_words(now, note), soft_wrap=True)

    def say(self, line: str) -> None:
        """A line of its own."""
        log.info("%s", line)
        if self._console is not None:
            self._console.print(line, soft_wrap=True)

    def end(self) -> None:
        """A phase is over."""
        if self._phases:
            phase = self._phases.pop()
            log.info("%s: done in %.1f s", phase.task, self._clock() - phase.began)

    def close(self) -> None:
        """There is nothing to clear away."""
        self._phases.clear()
