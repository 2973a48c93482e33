"""A window of calls that several processes share through a file."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from filelock import FileLock, Timeout

from cryptocast.files import OWN_FILE, make_own_folder, open_own_file

log = logging.getLogger(__name__)

BUSY_S: Final = 0.02  # until another process will have let go of the lock
MAX_PAUSE_S: Final = 3600.0  # a Retry-After of days, or a wrong date, is asked about again after an hour
PATIENCE_S: Final = 5.0  # a holder that is stopped, and not dead, must not stop us too
PAUSE_PATIENCE_S: Final = 0.1


class _SharedCalls(msgspec.Struct):
    """Wall times, in seconds since 1970: the one clock that processes and restarts have in common."""

    calls: list[float] = []
    paused_at: float = 0.0
    pause_s: float = 0.0


class SharedWindow:
    """At most `limit` calls in `window_s` among all who name the same file.

    The file is replaced as a whole under a lock that the system lifts when its holder dies; a damaged one counts as
    empty. A wall clock that is set back leaves stamps from the future: they are made into now, so that no wait is
    longer than the window or the pause. One set forward forgets the calls of the other processes, once. A folder that
    cannot be written, or a lock that is not let go, is logged, and the caller's own window is all that counts.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit: int,
        window_s: float,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._limit, self._window_s, self._wall, self._clock = path, limit, window_s, wall, clock
        self._lock = FileLock(path.with_name(path.name + ".lock"), mode=OWN_FILE)
        self._busy_since: float | None = None
        self._is_impatient = False
        self._unwritten_pause: tuple[float, float] | None = None
        self._given_back: list[float] = []
        self.taken_at = 0.0  # wall time that stands for the last call counted
        self._is_usable = True

    def take(self, *, count: bool = True) -> float:
        """Count a call (unless told only to look) and return 0; or the seconds after which to ask again."""
        return self._locked(lambda: self._take(count=count), timeout_s=0.0, otherwise=self._busy)

    def pause(self, seconds: float) -> None:
        """No call of anybody for so long. If the lock is busy, it is written with the next call."""
        now = self._wall()
        if self._unwritten_pause is None or sum(self._unwritten_pause) < now + seconds:
            self._unwritten_pause = (now, seconds)
        self._locked(self._touch, timeout_s=PAUSE_PATIENCE_S, otherwise=lambda: 0.0)

    def give_back(self, taken_at: float) -> None:
        """That call was not made. If the lock is busy, it is written with the next one."""
        self._given_back.append(taken_at)
        self._locked(self._touch, timeout_s=0.0, otherwise=lambda: 0.0)

    def _locked(self, work: Callable[[], float], *, timeout_s: float, otherwise: Callable[[], float]) -> float:
        if not self._is_usable:
            return 0.0
        try:
            make_own_folder(self._path.parent)
            with self._lock.acquire(timeout=timeout_s, poll_interval=0.005):
                self._busy_since = None
                return work()
        except Timeout:
            return otherwise()
        except OSError as error:
            self._is_usable = False
            log.warning("the shared rate limit %s cannot be used, only this process is limited: %s", self._path, error)
            return 0.0

    def _busy(self) -> float:
        now = self._clock()
        if self._busy_since is None:
            self._busy_since, self._is_impatient = now, False
        if now - self._busy_since < PATIENCE_S:
            return BUSY_S
        if not self._is_impatient:
            log.warning("the lock of %s was not let go for %.0f s: going on without it", self._path, PATIENCE_S)
        self._is_impatient = True  # until the lock is to be had again
        return 0.0

    def _take(self, *, count: bool) -> float:
        state, now = self._current()
        full = len(state.calls) >= self._limit
        next_slot = state.calls[len(state.calls) - self._limit] + self._window_s if full else now
        wait = max(next_slot, state.paused_at + state.pause_s) - now
        if wait <= 0 and count:
            state.calls.append(now)
            self.taken_at = now
        self._write(state)
        return max(wait, 0.0)

    def _touch(self) -> float:
        state, _ = self._current()
        self._write(state)
        return 0.0

    def _current(self) -> tuple[_SharedCalls, float]:
        """What the file says, as it holds now, with what this process has not written yet."""
        state, now = self._read(), self._wall()
        for at in self._given_back:
            with suppress(ValueError):
                state.calls.remove(at)
        self._given_back.clear()
        calls = sorted(min(at, now) for at in state.calls)
        state.calls = [at for at in calls if at > now - self._window_s]
        state.paused_at, state.pause_s = min(state.paused_at, now), min(state.pause_s, MAX_PAUSE_S)
        if self._unwritten_pause is not None and sum(self._unwritten_pause) > state.paused_at + state.pause_s:
            state.paused_at, state.pause_s = self._unwritten_pause
        self._unwritten_pause = None
        return state, now

    def _read(self) -> _SharedCalls:
        with suppress(FileNotFoundError, msgspec.DecodeError):
            return msgspec.json.decode(self._path.read_bytes(), type=_SharedCalls)
        return _SharedCalls()

    def _write(self, state: _SharedCalls) -> None:
        beside = self._path.with_name(self._path.name + ".new")
        with open(beside, "wb", opener=open_own_file) as file:
            file.write(msgspec.json.encode(state))
        beside.replace(self._path)
