"""Pages of history, many coins side by side, each stored as it comes; and when to stop asking.

A page that has come is in the store before the next one is taken, so that a kill loses what is under way and no more.
"""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import zip_longest
from typing import Any, Final, TypeAlias

from cryptocast.data.sources.errors import QuotaSpent, RateLimited
from cryptocast.data.sources.table import SOURCES
from cryptocast.data.sources.upstream import History, Page, Upstream
from cryptocast.data.store import CandleStore, WriteResult
from cryptocast.errors import CryptocastError, UpstreamError, UsageError
from cryptocast.net import Priority, Unreachable
from cryptocast.workflows.context import NoProgress, Progress, steps

Work: TypeAlias = Coroutine[Any, Any, History]

IN_A_ROW: Final = 3  # failures of different calls, after which the next would fail too
AT_ONCE: Final = 8  # calls under way; the limiter decides how fast they go out


@dataclass(slots=True)
class Reach:
    """Whether it makes sense to ask the upstream again. One coin may fail by itself; a dead network fails for all.

    tries: calls that may find nobody there before anybody has answered.
    """

    tries: int = 1
    down: UpstreamError | None = None
    answered: bool = False
    _failed: int = field(default=0)

    def note(self, outcome: object) -> None:
        """What came of a call."""
        if not isinstance(outcome, UpstreamError):
            self.answered, self._failed = True, 0
            return
        self._failed += 1
        nobody = isinstance(outcome, Unreachable) and not self.answered and self._failed >= self.tries
        if nobody or isinstance(outcome, QuotaSpent | RateLimited) or self._failed >= IN_A_ROW:
            self.down = outcome


@dataclass(slots=True)
class Downloads:
    """Brings pages from the upstream into the store.

    patient: wait for a rate limit that asks for longer than one call may take. now: the time, which moves on while a
    long download runs. progress: of the pages, in steps of one call.
    """

    store: CandleStore
    upstream: Callable[[], Upstream]
    now: Callable[[], datetime]
    priority: Priority = Priority.USER
    patient: bool = False
    reach: Reach = field(default_factory=Reach)
    progress: Progress = NoProgress()

    def bring(
        self, pages: Sequence[Page], *, at_once: int = AT_ONCE
    ) -> Iterator[tuple[Page, WriteResult | CryptocastError | None]]:
        """Each page with what it changed in the store (None: nothing is there), or why it could not be had.

        Until somebody has answered, one call goes out at a time. Pages that are not asked for because the upstream is
        down come with the error that said so. UsageError and ConfigError are raised: they hold for every page.
        """
        if not pages:
            return
        with steps(self.progress, "fetch", len(pages)) as step:
            for page, outcome in self._arriving(pages, at_once):
                step(f"{page.key.coin} to {page.end:%Y-%m-%d}")
                yield page, outcome

    def _arriving(
        self, pages: Sequence[Page], at_once: int
    ) -> Iterator[tuple[Page, WriteResult | CryptocastError | None]]:
        waiting = list(reversed(pages))
        while waiting and self.reach.down is None:
            alone = not self.reach.answered
            upstream = self.upstream()
            with closing(upstream.each(self._jobs(upstream, waiting), at_once=1 if alone else at_once)) as arrived:
                for page, outcome in arrived:
                    if isinstance(outcome, UsageError):
                        raise outcome
                    self.reach.note(outcome)
                    yield page, self._kept(page, outcome)
                    if alone and self.reach.answered:
                        break
        while waiting:
            yield waiting.pop(), self.reach.down

    def _jobs(self, upstream: Upstream, waiting: list[Page]) -> Iterator[tuple[Page, Callable[[], Work]]]:
        while waiting and self.reach.down is None:
            page = waiting.pop()
            work = partial(upstream.page, page, self.now(), priority=self.priority, patient=self.patient)
            yield page, work

    def _kept(self, page: Page, outcome: History | CryptocastError) -> WriteResult | CryptocastError | None:
        if isinstance(outcome, CryptocastError):
            return outcome
        span = SOURCES[page.key.source].settled(page, self.now())
        try:
            if outcome.frame.is_empty():
                if span is not None or page.ends_now:
                    self.store.cover(page.key, span, fetched_at=self.now() if page.ends_now else None)
                return None
            return self.store.write(
                page.key,
                outcome.frame,
                fetched_at=self.now(),
                notes=outcome.notes,
                covered=span,
                # Old bars say nothing of whether newer ones were asked for.
                asked_to=None if page.ends_now else page.end,
                market=outcome.market,
            )
        except CryptocastError as error:  # a damaged file, a full disk: of this coin, as far as anybody knows
            return error


def by_turns(pages: Sequence[Sequence[Page]]) -> list[Page]:
    """The first of each, then the second of each: everybody's newest bars before anybody's older ones."""
    return [page for turn in zip_longest(*pages) for page in turn if page is not None]
