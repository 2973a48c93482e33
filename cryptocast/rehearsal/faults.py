"""What can go wrong, when: rules that pick the calls to spoil, and a cycle through all of it."""

import random
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta

from cryptocast.errors import ConfigError
from cryptocast.rehearsal.messages import Endpoint, Shape

Fault: TypeAlias = Literal[
    "error",  # an error of `status` (500) in the `shape` (error)
    "too_many",  # 429, Retry-After as `retry_after` says, `seconds` (30) ahead
    "not_json",  # 200 with a page in HTML
    "empty",  # 200 without a body
    "wrong_shape",  # 200 with JSON of another shape
    "cut_json",  # 200, whole by HTTP, but the JSON ends in the middle
    "truncated",  # the connection ends in the middle of the body
    "huge",  # a good body, and then blanks until it has `size` (64 MiB) bytes
    "slow",  # a good answer after `seconds` (2)
    "hang",  # nothing for `seconds` (30), and then the connection ends
    "hang_body",  # half of the body, nothing for `seconds` (30), and then the connection ends
    "chunked",  # a good answer in pieces, whose length is not told before
    "drip",  # a good answer, its bytes spread over `seconds` (30)
    "close",  # the connection ends instead of an answer
    "reset",  # the same by a reset
    "reset_body",  # half of the body and a reset
    "garbage",  # something that is not HTTP
    "close_after",  # a good answer that promises to keep the connection, which ends right after
    "idle_close",  # a good answer; the connection ends when it was idle for `seconds` (1)
    "drop_ids",  # those of `ids`, or every second one, are unknown for this call
]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
SECONDS: Final[dict[Fault, float]] = {
    "too_many": 30.0,
    "slow": 2.0,
    "hang": 30.0,
    "hang_body": 30.0,
    "drip": 30.0,
    "idle_close": 1.0,
}
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=3600)]
Number: TypeAlias = Annotated[int, Meta(ge=1)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Spoils the calls that match. Calls are counted per rule: 1 is the first that matches endpoints and ids."""

    fault: Fault
    endpoints: tuple[Endpoint, ...] = ()  # none: all
    ids: tuple[str, ...] = ()  # calls that ask for one of these; none: all
    calls: tuple[Number, ...] = ()  # only the calls of these numbers; none: all
    after: Annotated[int, Meta(ge=0)] = 0  # leaves so many calls alone first
    times: Number | None = None  # and spoils at most so many
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    status: Annotated[int, Meta(ge=300, le=599)] = 500
    shape: Shape = "error"
    code: int | None = None  # error_code in the body; the status if not given
    message: str = ""
    seconds: Seconds | None = None
    retry_after: Literal["seconds", "date", "none"] = "seconds"
    size: Annotated[int, Meta(ge=1, le=1 << 30)] = 64 << 20

    @property
    def duration_s(self) -> float:
        """How long it takes, its own default if no time is given."""
        return SECONDS.get(self.fault, 0.0) if self.seconds is None else self.seconds


class Cycle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault after the other, each for a time, with calm between them."""

    each_s: Annotated[float, Meta(gt=0)] = 20.0
    calm_s: Annotated[float, Meta(ge=0)] = 10.0
    rules: tuple[Rule, ...] = ()

    def at(self, past_s: float) -> Rule | None:
        """The rule of this moment, `past_s` after the start; None: calm. It begins with calm."""
        turn, into = divmod(past_s, self.each_s + self.calm_s)
        return self.rules[int(turn) % len(self.rules)] if self.rules and into >= self.calm_s else None


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules, of which the first that matches counts; then the cycle, if there is one."""

    rules: tuple[Rule, ...] = ()
    cycle: Cycle | None = None


# Every fault once, the common ones in all the forms that were seen.
CYCLE: Final = Cycle(
    rules=(
        Rule(fault="error", status=500),
        Rule(fault="error", status=502, shape="html", message="Bad gateway"),
        Rule(fault="error", status=503, shape="empty"),
        Rule(fault="error", status=504, shape="status"),
        Rule(fault="error", status=524, shape="html", message="A timeout occurred"),
        Rule(fault="error", status=408, shape="error", message="HttpRequest Timeout"),
        Rule(fault="error", status=403, shape="html", message="Access denied (1020)"),
        Rule(fault="error", status=401, shape="nested", code=10005),
        Rule(fault="error", status=400, shape="flat", code=10012),
        Rule(fault="error", status=404, message="coin not found"),
        Rule(fault="too_many", seconds=5),
        Rule(fault="too_many", seconds=5, retry_after="date"),
        Rule(fault="too_many", retry_after="none"),
        Rule(fault="too_many", retry_after="none", shape="html"),
        *(Rule(fault=fault) for fault in FAULTS if fault not in ("error", "too_many")),
        Rule(fault="error", status=500, probability=0.3),
        Rule(fault="reset", probability=0.3),
    )
)


class Playbook:
    """A script being played: it counts calls, throws its own seeded dice and knows the time. Safe from any thread."""

    def __init__(self, script: Script, *, seed: int = 0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.script = script
        self._monotonic = monotonic
        self._began = monotonic()
        self._dice = random.Random(seed)  # noqa: S311 - not for secrets
        self._matched: Counter[int] = Counter()
        self._spoiled: Counter[int] = Counter()
        self._lock = threading.Lock()

    def pick(self, endpoint: Endpoint, ids: Sequence[str]) -> Rule | None:
        """The rule that spoils this call, if any."""
        rules = list(self.script.rules)
        if (turn := self.phase()) is not None:
            rules.append(turn)
        with self._lock:
            for i, rule in enumerate(rules):
                if self._fires(i, rule, endpoint, ids):
                    return rule
        return None

    def phase(self) -> Rule | None:
        """What the cycle is at; None: no cycle, or calm."""
        cycle = self.script.cycle
        return None if cycle is None else cycle.at(self._monotonic() - self._began)

    def _fires(self, i: int, rule: Rule, endpoint: Endpoint, ids: Sequence[str]) -> bool:
        if (rule.endpoints and endpoint not in rule.endpoints) or (rule.ids and not set(rule.ids) & set(ids)):
            return False
        self._matched[i] += 1
        number = self._matched[i]
        if number <= rule.after or (rule.calls and number not in rule.calls):
            return False
        if rule.times is not None and self._spoiled[i] >= rule.times:
            return False
        if rule.probability < 1 and self._dice.random() >= rule.probability:
            return False
        self._spoiled[i] += 1
        return True


def as_script(faults: Script | str | Iterable[Rule | str]) -> Script:
    """A script from what is short to write: a fault's name, `cycle`, `none`, or several rules and names."""
    if isinstance(faults, Script):
        return faults
    if isinstance(faults, str):
        if faults in ("none", "cycle"):
            return Script(cycle=CYCLE if faults == "cycle" else None)
        faults = [faults]
    return Script(rules=tuple(rule if isinstance(rule, Rule) else _convert({"fault": rule}, Rule) for rule in faults))


def read_script(path: Path) -> Script:
    """A script from a TOML or JSON file: `[[rules]]` with the fields of `Rule`, `[cycle]` with those of `Cycle`.

    A cycle without rules goes through all faults. Raises ConfigError.
    """
    try:
        text = path.read_bytes()
        content = msgspec.json.decode(text) if path.suffix == ".json" else tomllib.loads(text.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise ConfigError(f"The script of faults {path} cannot be read: {error}.") from error
    return parse_script(content, str(path))


def script_of(text: str) -> Script:
    """A script from what stands on a command line: none, cycle, the name of a fault, or a file. Raises ConfigError."""
    if text in ("none", "cycle", *FAULTS):
        return as_script(text)
    if not Path(text).is_file():
        raise ConfigError(f"{text!r} is neither a fault nor a file. Faults: none, cycle, {', '.join(FAULTS)}.")
    return read_script(Path(text))


def parse_script(content: object, origin: str = "the script") -> Script:
    """A script from plain values. Raises ConfigError that names what is wrong."""
    try:
        script = as_script(content) if isinstance(content, str) else _convert(content, Script)
    except ValueError as error:
        raise ConfigError(f"{origin}: {error}. Faults: none, cycle, {', '.join(FAULTS)}.") from error
    if script.cycle is not None and not script.cycle.rules:
        cycle = msgspec.structs.replace(script.cycle, rules=CYCLE.rules)
        return msgspec.structs.replace(script, cycle=cycle)
    return script


def _convert(content: object, kind: type[Any]) -> Any:
    return msgspec.convert(content, kind)  # its ValidationError is a ValueError
