"""Groups of options: a command that takes one of these dataclasses has all its options, and gets them as one value."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, TypeAlias, TypeVar, cast

import typer

from cryptocast.choices import Granularity, TableLayout
from cryptocast.cli.logs import LogLevel
from cryptocast.cli.names import is_plain, names_version, read_name, with_ids
from cryptocast.cli.session import Common, Invocation, Session
from cryptocast.cli.values import moment
from cryptocast.errors import UsageError

if TYPE_CHECKING:
    from cryptocast.registry import VersionReference
    from cryptocast.workflows.context import Selection
    from cryptocast.workflows.engines import Engine

PANEL: Final = "Which bars"
WHERE: Final = "Where the work runs"
# Of whole numbers, as the settings have them: what is larger is a slip, and would overflow somewhere.
MOST_BARS: Final = 100_000
MOST_JOBS: Final = 10_000
MOST_NUMBER: Final = 999_999_999  # of a version
MOST_TRIALS: Final = 10_000
Function = TypeVar("Function", bound=Callable[..., None])

NAMES_COINS: Final = "names coins"  # beside the option or argument: tickers and pairs in it become ids
EngineName: TypeAlias = Literal["local", "dask"]
Coins: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="COINS", help="CoinGecko ids or tickers: bitcoin, BTC. Default: the configured coins."),
    NAMES_COINS,
]
AllCoins: TypeAlias = Annotated[
    bool, typer.Option("--all", metavar="", help="All coins that the store has such bars of.")
]
Horizons: TypeAlias = Annotated[
    str | None,
    typer.Option("--horizons", metavar="N,N", help="Bars ahead. Default: 1,7,14,30; hourly 1,6,24,168."),
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", metavar="", help="Change nothing; show what would change.")
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", metavar="", help="Also show the numbers behind the answers.")
]
Layout: TypeAlias = Annotated[
    TableLayout,
    typer.Option(
        "--layout",
        metavar="LAYOUT",
        help="Columns of the table: plain, or nixtla (unique_id, ds, y, MODEL, MODEL-lo-80, MODEL-hi-80).",
    ),
]
Vs: TypeAlias = Annotated[
    str | None, typer.Option("--vs", metavar="CURRENCY", help="Quote currency. Default: usd.", rich_help_panel=PANEL)
]


def source_name(text: str) -> str:
    """The name of a source as keys have it: ccxt:kraken is ccxt-kraken there. UsageError if there is none."""
    from cryptocast.config import CCXT_EXCHANGE, SOURCE_CHOICES  # reads all settings, which --help does not need

    if text not in SOURCE_CHOICES and not re.fullmatch(f"ccxt[:-]{CCXT_EXCHANGE}", text):
        raise UsageError(f"There is no source {text!a}. Choose one of {', '.join(SOURCE_CHOICES)} or ccxt:NAME.")
    return text.replace(":", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Which bars a command is about."""

    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="SOURCE",
            parser=source_name,
            help="auto: where the coin came from so far; or coingecko, an exchange such as bitstamp, ccxt:NAME, file,"
            " sample. Default: auto.",
            rich_help_panel=PANEL,
        ),
    ] = None
    vs: Vs = None
    granularity: Annotated[
        Granularity | None,
        typer.Option("--granularity", metavar="BARS", help="daily or hourly. Default: daily.", rich_help_panel=PANEL),
    ] = None
    now: Annotated[
        str | None,
        typer.Option(
            "--now",
            metavar="TIME",
            help="Run as if it were this time, UTC: 2020-01-31 or 2020-01-31T12:00.",
            rich_help_panel=PANEL,
        ),
    ] = None

    def selection(self, coins: list[str] | None) -> "Selection":
        """These bars of these coins, which may be named with their bars: bitcoin#hourly.

        UsageError for the name of a version, or of other bars than the options or the other coins have.
        """
        from cryptocast.workflows.context import Selection

        bars, names = self, list[str]()
        for coin in coins or ():
            if is_plain(coin):
                names.append(coin)  # as it is: who looks for it says what is wrong with it
                continue
            reference = read_name(coin, source=bars.source, vs=bars.vs, granularity=bars.granularity)
            if names_version(coin):
                raise UsageError(f"{coin!a} names a version, but a coin is expected here: {reference.coin}.")
            bars = bars.within(reference)
            names.append(reference.coin)
        return Selection(tuple(names), bars.source, bars.vs, bars.granularity, moment("--now", self.now))

    def within(self, reference: "VersionReference") -> Self:
        """These bars, and what a name says of them. UsageError if there is no source of that name."""
        source = reference.source
        choice = source_name(source) if source else self.source
        return replace(self, source=choice, vs=reference.vs, granularity=reference.granularity)

    def of_version(self, coins: list[str] | None, version: str | None) -> "tuple[Selection, str | None]":
        """These bars of these coins, and the version that is named, be it among the coins or by itself: then its coin
        and bars are meant where no others are named."""
        versions = [coin for coin in coins or () if names_version(coin)]
        if version is None and len(versions) == len(coins or ()) == 1:
            coins, version = None, versions[0]
        if version is None:
            return self.selection(coins), None
        reference = read_name(version, source=self.source, vs=self.vs, granularity=self.granularity)
        return self.within(reference).selection(coins or [reference.coin]), version


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionBars:
    """Of which bars the versions are that a command is about."""

    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="SOURCE",
            parser=source_name,
            help="Only versions for its bars.",
            rich_help_panel=PANEL,
        ),
    ] = None
    vs: Vs = None
    granularity: Annotated[
        Granularity | None,
        typer.Option(
            "--granularity", metavar="BARS", help="Only versions for daily or hourly bars.", rich_help_panel=PANEL
        ),
    ] = None

    def read(self, name: str | None, kind: str | None = None, number: int | None = None) -> "VersionReference":
        """What a name means with the kind and number beside it, on these bars. UsageError if they contradict."""
        return read_name(name, kind, number, source=self.source, vs=self.vs, granularity=self.granularity)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesBars(VersionBars):
    """Which series of the store a command is about, where a coin has several."""

    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="SOURCE",
            parser=source_name,
            help="Only the series of this source.",
            rich_help_panel=PANEL,
        ),
    ] = None
    vs: Annotated[
        str | None,
        typer.Option("--vs", metavar="CURRENCY", help="Only the series in this currency.", rich_help_panel=PANEL),
    ] = None
    granularity: Annotated[
        Granularity | None,
        typer.Option(
            "--granularity", metavar="BARS", help="Only the daily or the hourly series.", rich_help_panel=PANEL
        ),
    ] = None

    def selection(self, coin: str | None) -> "Selection":
        """The series that is meant; what is not named may be any. UsageError for the name of a version."""
        from cryptocast.workflows.context import Selection

        reference = self.read(coin)
        if (reference.kind, reference.alias, reference.number) != (None, None, None):
            raise UsageError(f"{coin!a} names a version, but a coin is expected here: {reference.coin}.")
        coins = (reference.coin,) if reference.coin else ()
        return Selection(coins, cast("Any", reference.source), reference.vs, reference.granularity)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBars(Bars):
    """Which bars a command is about, as the store knew them at some moment."""

    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="TIME",
            help="Use only what the store held at this time, UTC: no later bar or correction. Fetches nothing.",
            rich_help_panel=PANEL,
        ),
    ] = None

    def selection(self, coins: list[str] | None) -> "Selection":
        """These bars of these coins, as they were known."""
        return replace(Bars.selection(self, coins), as_of=moment("--as-of", self.as_of))

    def chosen(self, session: Session, coins: list[str] | None, *, every: bool) -> "Selection":
        """The same; every: of all coins that the store has. UsageError if others are named beside it."""
        from cryptocast.workflows.market_data.stored_series import every_coin

        selection = self.selection(coins)
        if not every:
            return selection
        if coins:
            raise UsageError("--all means every coin of the store: name none, or leave it out.")
        return replace(selection, coins=every_coin(session.context(), selection))


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """Where the work runs."""

    engine: Annotated[
        EngineName,
        typer.Option("--engine", metavar="ENGINE", help="local or dask.", rich_help_panel=WHERE),
    ] = "local"
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            max=MOST_JOBS,
            metavar="N",
            help="Local processes, or tasks on the cluster. Default: 1, or its threads.",
            rich_help_panel=WHERE,
        ),
    ] = None
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="TCP",
            help="Dask scheduler, such as tcp://10.0.0.5:8786.",
            rich_help_panel=WHERE,
        ),
    ] = None

    def chosen(self) -> "Engine":
        """The engine. Raises UsageError if the options contradict each other."""
        from cryptocast.workflows.engines import Engine

        return Engine(self.engine, self.jobs or (0 if self.engine == "dask" else 1), self.address)


