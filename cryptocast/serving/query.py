"""Query strings as types: decoded, checked, and filled in from the settings.

A parameter is a field of a struct: its type says what it may be to programs, its description to people; a tuple is a
list with commas. Nothing else has to be said of it anywhere.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from cryptocast.choices import Granularity, TouchOn
from cryptocast.config import COIN, VS_PATTERN, Config
from cryptocast.data.coin_names import CoinName
from cryptocast.data.coins import shown
from cryptocast.kinds import ASKABLE, KindOrAuto
from cryptocast.serving.problems import ProblemError, ProblemKind
from cryptocast.workflows.context import Selection
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.market_data.coin_lookup import name_coins

MAX_HORIZON: Final = 1000
MAX_HORIZONS: Final = 20
# The longest id, escaped in part, and its comma.
BYTES_PER_ID: Final = 128
BYTES_FOR_THE_REST: Final = 4096
WAIT: Final = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?([0-9]{1,4})\"?\s*(?:$|[,;])", re.ASCII | re.IGNORECASE)
MAX_PREFER: Final = 200
NUMBER: Final = re.compile(r"[0-9]{1,9}")
DECIMAL: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")

IDS: Final = "coin ids (lower-case letters, digits and hyphens) or tickers, separated by commas, e.g. bitcoin,ETH"
KINDS: Final = ", ".join(("auto", *ASKABLE))
HORIZONS: Final = f"whole bars from 1 to {MAX_HORIZON}, at most {MAX_HORIZONS}, separated by commas, e.g. 1,7"
PATHS: Final = "a whole number of paths from 100 to 10000; fewer come where coins and bars make over 200000 prices"
TOUCH: Final = "a price in the quote currency from 1e-12 to 1e15, e.g. 100000"
LEVELS: Final = "20, 40, 60, 80, 90, 95, 98, 99, one or several, separated by commas, e.g. 80,95"
LAST_PAST: Final = (
    "a number of past forecasts of each horizon, the newest, from 1 to 5000; 365 without, at most 20000 of all"
    " coins and horizons"
)
LAST_BARS: Final = "a number of bars of each coin, the newest, from 1 to 50000; 365 without, at most 50000 of all coins"
CURRENCY: Final = "a quote currency of 2 to 10 lower-case letters or digits, e.g. usd"
STATES: Final = "open (reject every call), closed (let every call pass), auto (decide by the calls)"

CoinText = Annotated[str, Meta(pattern=rf"^({COIN}|[A-Za-z0-9]{{1,20}})\Z")]
Ids = Annotated[tuple[CoinText, ...], Meta(min_length=1, description=IDS)]
Horizon = Annotated[int, Meta(ge=1, le=MAX_HORIZON)]
Horizons = Annotated[tuple[Horizon, ...], Meta(min_length=1, max_length=MAX_HORIZONS, description=HORIZONS)]
Levels = Annotated[tuple[Literal[20, 40, 60, 80, 90, 95, 98, 99], ...], Meta(min_length=1, description=LEVELS)]
Currency = Annotated[str, Meta(pattern=VS_PATTERN, description=CURRENCY)]
Price = Annotated[float, Meta(ge=1e-12, le=1e15, description=TOUCH)]
BreakerName = Annotated[
    str, Meta(min_length=1, max_length=100, description="the name of a breaker, as /health/components/breakers has it")
]

Q = TypeVar("Q", bound=msgspec.Struct)


class ForecastQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What `/forecasts` may be asked. What is left out takes the setting; lists hold each value once."""

    ids: Ids | None = None
    model: Annotated[KindOrAuto, Meta(description=KINDS)] | None = None
    horizons: Horizons | None = None
    levels: Levels | None = None
    vs: Currency | None = None
    granularity: Annotated[Granularity, Meta(description="daily, hourly")] | None = None
    touch: Price | None = None
    touch_on: Annotated[TouchOn, Meta(description="high-low, close")] | None = None


class PathsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What `/paths` may be asked: as `/forecasts`, with paths up to the longest horizon."""

    ids: Ids | None = None
    model: Annotated[KindOrAuto, Meta(description=KINDS)] | None = None
    horizons: Horizons | None = None
    vs: Currency | None = None
    granularity: Annotated[Granularity, Meta(description="daily, hourly")] | None = None
    paths: Annotated[int, Meta(ge=100, le=10_000, description=PATHS)] | None = None
    seed: Annotated[int, Meta(ge=0, le=999_999_999, description="a whole number up to 999999999")] | None = None

    @property
    def of_forecasts(self) -> ForecastQuery:
        """What the paths are drawn from."""
        return ForecastQuery(
            ids=self.ids, model=self.model, horizons=self.horizons, vs=self.vs, granularity=self.granularity
        )


@cache
def forecast_query(own: tuple[str, ...]) -> type[ForecastQuery]:
    """The same, where models of the user's own may be asked for, too."""
    if not own:
        return ForecastQuery
    names = ("auto", *ASKABLE, *own)
    choice: Any = Annotated[Literal[names], Meta(description=", ".join(names))]
    fields = [("model", choice | None, None)]
    wider = msgspec.defstruct(ForecastQuery.__name__, fields, bases=(ForecastQuery,), frozen=True, kw_only=True)
    return cast("type[ForecastQuery]", wider)


class PriceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What `/prices` may be asked."""

    ids: Ids | None = None
    vs: Currency | None = None


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the page at `/` shows."""

    coin: Annotated[str, Meta(pattern=rf"^{COIN}\Z", description="a coin of the settings, e.g. bitcoin")] | None = None
    model: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z", description="auto, or a kind of model")] | None = (
        None
    )
    horizon: Annotated[int, Meta(ge=1, le=MAX_HORIZON, description="a horizon of the settings, in bars")] | None = None


class TrackQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What `/track` may be asked: as `/forecasts`, and how many past forecasts of each horizon."""

    ids: Ids | None = None
    model: Annotated[KindOrAuto, Meta(description=KINDS)] | None = None
    horizons: Horizons | None = None
    levels: Levels | None = None
    vs: Currency | None = None
    granularity: Annotated[Granularity, Meta(description="daily, hourly")] | None = None
    last: Annotated[int, Meta(ge=1, le=5000, description=LAST_PAST)] | None = None

    @property
    def of_forecasts(self) -> ForecastQuery:
        """The forecasts whose models are meant."""
        return ForecastQuery(
            ids=self.ids,
            model=self.model,
            horizons=self.horizons,
            levels=self.levels,
            vs=self.vs,
            granularity=self.granularity,
        )


class CandleQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What `/candles` may be asked."""

    ids: Ids | None = None
    vs: Currency | None = None
    granularity: Annotated[Granularity, Meta(description="daily, hourly")] | None = None
    last: Annotated[int, Meta(ge=1, le=50_000, description=LAST_BARS)] | None = None


C = TypeVar("C", ForecastQuery, PathsQuery, PriceQuery, TrackQuery, CandleQuery)


class BreakerQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What `POST /admin/breakers` is told: which one, and what it does from now on."""

    name: BreakerName
    state: Annotated[Literal["open", "closed", "auto"], Meta(description=STATES)]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A field of a query: its type for `msgspec`, its JSON schema, and what it may be in words."""

    kind: Any
    schema: Mapping[str, Any]
    allowed: str
    is_required: bool

    @property
    def is_list(self) -> bool:
        """Whether it holds several values with commas between them."""
        return self.schema.get("type") == "array"

    def value_of(self, text: str) -> Any:
        """The text as the field's type. Raises ValueError."""
        if not self.is_list:
            return msgspec.convert(_scalar(text, self.schema.get("type")), self.kind)
        items, parts = self.schema["items"], text.split(",")
        if len(parts) > self.schema.get("maxItems", len(parts)):  # repeated ones count, as the description has it
            raise ValueError(f"{len(parts)} values are too many")
        if items.get("type") == "integer" or isinstance(items.get("enum", [""])[0], int):
            return msgspec.convert(tuple(sorted({_number(part) for part in parts})), self.kind)
        return msgspec.convert(tuple(dict.fromkeys(parts)), self.kind)


