"""`/__control/...`: what a test or a person outside of the process may change and read."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cryptocast.errors import ConfigError
from cryptocast.rehearsal.faults import parse_script
from cryptocast.rehearsal.messages import HttpRequest, Reply, json_reply
from cryptocast.rehearsal.plans import Limits
from cryptocast.rehearsal.quirks import QUIRKS, Quirks

if TYPE_CHECKING:
    from cryptocast.rehearsal.upstream import FakeUpstream

PREFIX: Final = "/__control/"


class ClockOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of /__control/clock."""

    now: datetime | None = None
    advance_s: float = 0.0
    speed: float | None = None


class Revision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of /__control/revise."""

    coin: str
    at: datetime
    factor: float


class Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of /__control/move."""

    old: str
    new: str


def control(fake: "FakeUpstream", request: HttpRequest) -> Reply:
    """What an order does. The answer is the state, or the log; 400 and 404 say what is wrong with the order."""
    orders: dict[tuple[str, str], Callable[[Any], object]] = {
        ("GET", "calls"): lambda _: None,
        ("GET", "log"): lambda _: None,
        ("POST", "faults"): lambda body: fake.script(parse_script(body)),
        ("POST", "clock"): lambda body: _clock(fake, msgspec.convert(body, ClockOrder)),
        ("POST", "limits"): lambda body: fake.set_limits(msgspec.convert(body, Limits)),
        ("POST", "quirks"): lambda body: fake.set_quirks(
            QUIRKS[body] if body in QUIRKS else msgspec.convert(body, Quirks)
        ),
        ("POST", "latency"): lambda body: fake.set_latency(msgspec.convert(body, float)),
        ("POST", "revise"): lambda body: _revise(fake, msgspec.convert(body, Revision)),
        ("POST", "move"): lambda body: _move(fake, msgspec.convert(body, Move)),
        ("POST", "close_idle"): lambda _: fake.close_idle_soon(),
        ("POST", "reset"): lambda _: fake.reset(),
    }
    name = request.path.removeprefix(PREFIX)
    order = orders.get((request.method, name))
    if order is None:
        names = ", ".join(f"{method} {PREFIX}{order}" for method, order in orders)
        return json_reply({"error": f"no such control: {request.method} {request.path}. Known: {names}."}, status=404)
    try:
        order(msgspec.json.decode(request.body) if request.body.strip() else None)
    except (ConfigError, msgspec.DecodeError, ValueError, TypeError) as error:
        return json_reply({"error": str(error)}, status=400)
    return json_reply([*fake.calls.log] if name == "log" else fake.state())


def _clock(fake: "FakeUpstream", order: ClockOrder) -> None:
    fake.clock.set(order.now, advance_s=order.advance_s, speed=order.speed)


def _revise(fake: "FakeUpstream", order: Revision) -> None:
    fake.revise(order.coin, order.at, order.factor)


def _move(fake: "FakeUpstream", order: Move) -> None:
    fake.move(order.old, order.new)