def command(
    app: typer.Typer, name: str, *, default_level: LogLevel = "warning", **facts: Any
) -> Callable[[Function], Function]:
    """Add a command. A parameter of the function whose type is a group becomes the options of the group.

    Its `session` is made of the common options, those after the command before those in front of it. facts: Typer's own
    (epilog, rich_help_panel). Returns the function as it was.
    """

    def add(function: Function) -> Function:
        own = _Parameters(function)

        def call(ctx: typer.Context, **values: Any) -> None:
            invocation = _read_invocation(ctx, values)
            invocation.whole = True
            with Session(invocation, default_level=default_level) as session:
                own.read_names(session, values)
                own.regroup(values)
                function(session=session, **values)

        app.command(name, **facts)(own.expose(call, function))
        return function

    return add


def group(app: typer.Typer, **facts: Any) -> Callable[[Function], Function]:
    """Make a function the callback of a group: the common options count there too, and alone it shows its help."""

    def add(function: Function) -> Function:
        own = _Parameters(function)

        def call(ctx: typer.Context, **values: Any) -> None:
            _read_invocation(ctx, values)
            function(**values)
            if ctx.invoked_subcommand is None:
                typer.echo(ctx.get_help(), nl=False)

        app.callback(invoke_without_command=True, **facts)(own.expose(call, function))
        return function

    return add


