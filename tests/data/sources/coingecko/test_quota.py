import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.data.sources.coingecko.quota import Credits
from cryptocast.data.sources.coingecko.refusals import CreditsKept
from cryptocast.data.sources.errors import QuotaSpent
from cryptocast.net import Priority

NOW = datetime(2026, 1, 31, 23, 0, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[4]
USER, REFRESH, BACKFILL, STRANGER = Priority.USER, Priority.REFRESH, Priority.BACKFILL, Priority.STRANGER


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def spend(budget: Credits, priority: Priority) -> int:
    """Credits until there are none for this kind of work."""
    count = 0
    try:
        while True:
            budget.take(priority)
            count += 1
    except QuotaSpent:
        return count


def test_the_backfill_stops_first_then_refreshing_and_the_last_tenth_is_the_users(tmp_path: Path) -> None:
    budget = Credits(tmp_path / "credits.json", per_month=100, now=Clock())
    assert [spend(budget, who) for who in (BACKFILL, REFRESH, BACKFILL, USER)] == [60, 30, 0, 10]
    state = budget.state()
    assert (state.used, state.left, state.month) == (100, 0, "2026-01")
    assert state.by_priority == {"backfill": 60, "refresh": 30, "user": 10}
    assert [state.allowed(who) for who in Priority] == [0, 0, 0, 0]


def test_the_refusal_says_how_many_are_used_and_what_to_do(tmp_path: Path) -> None:
    budget = Credits(tmp_path / "credits.json", per_month=10, now=Clock())
    spend(budget, BACKFILL)
    with pytest.raises(QuotaSpent, match=r"6 of the 10 credits of 2026-01 are used; the last 4 are reserved .* month"):
        budget.take(BACKFILL)


def test_without_a_bound_credits_are_only_counted(tmp_path: Path) -> None:
    budget = Credits(tmp_path / "credits.json", per_month=0, now=Clock())
    for _ in range(30):
        budget.take(BACKFILL)
    state = budget.state()
    assert (state.used, state.left, state.allowed(BACKFILL)) == (30, None, None)


def test_a_new_month_begins_at_midnight_utc_with_nothing_used(tmp_path: Path) -> None:
    clock = Clock()
    budget = Credits(tmp_path / "credits.json", per_month=5, now=clock)
    spend(budget, USER)
    clock.now = NOW + timedelta(minutes=59)
    with pytest.raises(QuotaSpent):
        budget.take(USER)
    clock.now = NOW + timedelta(hours=1)
    budget.take(USER)
    assert (budget.state().month, budget.state().used) == ("2026-02", 1)


def test_the_count_outlives_the_process_and_is_written_before_the_call_goes_out(tmp_path: Path) -> None:
    path = tmp_path / "run" / "credits.json"
    Credits(path, per_month=5, now=Clock()).take(USER)
    assert Credits(path, per_month=5, now=Clock()).state().used == 1


def test_what_the_upstream_says_of_the_month_pauses_all_but_the_user_longer_each_time(tmp_path: Path) -> None:
    clock = Clock()
    clock.now = datetime(2026, 1, 10, tzinfo=UTC)
    budget = Credits(tmp_path / "credits.json", per_month=100, now=clock)
    for pause in (timedelta(hours=1), timedelta(hours=6), timedelta(hours=6)):
        budget.refused()
        assert budget.state().blocked_until == clock.now + pause
        for who in (REFRESH, BACKFILL):
            with pytest.raises(QuotaSpent, match=r"no (refresh|backfill) before 2026-01-10"):
                budget.take(who)
        budget.take(USER)
        clock.now += pause
        budget.take(BACKFILL)
    budget.answered()
    budget.refused()
    assert budget.state().blocked_until == clock.now + timedelta(hours=1)


def test_the_upstreams_own_count_knows_calls_of_elsewhere(tmp_path: Path) -> None:
    budget = Credits(tmp_path / "credits.json", per_month=100, now=Clock())
    budget.take(USER)
    budget.synced(41)
    assert budget.state().used == 41
    budget.synced(30)  # behind: ours counts what is under way
    assert budget.state().used == 41


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"month": 3}', b"\xff\xfe", b'{"month": "2026-01", "used": {"user": -5}}']
)
def test_a_damaged_count_starts_anew_and_says_so(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "credits.json"
    path.write_bytes(content)
    budget = Credits(path, per_month=10, now=Clock())
    budget.take(USER)
    assert budget.state().used == 1
    assert "damaged" in caplog.text


def test_where_nothing_can_be_written_the_process_counts_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("a file in the way")
    budget = Credits(tmp_path / "run" / "credits.json", per_month=3, now=Clock())
    assert spend(budget, USER) == 3
    assert "this process only" in caplog.text


TAKER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from cryptocast.data.sources.coingecko.quota import Credits
from cryptocast.net import Priority

budget = Credits(Path(sys.argv[1]), per_month=0, now=lambda: datetime(2026, 1, 31, tzinfo=UTC))
for _ in range(25):
    budget.take(Priority.USER)
"""


def test_two_processes_share_one_count(tmp_path: Path) -> None:
    path = tmp_path / "credits.json"
    takers = [subprocess.Popen([sys.executable, "-c", TAKER, str(path)], cwd=ROOT) for _ in range(2)]
    assert [taker.wait(timeout=60) for taker in takers] == [0, 0]
    assert Credits(path, per_month=0, now=Clock()).state().used == 50


# --- strangers


def admitted(budget: Credits, *clients: str, per_minute: int = 10) -> list[str]:
    """For each client in turn: let through, or the bound that was met."""
    said = []
    for client in clients:
        try:
            budget.admit(client, per_minute=per_minute)
            said.append("yes")
        except CreditsKept as error:
            said.append(error.bound)
    return said


@pytest.mark.parametrize("first", [STRANGER, REFRESH])
def test_strangers_have_a_tenth_of_the_month_and_take_nothing_from_the_others(tmp_path: Path, first: Priority) -> None:
    budget = Credits(tmp_path / "credits.json", per_month=100, now=Clock())
    second = REFRESH if first is STRANGER else STRANGER
    spent = {who: spend(budget, who) for who in (first, second)}
    # Come last, they leave the last tenth to the user; come first, the others still have their nine tenths.
    assert spent == ({STRANGER: 10, REFRESH: 90} if first is STRANGER else {REFRESH: 90, STRANGER: 0})
    assert spend(budget, USER) == (0 if first is STRANGER else 10)
    assert budget.state().used == 100


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.lists(st.sampled_from(list(Priority)), max_size=120))
def test_whatever_strangers_do_ours_have_nine_tenths(per_month: int, work: list[Priority]) -> None:
    budget, without = (Credits(None, per_month=per_month, now=Clock()) for _ in range(2))
    done: Counter[Priority] = Counter()
    for who in work:
        outcomes = []
        for one in (budget, without) if who is not STRANGER else (budget,):
            try:
                one.take(who)
                outcomes.append(True)
            except QuotaSpent:
                outcomes.append(False)
        done[who] += outcomes[0]
        ours = sum(done.values()) - done[STRANGER]
        # Refused because of strangers only where nine tenths of the month are used by ours.
        assert outcomes[0] is outcomes[-1] or ours >= 0.9 * per_month - 1
    assert per_month == 0 or done[STRANGER] <= 0.1 * per_month


def test_a_spent_share_says_from_when_on_there_is_one_again(tmp_path: Path) -> None:
    clock = Clock()
    budget = Credits(tmp_path / "credits.json", per_month=20, now=clock)
    assert (admitted(budget, "a"), spend(budget, STRANGER), admitted(budget, "b")) == (["yes"], 2, ["month"])
    with pytest.raises(CreditsKept, match=r"2 of 20 credits.*Ask again from 2026-02-01 on") as caught:
        budget.admit("c", per_minute=10)
    assert caught.value.retry_after_s == 3600.0
    clock.now += timedelta(hours=1)
    assert admitted(budget, "b") == ["yes"]


@pytest.mark.parametrize("per_month", [0, 1000])
def test_a_client_may_ask_once_a_minute_in_every_process_and_after_a_restart(tmp_path: Path, per_month: int) -> None:
    clock = Clock()
    clock.now = datetime(2026, 1, 31, 23, 59, 30, tzinfo=UTC)  # the month's end is inside the minute
    one, two = (Credits(tmp_path / "credits.json", per_month=per_month, now=clock) for _ in range(2))
    assert admitted(one, "a", "a", "b") == ["yes", "client", "yes"]
    clock.now += timedelta(seconds=45)
    assert admitted(two, "a", "b", "c") == ["client", "client", "yes"]
    assert admitted(Credits(tmp_path / "credits.json", per_month=per_month, now=clock), "a") == ["client"]
    clock.now += timedelta(seconds=15)
    assert admitted(two, "a", "c") == ["yes", "client"]
    clock.now -= timedelta(days=2)  # a clock that is set back keeps nobody out for days
    assert admitted(one, "a") == ["yes"]


def test_all_clients_together_leave_most_of_the_minute_to_ours(tmp_path: Path) -> None:
    clock = Clock()
    budget = Credits(tmp_path / "credits.json", per_month=0, now=clock)
    assert admitted(budget, *"abcd", per_minute=2) == ["yes", "yes", "minute", "minute"]
    clock.now += timedelta(minutes=1)
    assert admitted(budget, *"cdab", per_minute=2) == ["yes", "yes", "minute", "minute"]


def test_the_file_names_no_client(tmp_path: Path) -> None:
    budget = Credits(tmp_path / "credits.json", per_month=0, now=Clock())
    assert admitted(budget, "192.0.2.7") == ["yes"]
    assert "192.0.2.7" not in (tmp_path / "credits.json").read_text()
