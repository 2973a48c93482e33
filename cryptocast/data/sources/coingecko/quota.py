"""The calls of a month, shared by every process of the store: who may still spend one, and how many are left."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

import filelock
import msgspec
from msgspec import Meta

from cryptocast.data.parquet import write_atomically
from cryptocast.data.sources.coingecko.refusals import CreditsKept
from cryptocast.data.sources.errors import QuotaSpent
from cryptocast.errors import DataError
from cryptocast.files import OWN_FILE, make_own_folder
from cryptocast.net import Priority

log = logging.getLogger(__name__)

# Shares of the month's credits that each kind of work must leave to those before it: the backfill stops first, then the
# refresher, and the last tenth is the user's. What strangers have spent is not held against the others.
RESERVED: Final = {Priority.USER: 0.0, Priority.REFRESH: 0.1, Priority.BACKFILL: 0.4, Priority.STRANGER: 0.1}
STRANGERS_SHARE: Final = 0.1  # of the month, for all of them together
MINUTE: Final = timedelta(minutes=1)
LOCK_TIMEOUT_S: Final = 5.0
BACK_OFF: Final = (timedelta(hours=1), timedelta(hours=6))  # after the upstream said that nothing is left; then longer


class _Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A stranger who was let through: a digest of the name, since an address is nobody else's to read."""

    client: str
    at: datetime


