"""What the names on a command line mean together: a name as it is printed, and what stands beside it.

Every command that takes a coin, a kind or a version asks here, so that what one prints another takes, and so that a
name which is not understood, or means nothing that there is, is refused and never answered with an empty list.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar, cast, get_args

from cryptocast.cli.session import Session
from cryptocast.config import Granularity, SourceChoice
from cryptocast.errors import CryptocastError, RegistryError, UsageError

if TYPE_CHECKING:
    from cryptocast.registry import Event, ListedVersion, Reference, Registry, Version, VersionKey

__all__ = [
    "Asked",
    "asked",
    "find_events",
    "find_key",
    "find_listed",
    "find_version",
    "is_plain",
    "names_version",
    "one_source",
]

T = TypeVar("T")
MARKS: Final = frozenset("/@#:(")


@dataclass(frozen=True, slots=True)
class Asked:
    """What was named; None: not said."""

    coin: str | None
    kind: str | None
    alias: str | None
    number: int | None
    source: str | None
    vs: str | None
    granularity: Granularity | None

    @property
    def choice(self) -> SourceChoice | None:
        """The source as the options take it. UsageError if there is none of that name."""
        if self.source is not None and self.source not in get_args(SourceChoice):
            raise UsageError(f"There is no source {self.source!a}. Choose among {', '.join(get_args(SourceChoice))}.")
        return cast("SourceChoice | None", self.source)

    @property
    def reference(self) -> "Reference":
        """The name alone. Only where a coin was named."""
        from cryptocast.registry import Reference

        return Reference(self.coin or "", self.kind, self.alias, self.number)


def asked(
    coin: str | None,
    kind: str | None = None,
    number: int | None = None,
    *,
    source: SourceChoice | None = None,
    vs: str | None = None,
    granularity: Granularity | None = None,
) -> Asked:
    """What a name means with the arguments and options beside it. UsageError if they contradict each other."""
    from cryptocast.registry import Reference, parse_reference
    from cryptocast.registry.manifest import WORD_PATTERN

    said = parse_reference(coin) if coin is not None else Reference("")
    if kind is not None and not re.fullmatch(WORD_PATTERN, kind):
        raise UsageError(f"{kind[:120]!a} is no kind of model, such as lightgbm.")
    real = None if source in (None, "auto") else str(source)  # `auto` is no source of its own
    return Asked(
        coin=said.coin or None,
        kind=_one(coin, "kind", said.kind, kind),
        alias=said.alias,
        number=_one(coin, "version", said.number, number),
        source=_one(coin, "source", said.source, real),
        vs=_one(coin, "currency", said.vs, vs),
        granularity=_one(coin, "granularity", said.granularity, granularity),
    )


def is_plain(coin: str) -> bool:
    """Whether a text can be nothing but the name of a coin, well-formed or not."""
    return MARKS.isdisjoint(coin)


def names_version(text: str) -> bool:
    """Whether a text says more than a coin and its bars. UsageError if it cannot be meant."""
    found = None if is_plain(text) else asked(text)
    return found is not None and (found.kind, found.alias, found.number) != (None, None, None)


def _one(name: str | None, what: str, said: T | None, beside: T | None) -> T | None:
    if said is not None and beside is not None and said != beside:
        raise UsageError(f"{name!a} and the {what} {beside} beside it contradict each other. Leave one out.")
    return beside if said is None else said


def find_listed(session: Session, wanted: Asked) -> "tuple[ListedVersion, ...]":
    """The versions that are meant. RegistryError if something was named and nothing is called that."""
    wanted, registry = _settled(session, wanted), session.registry()
    found = registry.listing(
        coin=wanted.coin,
        kind=wanted.kind,
        source=wanted.source,
        vs=wanted.vs,
        granularity=wanted.granularity,
        alias=wanted.alias,
    )
    found = tuple(version for version in found if wanted.number in (None, version.number))
    if not found and wanted != asked(None):
        raise _no_such(registry, wanted)
    return found


def find_events(session: Session, wanted: Asked, until: datetime | None) -> "tuple[Event, ...]":
    """What happened to what is meant. RegistryError if something was named and nothing was ever called that."""
    wanted, registry = _settled(session, wanted), session.registry()

    def events(until: datetime | None) -> "tuple[Event, ...]":
        found = registry.history(
            coin=wanted.coin,
            kind=wanted.kind,
            source=wanted.source,
            vs=wanted.vs,
            granularity=wanted.granularity,
            alias=wanted.alias,
            until=until,
        )
        return tuple(event for event in found if wanted.number in (None, event.number, event.previous))

    if wanted != asked(None) and not events(None):  # a version without an event there cannot be
        raise _no_such(registry, wanted)
    return events(until)


def find_version(
    session: Session,
    name: str,
    *,
    source: SourceChoice | None = None,
    vs: str | None = None,
    granularity: Granularity | None = None,
) -> "Version":
    """The version that a person means. Without a source: the only one that the coin has versions on.

    Raises UsageError if there are several, RegistryError if there is no such version.
    """
    return _version(session, asked(name, source=source, vs=vs, granularity=granularity))


def find_key(session: Session, wanted: Asked) -> "tuple[Registry, VersionKey, int | None]":
    """The one key that is meant, and the number where a version of it was named; production goes without one."""
    from cryptocast.workflows.lifecycle.rollback import one_key

    registry, data = session.registry(), session.config.data
    if wanted.number is not None or wanted.alias not in (None, "production"):
        version = _version(session, wanted)
        return registry, version.key, version.number
    bars, currency = wanted.granularity or data.granularity, wanted.vs or data.vs
    key = one_key(registry, wanted.coin or "", wanted.kind, source=wanted.source, vs=currency, granularity=bars)
    return registry, key, None


def one_source(registry: "Registry", wanted: Asked, *, vs: str, granularity: Granularity) -> str:
    """The source that is meant: the one that was named, else the only one that the coin has versions on.

    Raises UsageError if there are several, RegistryError if there is no such version on any.
    """
    keys = registry.keys(coin=wanted.coin, kind=wanted.kind, source=wanted.source, vs=vs, granularity=granularity)
    found = sorted({key.source for key in keys})
    if len(found) > 1:
        raise UsageError(f"There are versions of {wanted.reference} on {' and on '.join(found)} bars. Set --source.")
    if not found:
        raise registry.no_such(wanted.reference, source=wanted.source, vs=vs, granularity=granularity)
    return found[0]


def _version(session: Session, wanted: Asked) -> "Version":
    registry, data = session.registry(), session.config.data
    bars, currency = wanted.granularity or data.granularity, wanted.vs or data.vs
    source = one_source(registry, wanted, vs=currency, granularity=bars)
    return registry.get(wanted.reference, source=source, vs=currency, granularity=bars)


def _settled(session: Session, wanted: Asked) -> Asked:
    """The same with `@best` as the version that it is; a version without bars is of the configured ones."""
    if wanted.alias == "best":
        version = _version(session, wanted)
        key = version.key
        return Asked(key.coin, key.kind, None, version.number, key.source, key.vs, key.granularity)
    if wanted.alias is None and wanted.number is None:
        return wanted
    return replace(wanted, granularity=wanted.granularity or session.config.data.granularity)


def _no_such(registry: "Registry", wanted: Asked) -> CryptocastError:
    if wanted.coin is not None:
        return registry.no_such(wanted.reference, source=wanted.source, vs=wanted.vs, granularity=wanted.granularity)
    bars = ", ".join(part for part in (wanted.source, wanted.vs, wanted.granularity) if part)
    keys = registry.keys()
    there = sorted({f"({key.source}, {key.vs}, {key.granularity})" for key in keys})
    known = f"There are versions on {', '.join(there)}." if there else "Train some: cryptocast train."
    return RegistryError(f"There is no version on such bars ({bars}). {known}")
