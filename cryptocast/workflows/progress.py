"""How far long work has come and how long it will still take, measured on what is done of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptocast.number_format import span

STILL_S: Final = 1.0  # less is left than anybody could read


@dataclass(frozen=True, slots=True)
class ProgressStep:
    """One step of long work. seconds_left: by the steps so far; None before the first of them is done."""

    task: str
    done: int
    total: int
    note: str
    seconds_left: float | None


@dataclass(slots=True)
class Phase:
    """A piece of work under way. began, said_at (when it was last told of): in seconds of the clock."""

    task: str
    total: int
    began: float
    said_at: float = field(init=False)
    _times: list[float] = field(init=False)  # when it began, and when each step was done

    def __post_init__(self) -> None:
        self.said_at, self._times = self.began, [self.began]

    @property
    def done(self) -> int:
        """Steps so far."""
        return len(self._times) - 1

    def step(self, now: float) -> None:
        """One more is done."""
        self._times.append(now)

    @property
    def each_s(self) -> float:
        """How long a step takes: the mean of the later half of those that are done, as work often grows or eases."""
        first = self.done // 2
        return max(self._times[-1] - self._times[first], 1e-9) / max(self.done - first, 1)

    def seconds_left(self, now: float) -> float | None:
        """A step under way takes what the last ones took, and if it takes longer, those behind it do not. None while no
        step is done."""
        if not self.done:
            return None
        behind = max(self.total - self.done - 1, 0)
        under_way = max(self.each_s - (now - self._times[-1]), 0.0) if self.done < self.total else 0.0
        return behind * self.each_s + under_way

    def left_in_words(self, now: float) -> str:
        """`5.1 min left`; nothing while that is not known."""
        left = self.seconds_left(now)
        return "" if left is None else f"{span(left)} left" if left >= STILL_S else "almost done"

    def in_words(self, now: float, note: str) -> str:
        """`fetch: 120 of 400, 55 a minute, 5.1 min left (bitcoin to 2015-01-01)`."""
        measured = f", {self.pace}, {self.left_in_words(now)}" if self.done else ""
        return f"{self.task}: {self.done:,} of {self.total:,}{measured} ({note})"

    @property
    def pace(self) -> str:
        """Steps in a minute."""
        return f"{60 / self.each_s:,.0f} a minute"


class ProgressCalls:
    """Calls a function at the start of each piece of work, at each step of it, and when there is news of the one under
    way. Pieces may lie inside each other."""

    def __init__(self, function: Callable[[ProgressStep], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._function, self._clock = function, clock
        self._phases: list[Phase] = []

    def begin(self, task: str, total: int) -> None:
        """A piece of work starts."""
        self._phases.append(Phase(task, total, self._clock()))
        self._call("")

    def step(self, note: str) -> None:
        """One step of it is done."""
        if self._phases:
            self._phases[-1].step(self._clock())
            self._call(note)

    def tell(self, note: str) -> None:
        """What goes on inside of the step under way."""
        if self._phases:
            self._call(note)

    def say(self, line: str) -> None:
        """As news of the step under way."""
        self.tell(line)

    def end(self) -> None:
        """It is over."""
        if self._phases:
            self._phases.pop()

    def _call(self, note: str) -> None:
        phase = self._phases[-1]
        left = phase.seconds_left(self._clock())
        self._function(ProgressStep(phase.task, phase.done, phase.total, note, left))
