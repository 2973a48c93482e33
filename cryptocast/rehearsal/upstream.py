"""`FakeUpstream`: the stand-in in a thread of its own, on a real socket of the loopback."""

import asyncio
import dataclasses
import errno
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from typing import Any, Literal, Self, TypeVar

import numpy as np

from cryptocast.errors import UsageError
from cryptocast.rehearsal.cache import VendorCache
from cryptocast.rehearsal.calls import Call, Calls, ConnectionCounts
from cryptocast.rehearsal.charts import Desk
from cryptocast.rehearsal.clock import Clock
from cryptocast.rehearsal.coins import Coin, catalogue
from cryptocast.rehearsal.control import PREFIX, control
from cryptocast.rehearsal.endpoints import Endpoints
from cryptocast.rehearsal.exchanges import ExchangeDesk, exchange_route, in_dialect
from cryptocast.rehearsal.faults import Playbook, Rule, Script, as_script
from cryptocast.rehearsal.messages import HttpRequest, json_reply
from cryptocast.rehearsal.plans import DEMO_KEY, PRO_KEY, Limits, Plan, Quota
from cryptocast.rehearsal.price_walks import PriceWalks
from cryptocast.rehearsal.quirks import QUIRKS, USUAL, Quirks, QuirkSet
from cryptocast.rehearsal.spoiling import spoiled
from cryptocast.rehearsal.volatility_index import index_answer, is_index_call
from cryptocast.rehearsal.wire import HOST, TimedReply, Wire

log = logging.getLogger(__name__)

T = TypeVar("T")


