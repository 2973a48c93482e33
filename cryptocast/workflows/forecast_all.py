"""Forecasts of all coins that the store has, in parts: each made anywhere, and written as it comes.

A part is some coins with a bounded number of bars, the same whatever makes it. Its file is named by all that decides
it, so that a run that was broken off goes on behind the last part that was written.
"""

import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
import polars as pl

from cryptocast.choices import TableLayout
from cryptocast.config import Config
from cryptocast.data.schema import BAR_US
from cryptocast.data.tables import join_parquet, read_noted, write_noted
from cryptocast.errors import CryptocastError, DataError, UsageError
from cryptocast.kinds import SHIPPED
from cryptocast.spread import rounding_notes
from cryptocast.times import as_microseconds
from cryptocast.workflows.context import Context, Resolved, steps
from cryptocast.workflows.engines import Engine, spread_on
from cryptocast.workflows.environment import code_version
from cryptocast.workflows.export import forecast_table
from cryptocast.workflows.forecast import Request, check_request, forecast
from cryptocast.workflows.market_data.resolve import open_store
from cryptocast.workflows.market_data.stored_series import series_of
from cryptocast.workflows.pretrained import NONE
from cryptocast.workflows.reports import CoinError
from cryptocast.workflows.store_parts import coin_files, registry_files, store_of

PART_BARS: Final = 100_000
PART: Final = re.compile(r"part-\d{5,}-[0-9a-f]{16}\.parquet")
DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class AllOrder:
    """What is asked of all coins; the coins of its selection are not looked at. out: a folder, or a file .parquet."""

    request: Request
    out: Path
    layout: TableLayout = "plain"
    engine: Engine = Engine()


class AllForecasts(msgspec.Struct, frozen=True, kw_only=True):
    """What was written. kept: of the parts, those that an earlier run had written."""

    schema: Literal["cryptocast.forecast-all/1"] = "cryptocast.forecast-all/1"
    out: str
    coins: int
    rows: int
    parts: int
    kept: int
    errors: tuple[CoinError, ...]
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class StoredBars:
    """What all parts need. now: the moment of all; files: of the registry, where workers do not see the store."""

    config: Config
    request: Request
    layout: TableLayout
    now: datetime
    files: Mapping[str, bytes] | None = None


@dataclass(frozen=True, slots=True)
class CoinJob:
    """The coins of a part, and the files of the store that are theirs, where whoever works does not see it."""

    coins: tuple[str, ...]
    files: Mapping[str, bytes] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CoinTable:
    """The rows of a part, and the coins that could not be answered for."""

    rows: pl.DataFrame
    errors: tuple[CoinError, ...]


@dataclass(frozen=True, slots=True)
class CoinGroup:
    """The coins of a part and the name of its file."""

    coins: tuple[str, ...]
    name: str


def forecast_all(context: Context, order: AllOrder) -> AllForecasts:
    """Forecast every coin that the store has of these bars, from the store alone.

    A coin that fails is named and costs nothing else. Raises UsageError for what could be answered for no coin or by no
    cluster, DataError if there is no coin, and as `spread_on` does.
    """
    began = time.perf_counter()
    bars = order.request.selection.resolved(context.config)
    check_request(order.request, bars.granularity, context.config)
    check_all_path(order.out)
    _check_own(context.config, order.engine)
    shared = _shared(context, order)
    groups = _groups(context, shared, bars)
    folder = order.out if order.out.suffix == "" else order.out.with_name(f"{order.out.name}.parts")
    missing = [group for group in groups if not (folder / group.name).is_file()]
    notes = _write_parts(context, order.engine, shared, missing, folder)
    paths = [folder / group.name for group in groups]
    for path in folder.iterdir():
        if PART.fullmatch(path.name) and path not in paths:
            path.unlink()  # of another request, or of older bars
    rows, errors = _counted(paths)
    if folder != order.out:
        join_parquet(paths, order.out)
        for path in paths:
            path.unlink()
        folder.rmdir()
    return AllForecasts(
        out=str(order.out),
        coins=sum(len(group.coins) for group in groups) - len(errors),
        rows=rows,
        parts=len(groups),
        kept=len(groups) - len(missing),
        errors=tuple(errors),
        notes=notes,
        seconds=round(time.perf_counter() - began, 3),
    )


def check_all_path(path: Path) -> None:
    """UsageError unless all forecasts could be written there."""
    if path.suffix not in ("", ".parquet"):
        raise UsageError(f"All forecasts are written as Parquet: name a folder or a file .parquet, not {path}.")


def _check_own(config: Config, engine: Engine) -> None:
    own = [file for file in (config.features.file, config.models.file) if file]
    own += [config.train.pretrained] if config.train.pretrained not in (SHIPPED, NONE) else []
    if own and engine.kind == "dask":
        raise UsageError(f"{own[0]} is a file of this machine alone, so a cluster cannot forecast by it. Use --jobs.")


def _shared(context: Context, order: AllOrder) -> StoredBars:
    config = context.config
    # Wherever a worker stands: it sees the store under the very same path.
    store = msgspec.structs.replace(config.store, path=config.store.path.resolve())
    selection = replace(order.request.selection, stored=True)
    return StoredBars(
        msgspec.structs.replace(config, store=store),
        replace(order.request, selection=selection),
        order.layout,
        context.wall_clock(),
    )


