import asyncio
import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import pytest

from cryptocast.workflows.lifecycle.bar_duties import BarDuties, Duty, Leader

COINS = ("bitcoin", "ethereum")


def noting(notes: list[str], what: str) -> Duty:
    """A duty that leaves a note."""

    async def duty(coins: Sequence[str]) -> None:
        notes.append(f"{what} {','.join(coins)}")

    return duty


def test_who_leads_does_the_duties_for_the_coins_of_the_settings_and_nobody_else_does() -> None:
    notes = list[str]()
    duties = BarDuties(COINS, [noting(notes, "scored")])
    asyncio.run(duties.before_change(("bitcoin", "dogecoin")))
    assert notes == []
    duties.leads = True
    asyncio.run(duties.before_change(("bitcoin", "dogecoin")))
    asyncio.run(duties.before_change(("dogecoin",)))
    assert notes == ["scored bitcoin"]


def test_a_duty_that_fails_or_hangs_ends_nothing_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    notes = list[str]()

    async def failing(coins: Sequence[str]) -> None:
        raise ZeroDivisionError("of the ledger")

    async def hanging(coins: Sequence[str]) -> None:
        await asyncio.Event().wait()

    duties = BarDuties(
        COINS, [failing, hanging, noting(notes, "recorded")], judge=noting(notes, "judged"), deadline_s=0.05
    )

    async def performed() -> None:
        await duties.perform(COINS)
        for _ in range(2):
            duties.judge_behind()
            await asyncio.sleep(0.01)

    asyncio.run(performed())
    assert notes == ["recorded bitcoin,ethereum", "judged bitcoin,ethereum"]
    assert (duties.failures, duties.last_error) == (2, "TimeoutError")
    assert "of the ledger" in caplog.text


def _lead(store: str, say: "multiprocessing.queues.Queue[bool]") -> None:
    say.put(Leader(Path(store)).leads())


def test_of_two_processes_one_leads(tmp_path: Path) -> None:
    ours = Leader(tmp_path)
    assert ours.leads()
    context = multiprocessing.get_context("spawn")
    say = context.Queue()
    other = context.Process(target=_lead, args=(str(tmp_path), say))
    other.start()
    assert say.get(timeout=60) is False
    other.join()
    ours.leave()