class FakeUpstream:
    """A CoinGecko that is not one. `with FakeUpstream(...) as fake:` listens; methods may be called from any thread.

    seed: of all prices. now: where its clock stands (a moment: it stands still there unless `speed` says otherwise; a
    function: the clock to follow; None: the wall's). plan: the host that is played. coins: how many coin-000, coin-001,
    ... there are beside the well-known and the odd ones, or the coins themselves. faults: fault names and rules, a
    script, or "cycle". limit_clock: what the limit of the minute goes by, the wall or the clock above. latency_s: how
    long each answer takes. vendor_cache: whether a question gets the same answer for a time, as by the network in
    front of the upstream. idle_timeout_s: after how long an idle connection ends. port 0 takes a free one.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        now: datetime | Callable[[], datetime] | None = None,
        speed: float | None = None,
        plan: Plan = "keyless",
        coins: int | Iterable[Coin] = 100,
        faults: Script | str | Iterable[Rule | str] = (),
        quirks: Quirks | QuirkSet = USUAL,
        limits: Limits | int = 0,
        limit_clock: Literal["wall", "virtual"] = "wall",
        latency_s: float = 0.0,
        vendor_cache: bool = False,
        idle_timeout_s: float = 75.0,
        compress: bool = True,
        port: int = 0,
    ) -> None:
        self.seed, self.port = seed, port
        self.clock = Clock(now, speed=speed)
        self.market = PriceWalks(seed)
        self.calls = Calls()
        listed = catalogue(coins, int(self.clock.now_s())) if isinstance(coins, int) else {c.id: c for c in coins}
        self._endpoints = Endpoints(
            coins=listed,
            desk=Desk(self.market, QUIRKS[quirks] if isinstance(quirks, str) else quirks),
            clock=self.clock,
            quota=Quota(
                plan,
                Limits(per_minute=limits) if isinstance(limits, int) else limits,
                time.time if limit_clock == "wall" else self.clock.now_s,
            ),
            cache=VendorCache(on=vendor_cache),
        )
        self.exchanges = ExchangeDesk(self.market, self.clock, lambda: self._endpoints.coins)
        self._playbook = Playbook(as_script(faults), seed=seed)
        self._latency_s = latency_s
        self._wire = Wire(self._respond, idle_timeout_s=idle_timeout_s, compress=compress)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # --- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen. Raises UsageError if the port is taken."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-upstream", daemon=True)
        self._thread.start()
        try:
            self.restart()
        except BaseException:
            self.close()
            raise

    def kill(self) -> None:
        """End as a crash would: connections drop, and new ones are refused. Clock, script and counts stay."""
        self._run(self._wire.stop())

    def restart(self) -> None:
        """Listen again, on the same port. Raises UsageError if it is taken."""
        try:
            self.port = self._run(self._wire.start(self.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                in_use = f"Port {self.port} of {HOST} is in use by another program. Choose another; 0 takes a free one."
                raise UsageError(in_use) from error
            if error.errno == errno.EACCES:
                reserved = f"Port {self.port} needs rights that this user lacks. Choose one above 1023."
                raise UsageError(reserved) from error
            raise

    def close(self) -> None:
        """Stop and end the thread. A second call does nothing."""
        if self._loop is None or self._thread is None:
            return
        self._run(self._wire.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10.0)
        if not self._thread.is_alive():
            self._loop.close()
        self._loop = self._thread = None

    # --- where and what

    @property
    def origin(self) -> str:
        """The address, without a path."""
        return f"http://{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """The base address to give to a client."""
        return f"{self.origin}/api/v3"

    @property
    def plan(self) -> Plan:
        """The host that is played."""
        return self._endpoints.quota.plan

    @property
    def key(self) -> str | None:
        """The key that the plan takes; None for keyless."""
        return {"keyless": None, "demo": DEMO_KEY, "pro": PRO_KEY}[self.plan]

    @property
    def coins(self) -> dict[str, Coin]:
        """The coins by id."""
        return dict(self._endpoints.coins)

    @property
    def connections(self) -> ConnectionCounts:
        """Open, idle and accepted connections."""
        return self._run(_soon(self._wire.connections))

    def price(self, coin: str, at: datetime, vs: str = "usd") -> float:
        """The true price of a coin at a moment: what the series say there unless a quirk spoils it. NaN: none."""
        at_ms = np.array([round(at.timestamp() * 1000)], dtype=np.int64)
        return float(self.market.price(self._endpoints.coins[coin], at_ms, vs)[0])

    def state(self) -> dict[str, Any]:
        """Counts, connections, time and what is going wrong, as plain values."""
        phase = self._playbook.phase()
        return {
            **self.calls.summary(),
            "connections": dataclasses.asdict(self._wire.connections()),
            "now": self.clock.now().isoformat(),
            "rules": len(self._playbook.script.rules),
            "phase": None if phase is None else phase.fault,
        }

    # --- changes

    def set_now(self, now: datetime) -> None:
        """Put the clock to a moment."""
        self.clock.set(now)

    def advance(self, seconds: float) -> None:
        """Put the clock forward."""
        self.clock.set(advance_s=seconds)

    def script(self, faults: Script | str | Iterable[Rule | str] = ()) -> None:
        """From now on these faults, counted from here; nothing: none."""
        self._playbook = Playbook(as_script(faults), seed=self.seed)

    def set_quirks(self, quirks: Quirks | QuirkSet) -> None:
        """From now on these quirks."""
        self._endpoints.desk.quirks = QUIRKS[quirks] if isinstance(quirks, str) else quirks

    def set_limits(self, limits: Limits | int) -> None:
        """From now on these limits; a number: calls a minute."""
        self._endpoints.quota.limits = Limits(per_minute=limits) if isinstance(limits, int) else limits

    def set_latency(self, seconds: float) -> None:
        """From now on each answer takes so long."""
        self._latency_s = seconds

    def revise(self, coin: str, at: datetime, factor: float) -> None:
        """From now on the price stamped with this moment is told times the factor."""
        self._endpoints.desk.revisions[coin, round(at.timestamp() * 1000)] = factor

    def add_coin(self, coin: Coin) -> None:
        """List a coin, or replace the one with its id."""
        self._endpoints.coins = {**self._endpoints.coins, coin.id: coin}

    def move(self, old: str, new: str) -> None:
        """Move a coin to another id at this moment: the old one is unknown from now on, the new one has its path."""
        coin = self._endpoints.coins.get(old)
        if coin is None:
            raise ValueError(f"there is no coin {old!r} to move")
        now_s = int(self.clock.now_s())
        self.add_coin(dataclasses.replace(coin, stopped_at=now_s, removed_at=now_s))
        self.add_coin(dataclasses.replace(coin, id=new, walk=coin.walk or coin.id))

    def close_idle(self) -> int:
        """End the connections that wait for a request, and return how many they were."""
        return self._run(self._wire.close_idle())

    def close_idle_soon(self) -> None:
        """The same, without waiting."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._wire.close_idle(), self._loop)

    def reset(self) -> None:
        """No faults, no counts, a fresh minute. The clock, the quirks and the limits stay."""
        self.script()
        self.calls.clear()
        self._endpoints.quota.reset()

    # --- one request

    def _respond(self, request: HttpRequest, connection: int) -> TimedReply:
        if request.path.startswith(PREFIX):
            return TimedReply(control(self, request))
        exchange, is_index = exchange_route(request), is_index_call(request)
        endpoint, ids = (exchange[1], ()) if exchange else (request.route[0], request.ids)
        endpoint = "volatility_index" if is_index else endpoint
        rule = self._playbook.pick(endpoint, ids)
        hidden = (rule.ids or ids[1::2] or ids) if rule is not None and rule.fault == "drop_ids" else ()
        try:
            if is_index:
                reply = index_answer(request, self.market, self.clock.now_ms())
            else:
                reply = self.exchanges.answer(request) if exchange else self._endpoints.answer(request, hidden=hidden)
        except Exception as error:  # a bug of the stand-in must not look like one of its faults
            log.exception("the stand-in failed at %s", request.path)
            reply = json_reply({"error": f"bug of the stand-in: {type(error).__name__}: {error}"}, status=500)
        if rule is not None:
            reply = spoiled(reply, rule, now_s=self._endpoints.quota.clock())
            reply = in_dialect(reply, exchange[0], rule) if exchange else reply
        mute = rule is not None and rule.fault in ("hang", "close", "reset", "garbage")
        self.calls.add(
            Call(
                at_s=time.time(),
                clock_s=self.clock.now_s(),
                endpoint=endpoint,
                ids=ids,
                path=request.path,
                params=dict(request.params),
                status=0 if mute else reply.status,
                fault=None if rule is None else rule.fault,
                connection=connection,
            )
        )
        return TimedReply(reply, self._latency_s, rule)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the stand-in is not running: use it in a `with` block, or call start()")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30.0)


async def _soon(function: Callable[[], T]) -> T:
    return function()