def examples(*lines: str) -> str:
    """The end of a command's help: lines to copy."""
    return "\n".join(("[bold]Examples[/bold]", *(f"[cyan]{line}[/cyan]" for line in lines)))


def _read_invocation(ctx: typer.Context, values: dict[str, Any]) -> Invocation:
    """The invocation with the common options so far; those of this level are taken out of the values."""
    invocation = ctx.ensure_object(Invocation)
    invocation.common = _pop(values, Common).over(invocation.common)
    return invocation


class _Parameters:
    """The parameters of a function, those that are groups replaced by the fields of the group."""

    def __init__(self, function: Callable[..., None]) -> None:
        signature = inspect.signature(function, eval_str=True)
        own = [parameter for name, parameter in signature.parameters.items() if name != "session"]
        self._groups: dict[str, type[Any]] = {
            p.name: cast("type[Any]", p.annotation) for p in own if is_dataclass(p.annotation)
        }
        self._plain = [p.replace(kind=p.KEYWORD_ONLY) for p in own if p.name not in self._groups]
        self._names = [p.name for p in own if NAMES_COINS in getattr(p.annotation, "__metadata__", ())]

    def read_names(self, session: Session, values: dict[str, Any]) -> None:
        """Put the ids of coins in the place of their tickers and pairs; BTC/EUR is bitcoin with --vs eur."""
        for name in self._names:
            value = values[name]
            if value:
                texts, vs = with_ids(session, [value] if isinstance(value, str) else value, values["vs"])
                values.update({name: texts[0] if isinstance(value, str) else list(texts), "vs": vs})

    def regroup(self, values: dict[str, Any]) -> None:
        """Put the fields of each group back together, in place."""
        for name, kind in self._groups.items():
            values[name] = _pop(values, kind)

    def expose(self, call: Callable[..., None], source: Callable[..., None]) -> Callable[..., None]:
        """`call` as Typer shall see it: with these parameters, the common options, and the other function's name."""
        fields_of = [parameter for kind in (*self._groups.values(), Common) for parameter in _fields(kind)]
        context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        call.__signature__ = inspect.Signature([context, *self._plain, *fields_of])  # type: ignore[attr-defined]
        call.__name__, call.__doc__ = source.__name__, source.__doc__
        return call


def _fields(kind: type[Any]) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type)
        for f in fields(kind)
    ]


def _pop(values: dict[str, Any], kind: type[Any]) -> Any:
    return kind(**{f.name: values.pop(f.name) for f in fields(kind)})
