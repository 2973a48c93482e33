"""The query string of `/forecasts` as a type: decoded, checked, and filled in from the settings."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from cryptocast.config import VS_PATTERN, CoinId, Config, Granularity
from cryptocast.data.coins import shown
from cryptocast.kinds import ALL_KINDS, KindOrAuto
from cryptocast.serving.problems import (
    INVALID_PARAMETER,
    MALFORMED_QUERY,
    QUERY_TOO_LONG,
    UNKNOWN_PARAMETER,
    ProblemError,
)
from cryptocast.workflows.context import Selection
from cryptocast.workflows.forecast import Request

__all__ = [
    "ALLOWED",
    "BreakerQuery",
    "ForecastQuery",
    "PriceQuery",
    "coin_requests",
    "parse_breaker_query",
    "parse_forecast_query",
    "parse_price_query",
    "preferred_wait_s",
]

MAX_HORIZON: Final = 1000
MAX_HORIZONS: Final = 20
# The longest id, escaped in part, and its comma.
BYTES_PER_ID: Final = 128
BYTES_FOR_THE_REST: Final = 4096

Horizon = Annotated[int, Meta(ge=1, le=MAX_HORIZON)]
WAIT: Final = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,4})\"?\s*(?:$|[,;])", re.ASCII | re.IGNORECASE)
MAX_PREFER: Final = 200
NUMBER: Final = re.compile(r"[0-9]{1,9}")


class ForecastQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What `/forecasts` may be asked. What is left out takes the setting; lists hold each value once."""

    ids: Annotated[tuple[CoinId, ...], Meta(min_length=1)] | None = None
    model: KindOrAuto | None = None
    horizons: Annotated[tuple[Horizon, ...], Meta(min_length=1, max_length=MAX_HORIZONS)] | None = None
    levels: Annotated[tuple[Literal[20, 40, 60, 80, 90, 95], ...], Meta(min_length=1)] | None = None
    vs: Annotated[str, Meta(pattern=VS_PATTERN)] | None = None
    granularity: Granularity | None = None


class PriceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What `/prices` may be asked."""

    ids: Annotated[tuple[CoinId, ...], Meta(min_length=1)] | None = None
    vs: Annotated[str, Meta(pattern=VS_PATTERN)] | None = None


class BreakerQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What `POST /admin/breakers` is told: which one, and what it does from now on."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    state: Literal["open", "closed", "auto"]


Q = TypeVar("Q", ForecastQuery, PriceQuery, BreakerQuery)

ALLOWED: Final[Mapping[str, str]] = {
    "ids": "coin ids (lower-case letters, digits and hyphens), separated by commas, e.g. bitcoin,ethereum",
    "model": ", ".join(("auto", *ALL_KINDS)),
    "horizons": f"whole bars from 1 to {MAX_HORIZON}, at most {MAX_HORIZONS}, separated by commas, e.g. 1,7",
    "levels": "20, 40, 60, 80, 90, 95, one or several, separated by commas, e.g. 80,95",
    "vs": "a quote currency of 2 to 10 lower-case letters or digits, e.g. usd",
    "granularity": "daily, hourly",
    "name": "the name of a breaker, as /health/components/breakers has it",
    "state": "open (reject every call), closed (let every call pass), auto (decide by the calls)",
}
LISTS: Final = frozenset({"ids", "horizons", "levels"})
NUMBERS: Final = frozenset({"horizons", "levels"})


def parse_forecast_query(raw: bytes, *, max_ids: int) -> ForecastQuery:
    """The query string as its type. Raises ProblemError that names the parameter and what it may be."""
    return _parsed(raw, ForecastQuery, max_ids)


def parse_price_query(raw: bytes, *, max_ids: int) -> PriceQuery:
    """As `parse_forecast_query`."""
    return _parsed(raw, PriceQuery, max_ids)


def parse_breaker_query(raw: bytes) -> BreakerQuery:
    """As `parse_forecast_query`; both parameters are needed."""
    return _parsed(raw, BreakerQuery, 0)


def _parsed(raw: bytes, kind: type[Q], max_ids: int) -> Q:
    most = BYTES_FOR_THE_REST + BYTES_PER_ID * max_ids
    if len(raw) > most:
        raise ProblemError(QUERY_TOO_LONG, f"The query string has {len(raw)} bytes, at most {most} are read.")
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for name, text in _pairs(raw):
        if name not in types:
            known = ", ".join(types)
            raise ProblemError(
                UNKNOWN_PARAMETER,
                f"There is no parameter {shown(name)}. Known: {known}.",
                parameter=shown(name),
                allowed=known,
            )
        if name in values:
            raise _invalid(name, f"{name} is given more than once.")
        values[name] = _value(name, text, types[name])
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in values:
            raise _invalid(field.name, f"{field.name} is missing.")
    query = kind(**values)
    if not isinstance(query, BreakerQuery) and query.ids is not None and len(query.ids) > max_ids:
        raise _invalid("ids", f"ids names {len(query.ids)} coins, at most {max_ids} are answered for at once.")
    return query


def preferred_wait_s(prefer: str) -> float | None:
    """The seconds of `Prefer: wait=5` (RFC 7240, section 4.3); None without, and for what is no such preference."""
    found = WAIT.search(prefer[:MAX_PREFER])
    return float(found[1]) if found is not None and float(found[1]) > 0 else None


def coin_requests(
    query: ForecastQuery, config: Config, *, challenged: Mapping[str, frozenset[str]] = MappingProxyType({})
) -> list[Request]:
    """One request for each coin, with nothing left open: two queries that mean the same give equal requests.

    challenged: A/B tests in which the challenger answers, by coin.
    """
    granularity = query.granularity or config.data.granularity
    coins = query.ids or tuple(dict.fromkeys(config.data.coins))
    return [
        Request(
            selection=Selection((coin,), config.data.source, query.vs or config.data.vs, granularity),
            model=query.model or config.forecast.model,
            horizons=query.horizons or config.horizons(granularity),
            intervals=query.levels or tuple(sorted(set(config.forecast.intervals))),
            challenged=challenged.get(coin, frozenset()),
        )
        for coin in coins
    ]


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        detail = "The query string is not made of name=value pairs in percent-encoded UTF-8."
        raise ProblemError(MALFORMED_QUERY, detail) from None


def _value(name: str, text: str, kind: Any) -> Any:
    try:
        return msgspec.convert(_parts(name, text), kind)
    except ValueError:
        raise _invalid(name, f"{name} cannot be {shown(text)}.") from None


def _parts(name: str, text: str) -> Any:
    if name in NUMBERS:
        return tuple(sorted({_number(part) for part in text.split(",")}))
    return tuple(dict.fromkeys(text.split(","))) if name in LISTS else text


def _number(text: str) -> int:
    # int() alone would take signs, spaces, underscores and the digits of every script.
    if not NUMBER.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a whole number")
    return int(text)


def _invalid(name: str, what: str) -> ProblemError:
    return ProblemError(INVALID_PARAMETER, f"{what} Allowed: {ALLOWED[name]}.", parameter=name, allowed=ALLOWED[name])