class _Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The file. Times in UTC."""

    month: str
    used: dict[str, Annotated[int, Meta(ge=0)]] = {}
    refusals: int = msgspec.field(
        default=0, name="refused"
    )  # times in a row that the upstream said that the month's credits are gone
    blocked_until: datetime | None = None
    admitted: tuple[_Admitted, ...] = ()  # strangers of the last minute


class CreditState(msgspec.Struct, frozen=True, kw_only=True):
    """Where the month stands. per_month, left: None where there is no bound."""

    month: str
    used: int
    per_month: int | None
    left: int | None
    by_priority: dict[str, int]
    blocked_until: datetime | None

    def allowed(self, priority: Priority) -> int | None:
        """Credits that work of this priority may still spend; None where there is no bound."""
        if self.per_month is None:
            return None
        strangers = self.by_priority.get(_name(Priority.STRANGER), 0)
        return _allowed(self.per_month, spent=self.used, strangers=strangers, priority=priority)


class Credits:
    """A budget for the calendar month (UTC).

    `path` is replaced as a whole, under a lock that ends with its holder. A credit is counted before its call goes out,
    so a crash may count one too many and never one too few. per_month 0: no bound, only counted. A file that is damaged
    counts as empty, and one that cannot be written is replaced by this process's own count; both are logged.
    """

    def __init__(self, path: Path | None, *, per_month: int, now: Callable[[], datetime]) -> None:
        if per_month < 0:
            raise ValueError(f"per_month is {per_month}, expected 0 or more")
        self._path, self._per_month, self.now = path, per_month, now
        self._own = _Ledger(month="")

    def admit(self, client: str, *, per_minute: int) -> None:
        """Let a stranger ask for one call, which `take` then counts: one a minute for each client, and `per_minute` for
        all of them, in every process of the store. Raises CreditsKept, nothing counted, and QuotaSpent."""
        name = sha256(client.encode()).hexdigest()[:16]
        self._check_stranger(self._read(), name, per_minute)  # without the lock: who is refused may come often
        with self._locked():
            ledger = self._read()
            self._check_stranger(ledger, name, per_minute)
            recent = (*self._last_minute(ledger), _Admitted(client=name, at=self.now()))
            self._write(msgspec.structs.replace(ledger, admitted=recent))

    def take(self, priority: Priority) -> None:
        """Count a credit. Raises QuotaSpent, nothing counted, if this kind of work has none left."""
        with self._locked():
            ledger = self._read()
            self._check(ledger, priority)
            self._write(_with(ledger, priority, 1))

    def took(self, priority: Priority, count: int = 1) -> None:
        """Count credits that are gone already, such as those of retries."""
        with self._locked():
            self._write(_with(self._read(), priority, count))

    def refused(self) -> None:
        """The upstream says that the month's credits are gone, whatever was counted here: a long pause for all but the
        user, longer each time."""
        with self._locked():
            ledger = self._read()
            pause = BACK_OFF[min(ledger.refusals, len(BACK_OFF) - 1)]
            until = self.now() + pause
            self._write(msgspec.structs.replace(ledger, refusals=ledger.refusals + 1, blocked_until=until))

    def answered(self) -> None:
        """The upstream answers: what was said of the month's credits before is over."""
        if self.state().blocked_until is None:
            return
        with self._locked():
            self._write(msgspec.structs.replace(self._read(), refusals=0, blocked_until=None))

    def synced(self, calls: int) -> None:
        """The upstream's own count, which knows the calls of other stores and machines too."""
        with self._locked():
            ledger = self._read()
            others = calls - sum(ledger.used.values())
            if others > 0:
                self._write(_with(ledger, "elsewhere", others))

    def state(self) -> CreditState:
        """What is used and left, without the lock: a file is whole, old or new."""
        ledger = self._read()
        spent = sum(ledger.used.values())
        bound = self._per_month or None
        return CreditState(
            month=ledger.month,
            used=spent,
            per_month=bound,
            left=None if bound is None else max(0, bound - spent),
            by_priority=dict(ledger.used),
            blocked_until=ledger.blocked_until,
        )

    def _check(self, ledger: _Ledger, priority: Priority) -> None:
        blocked = ledger.blocked_until
        if blocked is not None and self.now() < blocked and priority is not Priority.USER:
            raise QuotaSpent(
                f"CoinGecko said that the month's credits are used up: no {_name(priority)} before"
                f" {blocked:%Y-%m-%d %H:%M} UTC.",
                "Stored candles stay in use.",
            )
        spent = sum(ledger.used.values())
        strangers = ledger.used.get(_name(Priority.STRANGER), 0)
        if self._per_month and not _allowed(self._per_month, spent=spent, strangers=strangers, priority=priority):
            if priority is Priority.STRANGER:
                raise self._share_spent(strangers)
            rest = self._per_month - spent
            reserve = f"; the last {rest:,} are reserved for more urgent calls" if rest > 0 else ""
            raise QuotaSpent(
                f"{spent:,} of the {self._per_month:,} credits of {ledger.month} are used{reserve}.",
                "Wait for the next month, or set [coingecko] monthly_credits to what the plan gives (0: no bound).",
            )

    def _check_stranger(self, ledger: _Ledger, client: str, per_minute: int) -> None:
        self._check(ledger, Priority.STRANGER)
        recent = self._last_minute(ledger)
        own = [one.at for one in recent if one.client == client]
        if own:
            wait = self._wait_s(own[-1])
            raise CreditsKept(
                "Coins and currencies that this server is not set up for are fetched once a minute for each client."
                f" Ask again in {wait:.0f} s.",
                bound="client",
                retry_after_s=wait,
            )
        if len(recent) >= per_minute:
            wait = self._wait_s(recent[-per_minute].at)
            raise CreditsKept(
                f"Coins and currencies that this server is not set up for are fetched {per_minute} times a minute for"
                f" all clients together. Ask again in {wait:.0f} s.",
                bound="minute",
                retry_after_s=wait,
            )

    def _share_spent(self, spent: int) -> CreditsKept:
        now = self.now().astimezone(UTC)
        next_month = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return CreditsKept(
            f"The month's calls for coins and currencies that this server is not set up for are used up ({spent:,}"
            f" of {self._per_month:,} credits went to them): the others are kept for its own coins. Ask again from"
            f" {next_month:%Y-%m-%d} on.",
            bound="month",
            retry_after_s=(next_month - now).total_seconds(),
        )

    def _last_minute(self, ledger: _Ledger) -> tuple[_Admitted, ...]:
        """Oldest first. One from the future was stamped by a clock that was set back since."""
        now = self.now()
        recent = [one for one in ledger.admitted if timedelta(0) <= now - one.at < MINUTE]
        return tuple(sorted(recent, key=lambda one: one.at))

    def _wait_s(self, since: datetime) -> float:
        return max(1.0, (since + MINUTE - self.now()).total_seconds())

    def _read(self) -> _Ledger:
        month = f"{self.now().astimezone(UTC):%Y-%m}"
        ledger = self._own
        if self._path is not None:
            try:
                ledger = msgspec.json.decode(self._path.read_bytes(), type=_Ledger)
            except OSError:
                ledger = self._own  # not there yet, or not readable: what this process knows
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log.warning("the count of credits %s is damaged and starts anew: %s", self._path, error)
        if ledger.month != month:  # also one that a wrong clock dated into another month
            return _Ledger(month=month, admitted=ledger.admitted)  # the minute goes on
        return ledger

    def _write(self, ledger: _Ledger) -> None:
        self._own = ledger
        if self._path is None:
            return
        try:
            write_atomically(self._path, msgspec.json.encode(ledger))
        except DataError as error:
            log.warning("credits are counted for this process only: %s", error)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._path is None:
            yield
            return
        path = self._path.with_name(self._path.name + ".lock")
        lock = filelock.FileLock(path, timeout=LOCK_TIMEOUT_S, mode=OWN_FILE)
        try:
            make_own_folder(self._path.parent)
            lock.acquire()
        except (filelock.Timeout, OSError) as error:
            # A count that is off by a few must not keep anybody from their data.
            log.warning("the count of credits %s cannot be locked: %s", self._path, error)
        try:
            yield
        finally:
            lock.release()  # does nothing for one that was not acquired


def _allowed(per_month: int, *, spent: int, strangers: int, priority: Priority) -> int:
    """Credits that work of this priority may still spend. Only the whole month is what strangers leave of it."""
    share = int(per_month * (1.0 - RESERVED[priority]))
    if priority is Priority.STRANGER:
        left = min(int(per_month * STRANGERS_SHARE) - strangers, share - spent)
    else:
        left = min(share - (spent - strangers), per_month - spent)
    return max(0, left)


def _with(ledger: _Ledger, who: Priority | str, count: int) -> _Ledger:
    name = _name(who)
    return msgspec.structs.replace(ledger, used={**ledger.used, name: ledger.used.get(name, 0) + count})


def _name(who: Priority | str) -> str:
    return who.name.lower() if isinstance(who, Priority) else who
