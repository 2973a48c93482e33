"""What the names on a command line mean together: a name as it is printed, and what stands beside it.

Every command that takes a coin, a kind or a version asks here, so that what one prints another takes, and so that a
name which is not understood, or means nothing that there is, is refused and never answered with an empty list.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from cryptocast.choices import Granularity
from cryptocast.cli.session import Session
from cryptocast.errors import CryptocastError, RegistryError, UsageError
from cryptocast.kinds import SHIPPED

if TYPE_CHECKING:
    from cryptocast.market import Market
    from cryptocast.registry import Event, Registry, SourceMove, Version, VersionKey, VersionReference, VersionSummary

T = TypeVar("T")
MARKS: Final = frozenset("/@#:(")


def read_name(
    name: str | None,
    kind: str | None = None,
    number: int | None = None,
    *,
    source: str | None = None,
    vs: str | None = None,
    granularity: Granularity | None = None,
) -> "VersionReference":
    """What a name means with the arguments and options beside it; without a name of any coin, which is "".

    Raises UsageError if they contradict each other.
    """
    from cryptocast.registry import VersionReference
    from cryptocast.registry.manifest import WORD_PATTERN
    from cryptocast.registry.references import parse_reference

    reference = parse_reference(name) if name is not None else VersionReference("")
    if kind is not None and not re.fullmatch(WORD_PATTERN, kind):
        raise UsageError(f"{kind[:120]!a} is not a kind of model, such as lightgbm.")
    return replace(
        reference,
        kind=_one(name, "kind", reference.kind, kind),
        number=_one(name, "version", reference.number, number),
        source=_one(name, "source", reference.source, None if source == "auto" else source),
        vs=_one(name, "currency", reference.vs, vs),
        granularity=_one(name, "granularity", reference.granularity, granularity),
    )


def with_ids(session: Session, texts: Sequence[str], vs: str | None) -> tuple[tuple[str, ...], str | None]:
    """Names with the id of the coin where a ticker or a pair stood, told on stderr, and the currency of the pairs.

    BTC/EUR and None are bitcoin and eur. UsageError for a pair in another currency, or for a ticker of several coins.
    """
    from cryptocast.workflows.market_data.coin_lookup import find_coin, name_coins

    coins = name_coins(texts, vs, partial(find_coin, session.config))
    for notice in coins.notices:
        session.say(notice)
    return coins.names, coins.vs


def is_plain(coin: str) -> bool:
    """Whether a text can be nothing but the name of a coin, well-formed or not."""
    return MARKS.isdisjoint(coin)


def names_version(text: str) -> bool:
    """Whether a text says more than a coin and its bars. UsageError if it cannot be meant."""
    reference = None if is_plain(text) else read_name(text)
    return reference is not None and (reference.kind, reference.alias, reference.number) != (None, None, None)


def _one(name: str | None, what: str, inside: T | None, beside: T | None) -> T | None:
    if inside is not None and beside is not None and inside != beside:
        raise UsageError(f"{name!a} and the {what} {beside} beside it contradict each other. Leave one out.")
    return beside if inside is None else inside


def find_listed(session: Session, reference: "VersionReference") -> "tuple[VersionSummary, ...]":
    """The versions that are meant. RegistryError if something was named and nothing is called that."""
    reference, registry = _resolved(session, reference), session.registry()
    versions = tuple(
        version
        for version in registry.listing(**reference.columns, alias=reference.alias)
        if reference.number in (None, version.number)
    )
    if not versions and reference != read_name(None):
        raise _no_such(registry, reference)
    return versions


def find_events(
    session: Session, reference: "VersionReference", until: datetime | None
) -> "tuple[tuple[Event, ...], tuple[SourceMove, ...]]":
    """What happened to what is meant, and the moves of its coin from source to source, unless a version is meant.

    RegistryError if something was named and nothing was ever called that.
    """
    reference, registry = _resolved(session, reference), session.registry()
    events = tuple(
        event
        for event in registry.history(**reference.columns, alias=reference.alias)
        if reference.number in (None, event.number, event.previous)
    )
    names_version = reference.kind or reference.alias or reference.number is not None
    moves = () if names_version else registry.source_moves(reference.coin or None)
    if not events and not moves and reference != read_name(None):  # a version without an event there cannot be
        raise _no_such(registry, reference)
    return (
        tuple(event for event in events if until is None or event.at <= until),
        tuple(move for move in moves if until is None or move.at <= until),
    )


def find_version(session: Session, reference: "VersionReference") -> "Version":
    """The version that a person means. Without a source: the only one that the coin has versions on.

    Raises UsageError if there are several, RegistryError if there is no such version.
    """
    try:
        return session.registry().get(reference, one_market(session, reference))
    except RegistryError:
        version = _shipped(session, reference)
        if version is None:
            raise
        return version


def _shipped(session: Session, reference: "VersionReference") -> "Version | None":
    """The shipped model as the version of a coin, where that is meant and the registry has none of it."""
    if reference.alias != SHIPPED or reference.kind not in (None, "lightgbm"):
        return None
    from cryptocast.market import Market
    from cryptocast.registry import VersionKey
    from cryptocast.workflows.pretrained import shipped_version

    context = session.context()
    market = Market(reference.source or context.config.data.source, *_bars(session, reference))
    return shipped_version(context.config, VersionKey(reference.coin, market, "lightgbm"), context.wall_clock())


def find_key(session: Session, reference: "VersionReference") -> "tuple[Registry, VersionKey, int | None]":
    """The one key that is meant, and the number where a version of it was named; production goes without one."""
    from cryptocast.workflows.lifecycle.rollback import one_key

    registry = session.registry()
    if reference.number is not None or reference.alias not in (None, "production"):
        version = find_version(session, reference)
        return registry, version.key, version.number
    vs, granularity = _bars(session, reference)
    key = one_key(registry, reference.coin, reference.kind, source=reference.source, vs=vs, granularity=granularity)
    return registry, key, None


def one_market(session: Session, reference: "VersionReference") -> "Market":
    """The market that is meant; its source is the one that was named, else the only one that the coin has versions on,
    or of several the one that it was moved to.

    Raises UsageError if there are several, RegistryError if there is no such version on any.
    """
    from cryptocast.market import Market

    vs, granularity = _bars(session, reference)
    name, registry = replace(reference, source=None, vs=None, granularity=None), session.registry()
    source, kind = reference.source, reference.kind
    keys = registry.keys(coin=name.coin, kind=kind, source=source, vs=vs, granularity=granularity)
    sources = sorted({key.source for key in keys})
    moved = registry.settled_sources(vs, granularity).moved.get(name.coin)
    if moved in sources:
        return Market(moved, vs, granularity)
    if len(sources) > 1:
        raise UsageError(f"There are versions of {name} for {' and for '.join(sources)} bars. Set --source.")
    if not sources:
        raise registry.no_such(name, source=source, vs=vs, granularity=granularity)
    return Market(sources[0], vs, granularity)


def _bars(session: Session, reference: "VersionReference") -> tuple[str, Granularity]:
    """The currency and the granularity: where they were not named, those of the settings."""
    data = session.config.data
    return reference.vs or data.vs, reference.granularity or data.granularity


def _resolved(session: Session, reference: "VersionReference") -> "VersionReference":
    """The same with `@best` as the version that it is; a version without bars is of the configured ones."""
    if reference.alias == "best":
        version = find_version(session, reference)
        return replace(reference, alias=None, number=version.number, **version.key.columns)
    if reference.alias is None and reference.number is None:
        return reference
    return replace(reference, granularity=reference.granularity or session.config.data.granularity)


def _no_such(registry: "Registry", reference: "VersionReference") -> CryptocastError:
    source, vs, granularity = reference.source, reference.vs, reference.granularity
    if reference.coin:
        name = replace(reference, source=None, vs=None, granularity=None)
        return registry.no_such(name, source=source, vs=vs, granularity=granularity)
    bars = ", ".join(part for part in (source, vs, granularity) if part)
    markets = sorted({version.key.market for version in registry.listing()})
    there = ", ".join(f"({market})" for market in markets)
    remedy = f"There are versions on {there}." if there else "Train some: cryptocast train."
    return RegistryError(f"There is no version for these bars ({bars}). {remedy}")
