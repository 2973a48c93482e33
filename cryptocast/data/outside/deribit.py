"""Deribit's index of implied volatility (DVOL) of BTC and ETH: keyless, in the store, brought up to date in pages.

Source: https://docs.deribit.com/api-reference/market-data/public-get_volatility_index_data. An answer ends with a
`continuation` where there is more: the end of the next page, which is older. The index was first published on
2021-03-31; what Deribit has of earlier days was computed later, and nobody could know it then.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec
import polars as pl
from msgspec import Meta

from cryptocast.config import SeriesConfig
from cryptocast.data.outside.series import VALUES, OutsideSeries, outside_series
from cryptocast.data.sources.base import Access
from cryptocast.data.sources.errors import RateLimited
from cryptocast.data.sources.upstream import decoded
from cryptocast.data.tables import read_noted, write_noted
from cryptocast.errors import DataError, UpstreamError
from cryptocast.net import ApiClient, Limiter, NetSettings
from cryptocast.net.loop import LoopThread
from cryptocast.times import as_microseconds

ADDRESS: Final = "https://www.deribit.com/api/v2"
PATH: Final = "/public/get_volatility_index_data"
PUBLISHED: Final = datetime(2021, 3, 31, tzinfo=UTC)
RESOLUTIONS: Final = {"1d": "1D", "1h": "3600"}
CALLS, WINDOW_S = 10, 1.0  # 20 a second are allowed without a key
PAGE: Final = 1000  # bars asked for at a time
TOO_MANY: Final = 10028
NOTE: Final = b"DVOL 1"


OpeningMs: TypeAlias = Annotated[int, Meta(ge=0, le=4_102_444_800_000)]  # until 2100


class RpcError(msgspec.Struct, frozen=True):
    """What a refusal says."""

    code: int


class IndexPage(msgspec.Struct, frozen=True):
    """Bars: opening in milliseconds, open, high, low, close. continuation: the end of the page before this one."""

    data: list[tuple[OpeningMs, float, float, float, float]]
    continuation: int | None = None


class IndexAnswer(msgspec.Struct, frozen=True):
    """One of the two."""

    result: IndexPage | None = None
    error: RpcError | None = None


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """One index at one resolution, in a file of the store: the close of each bar by its opening."""

    name: str
    settings: SeriesConfig
    folder: Path

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / "series" / f"deribit-{self.settings.index}-{self.settings.resolution}.parquet"

    @property
    def step(self) -> timedelta:
        """A bar."""
        return self.settings.delay or timedelta(days=1)

    def rows(self) -> pl.DataFrame:
        """VALUES; empty where nothing was fetched yet. DataError if the file is damaged."""
        stored = read_noted(self.path)
        if stored is None:
            return pl.DataFrame(schema=VALUES)
        if stored[0].schema != VALUES or stored[1] != NOTE:
            raise DataError(f"{self.path} was not written by this cryptocast. Delete it: it is fetched again.")
        return stored[0]

    def series(self) -> OutsideSeries:
        """As it is stored. A bar is known when it is over."""
        rows = self.rows()
        return outside_series(self.name, rows, rows["time"] + self.step)

    def missing_since(self, now: datetime) -> datetime | None:
        """From when on closed bars are missing; None if none can be."""
        last = self.rows()["time"].max()
        since = last + self.step if isinstance(last, datetime) else PUBLISHED
        return since if since + self.step <= now else None

    def fetch(self, access: Access, now: datetime) -> None:
        """Bring the bars that closed by `now`; each thousand is stored as it comes. Raises UpstreamError, DataError."""
        since = self.missing_since(now)
        if since is None:
            return
        loop = LoopThread()
        try:
            loop.run(self._fetch(access, since, now))
        finally:
            loop.close()

    async def _fetch(self, access: Access, since: datetime, now: datetime) -> None:
        client = index_client(access)
        try:
            while since + self.step <= now:
                until = min(since + PAGE * self.step, now)
                # All of them at once: newer bars without the older ones would look as if nothing were missing.
                pages = [page async for page in _pages(client, self.settings, since, until)]
                self._add(pl.concat(pages).filter(pl.col("time") + self.step <= now))
                since = until
        finally:
            await client.close()

    def _add(self, rows: pl.DataFrame) -> None:
        if len(rows):
            merged = pl.concat([self.rows(), rows]).unique("time", keep="last").sort("time")
            write_noted(merged, self.path, NOTE)


def index_client(access: Access) -> ApiClient:
    """The limit of calls is shared by all processes of a store."""
    settings, run = access.config.exchanges, access.config.store.path / "run"
    base = settings.base_url.rstrip("/")
    return ApiClient(
        f"{base}/deribit/api/v2" if base else ADDRESS,
        name="Deribit",
        remedy="Check the network.",
        limiter=Limiter(CALLS, window_s=WINDOW_S, state_file=run / "deribit-calls.json"),
        breaker=access.breaker,
        on_try=access.on_try,
        settings=NetSettings(
            deadline_s=min(settings.deadline_s, access.deadline_s or settings.deadline_s),
            max_retries=settings.max_retries,
        ),
    )


async def _pages(
    client: ApiClient, wanted: SeriesConfig, since: datetime, until: datetime
) -> AsyncIterator[pl.DataFrame]:
    """The bars that open from `since` to before `until`, newest first."""
    first, end = as_microseconds(since) // 1000, as_microseconds(until) // 1000 - 1
    while first <= end:
        params = {"currency": wanted.index, "resolution": RESOLUTIONS[wanted.resolution]}
        answer = await client.get(PATH, {**params, "start_timestamp": str(first), "end_timestamp": str(end)})
        page = _page(answer.body, answer.status)
        yield _rows(page).filter(pl.col("time").is_between(since, until, closed="left"))
        if page.continuation is None or page.continuation >= end:
            return
        end = page.continuation


def _page(body: bytes, status: int) -> IndexPage:
    answer = IndexAnswer()
    try:
        answer = decoded(body, IndexAnswer, "Deribit's answer")
    except UpstreamError:
        if status == 200:
            raise
    if status == 429 or (answer.error is not None and answer.error.code == TOO_MANY):
        raise RateLimited("Deribit takes no more calls for now. Try again in a few minutes.")
    if status != 200 or answer.result is None:
        code = answer.error.code if answer.error else status
        raise UpstreamError(f"Deribit answered with the error {code}. Try again later.")
    return answer.result


def _rows(page: IndexPage) -> pl.DataFrame:
    """VALUES: closes that are numbers above 0."""
    rows = pl.DataFrame(
        {"time": [row[0] * 1000 for row in page.data], "value": [row[4] for row in page.data]},
        schema={"time": pl.Int64(), "value": pl.Float64()},
    ).cast(VALUES)
    return rows.filter(pl.col("value").is_finite() & (pl.col("value") > 0)).sort("time")