def _groups(context: Context, shared: StoredBars, bars: Resolved) -> list[CoinGroup]:
    sizes, hashes = dict[str, int](), dict[str, list[str]]()
    stored = {facts.key: facts for facts in open_store(context.config).ls()}
    for key in series_of(stored, bars):
        sizes[key.coin] = sizes.get(key.coin, 0) + stored[key].rows
        hashes.setdefault(key.coin, []).append(stored[key].content_hash)
    facts_of_all = _facts(context, shared)
    # Features of the market read other coins: what decides a part are the bars of all.
    everything = sorted((coin, *sorted(hashes[coin])) for coin in sizes)
    groups = []
    for number, coins in enumerate(_dealt(sizes)):
        decides = msgspec.json.encode((facts_of_all, everything, coins))
        digest = hashlib.sha256(decides).hexdigest()[:DIGITS]
        groups.append(CoinGroup(coins, f"part-{number:05}-{digest}.parquet"))
    return groups


def _dealt(sizes: dict[str, int]) -> Iterator[tuple[str, ...]]:
    """The coins in the order of their names, so many at a time that their bars stay below the bound, at least one."""
    coins: list[str] = []
    bars = 0
    for coin in sorted(sizes):
        if coins and bars + sizes[coin] > PART_BARS:
            yield tuple(coins)
            coins, bars = [], 0
        coins.append(coin)
        bars += sizes[coin]
    if coins:
        yield tuple(coins)


def _facts(context: Context, shared: StoredBars) -> tuple[str, ...]:
    """What decides every forecast beside its candles: request, settings, versions, code, and the bar that it is."""
    at = shared.request.selection.now or shared.request.selection.as_of or shared.now
    granularity = shared.request.selection.resolved(shared.config).granularity
    return (
        repr(replace(shared.request, challenged=frozenset())),
        repr(sorted(shared.request.challenged)),
        repr(shared.config),
        repr(context.registry(create=False).served_state()),
        code_version(),
        shared.layout,
        str(as_microseconds(at) // BAR_US[granularity]),
    )


def _write_parts(
    context: Context, engine: Engine, shared: StoredBars, groups: Sequence[CoinGroup], folder: Path
) -> tuple[str, ...]:
    """Each as it comes. Gives what must be said of who made them."""
    folder.mkdir(parents=True, exist_ok=True)
    if not groups:
        return ()
    with spread_on(engine, context.progress) as spread, steps(context.progress, "forecasts", len(groups)) as step:
        jobs: Iterator[CoinJob] = (CoinJob(group.coins) for group in groups)
        if not spread.sees(shared.config.store.path):
            shared = replace(shared, files=registry_files(context))
            bars = shared.request.selection.resolved(shared.config)
            jobs = (CoinJob(g.coins, coin_files(context, g.coins, bars.vs, bars.granularity)) for g in groups)
        for group, table in zip(groups, spread(forecast_group, shared, jobs), strict=True):
            write_noted(table.rows, folder / group.name, msgspec.json.encode(table.errors))
            step(", ".join(group.coins[:3]))
        return rounding_notes(spread.others)


def _counted(paths: Sequence[Path]) -> tuple[int, list[CoinError]]:
    """The rows of all parts, and the coins that failed. A part without a row gets the columns of the others."""
    rows, errors, columns, empty = 0, list[CoinError](), pl.DataFrame(), list[tuple[Path, bytes]]()
    for path in paths:
        noted = read_noted(path)
        if noted is None:
            raise DataError(f"{path} is gone. Run it again.")
        table, note = noted
        rows += table.height
        errors += msgspec.json.decode(note, type=tuple[CoinError, ...])
        if table.width:
            columns = table.clear()
        else:
            empty.append((path, note))
    for path, note in empty:
        write_noted(columns, path, note)
    return rows, errors


def forecast_group(shared: StoredBars, job: CoinJob) -> CoinTable:
    """The forecasts of some coins, by whoever sees the store or has been sent its part of it."""
    if job.files is None:
        return _forecast_group(shared, job.coins)
    with store_of(shared.config, {**(shared.files or {}), **job.files}) as config:
        return _forecast_group(replace(shared, config=config), job.coins)


def _forecast_group(shared: StoredBars, coins: tuple[str, ...]) -> CoinTable:
    now = shared.now
    context = Context(config=shared.config, wall_clock=lambda: now)
    request = replace(shared.request, selection=replace(shared.request.selection, coins=coins))
    try:
        document = forecast(context, request)
    except CryptocastError as error:
        if len(coins) > 1:  # whatever failed for all may have different reasons
            half = len(coins) // 2
            return _joined([_forecast_group(shared, coins[:half]), _forecast_group(shared, coins[half:])])
        return CoinTable(pl.DataFrame(), (CoinError(coin=coins[0], error=str(error)),))
    return CoinTable(_one_schema(forecast_table(document, shared.layout)), document.errors)


def _joined(parts: Sequence[CoinTable]) -> CoinTable:
    rows = [part.rows for part in parts if part.rows.width]
    return CoinTable(
        pl.concat(rows) if rows else pl.DataFrame(), tuple(error for part in parts for error in part.errors)
    )


def _one_schema(table: pl.DataFrame) -> pl.DataFrame:
    """What is empty in one part is text in another, and a version has a number or a name."""
    texts = [name for name, kind in table.schema.items() if kind == pl.Null or name == "version"]
    return table.with_columns(pl.col(texts).cast(pl.String))