@cache
def parameters(query: type[msgspec.Struct]) -> Mapping[str, Parameter]:
    """The fields of a query by name."""
    _, components = msgspec.json.schema_components([query])
    properties = components[query.__name__]["properties"]
    fields = {}
    for field in msgspec.structs.fields(query):
        described = properties[field.name]
        schema = next(one for one in described.get("anyOf", [described]) if one.get("type") != "null")
        rest = {name: value for name, value in schema.items() if name not in ("default", "description")}
        fields[field.name] = Parameter(field.type, rest, schema.get("description", ""), field.required)
    return fields


def read_query(raw: bytes, query: type[Q], *, max_ids: int) -> Q:
    """The query string as its type. Raises ProblemError that names the parameter and what it may be."""
    most = BYTES_FOR_THE_REST + BYTES_PER_ID * max_ids
    if len(raw) > most:
        detail = f"The query string has {len(raw)} bytes, at most {most} are read."
        raise ProblemError(ProblemKind.QUERY_TOO_LONG, detail)
    fields, texts = parameters(query), dict[str, list[str]]()
    for name, text in _pairs(raw):
        if name not in fields:
            names = ", ".join(fields)
            detail = f"There is no parameter {shown(name)}. Known: {names}."
            raise ProblemError(ProblemKind.UNKNOWN_PARAMETER, detail, parameter=shown(name), allowed=names)
        texts.setdefault(name, []).append(text)
    values = {name: _value(name, fields[name], parts) for name, parts in texts.items()}
    for name, parameter in fields.items():
        if parameter.is_required and name not in values:
            raise _invalid(name, parameter, f"{name} is missing.")
    if (count := len(values.get("ids", ()))) > max_ids:
        detail = f"ids names {count} coins, at most {max_ids} are answered for at once."
        raise _invalid("ids", fields["ids"], detail)
    return query(**values)


def _value(name: str, parameter: Parameter, parts: Sequence[str]) -> Any:
    """A list may be given in one piece with commas, or as several: clients do either."""
    if len(parts) > 1 and not parameter.is_list:
        raise _invalid(name, parameter, f"{name} is given more than once.")
    text = ",".join(parts)
    try:
        return parameter.value_of(text)
    except ValueError:
        raise _invalid(name, parameter, f"{name} cannot be {shown(text)}.") from None


def by_ids(query: C, find: Callable[[str], CoinName]) -> tuple[C, dict[str, str]]:
    """The query with ids in the place of tickers and pairs, and which id each of those means.

    Raises UsageError for a pair in another currency than is asked for, and for a ticker of several coins.
    """
    coins = name_coins(query.ids or (), query.vs, find)
    return msgspec.structs.replace(query, ids=tuple(dict.fromkeys(coins.names)) or None, vs=coins.vs), coins.ids


def preferred_wait_s(prefer: str) -> float | None:
    """The seconds of `Prefer: wait=5` (RFC 7240, section 4.3); None without, and for what is no such preference."""
    wait = WAIT.search(prefer[:MAX_PREFER])
    return float(wait[1]) if wait is not None and float(wait[1]) > 0 else None


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
        raise ProblemError(ProblemKind.MALFORMED_QUERY, detail) from None


def _number(text: str) -> int:
    # int() alone would take signs, spaces, underscores and the digits of every script.
    if not NUMBER.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a whole number")
    return int(text)


def _scalar(text: str, kind: str | None) -> str | int | float:
    if kind == "integer":
        return _number(text)
    if kind != "number":
        return text
    if not DECIMAL.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a number")
    return float(text)


def _invalid(name: str, parameter: Parameter, detail: str) -> ProblemError:
    allowed = parameter.allowed
    return ProblemError(ProblemKind.INVALID_PARAMETER, f"{detail} Allowed: {allowed}.", parameter=name, allowed=allowed)
