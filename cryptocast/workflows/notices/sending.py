"""Sending what is due: at least once, and by one process, whoever else is at it. Never in a request's way.

A notice is taken from the outbox before it is posted, and marked afterwards. Killed between the two, it is posted a
second time when its pause is over; its key is the same, so that a receiver may tell.
"""

import asyncio
import logging
import platform
import time
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Final, TypeVar

from cryptocast.errors import CryptocastError, UpstreamError
from cryptocast.net.answer import CallFailed, Unreachable
from cryptocast.net.loop import LoopThread
from cryptocast.net.pool import Pool
from cryptocast.number_format import count
from cryptocast.registry import Notice, NoticeCode, Registry
from cryptocast.registry.notices import new_notice
from cryptocast.workflows.context import Context
from cryptocast.workflows.notices.receiver import Receiver, receiver_of

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST: Final = 20  # notices at a time
WITHIN_S: Final = 10.0  # for all of them together
PATIENCE_S: Final = 3.0  # of a command
LEAST_S: Final = 0.1  # for one of them


class NotAcceptedError(UpstreamError):
    """The receiver did not take a notice."""


async def post_notice(pool: Pool, receiver: Receiver, notice: Notice, deadline_s: float) -> int:
    """The status of the answer, 2xx. NotAcceptedError for any other, Unreachable if there is none; both without the
    address."""
    url, body, headers = receiver.post(notice)
    try:
        answer = await pool.tasks.result(pool.tasks.start(pool.post(url, body, headers, deadline_s=deadline_s)))
    except CallFailed as error:
        raise Unreachable(f"{receiver} could not be reached: {error.reason.replace(url, str(receiver))}.") from None
    if not 200 <= answer.status < 300:
        raise NotAcceptedError(f"{receiver} answered with status {answer.status}.")
    return answer.status


async def send_due(context: Context, registry: Registry, receiver: Receiver, *, within_s: float = WITHIN_S) -> int:
    """Send what is due, one after the other, oldest first; how many went. What does not go is logged, and due later.

    Raises RegistryError if the outbox cannot be read or written.
    """
    max_age = timedelta(hours=context.config.notify.max_age_hours)
    now = context.wall_clock()
    entries = await asyncio.to_thread(registry.take_notices, now, most=MOST, max_age=max_age)
    if not entries:
        return 0
    pool, ends, trouble, number = Pool(), time.monotonic() + within_s, "", 0
    try:
        for entry in entries:
            try:
                await post_notice(pool, receiver, entry.notice, max(LEAST_S, ends - time.monotonic()))
            except NotAcceptedError as error:  # perhaps of this one alone
                trouble = str(error)
                continue
            number += 1
            # At once, so that a kill repeats as few as can be.
            await asyncio.to_thread(registry.mark_sent, (entry.number,))
    except UpstreamError as error:  # nobody is there, or nobody answers: the others need not wait for that too
        trouble = str(error)
    finally:
        await pool.close()
    if number < len(entries):
        log.warning("%s not sent, to be tried again: %s", count(len(entries) - number, "notice"), trouble)
    return number


def send_now(context: Context) -> None:
    """What a command does at its end: sends what is due, within some seconds, and fails for nothing."""
    if context.notify_url is None:
        return
    try:
        receiver = receiver_of(context.notify_url, context.config.notify)
        _run(send_due(context, context.registry(create=False), receiver, within_s=PATIENCE_S))
    except CryptocastError as error:
        log.warning("no notice was sent: %s", error)


def send_test(url: str, context: Context) -> int:
    """Post a test to an address; the status of the answer. ConfigError for what is no address, NotAcceptedError."""
    receiver = receiver_of(url, context.config.notify)
    notice = new_notice(NoticeCode.TEST, "", {"host": platform.node()}, context.wall_clock())

    async def post() -> int:
        pool = Pool()
        try:
            return await post_notice(pool, receiver, notice, WITHIN_S)
        finally:
            await pool.close()

    return _run(post())


def _run(work: Coroutine[Any, Any, T]) -> T:
    loop = LoopThread()
    try:
        return loop.run(work)
    finally:
        loop.close()
