"""`ccxt:EXCHANGE` as a source of candles: the process that has ccxt, throttled by our limiter."""

import asyncio
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from cryptocast.choices import Granularity
from cryptocast.data.schema import BAR_US, SeriesKey
from cryptocast.data.sources.base import Access
from cryptocast.data.sources.errors import RateLimited, UnknownCoin
from cryptocast.data.sources.exchanges.base import Asking, CallLimits, MarketClient, MarketSource, Opening, Row
from cryptocast.data.sources.exchanges.markets import Listing
from cryptocast.errors import ConfigError, CryptocastError, UpstreamError
from cryptocast.net import CircuitOpen, Unreachable

CCXT: Final = "ccxt-"
WORKER: Final = Path(__file__).with_name("worker.py")
TIMEFRAMES: Final[Mapping[Granularity, str]] = {"daily": "1d", "hourly": "1h"}
BARS_A_CALL: Final = 200  # every exchange gives so many
LONGEST_LINE: Final = 64 << 20  # the markets of the biggest exchange are a few MB
NOT_THERE: Final = {"NetworkError", "RequestTimeout", "ExchangeNotAvailable"}
BUSY: Final = {"RateLimitExceeded", "DDoSProtection"}


@dataclass(frozen=True, slots=True)
class WorkerReply:
    """A line of the worker."""

    answer: Any = None
    error: str | None = None
    message: str = ""


class CcxtSource(MarketSource):
    """One exchange by ccxt's name of it."""

    def __init__(self, exchange: str) -> None:
        self.exchange = exchange
        self.name = f"{CCXT}{exchange}"  # type: ignore[misc]  # one class stands for many exchanges
        self.title = f"{exchange} (ccxt)"  # type: ignore[misc]
        self.limits = CallLimits(page_bars=1000, calls=30)

    def connect(self, access: Access) -> "CcxtClient":
        """See `CcxtClient`. Raises ConfigError where ccxt is not installed."""
        return CcxtClient(self, access)


class CcxtClient(MarketClient):
    """Lines to and from a worker, one at a time; it is started with the first question and ends with its stdin."""

    def __init__(self, source: CcxtSource, access: Access, *, worker: Path = WORKER) -> None:
        super().__init__(source, access)
        settings = access.config.exchanges
        self._python = settings.ccxt_python or sys.executable
        if not settings.ccxt_python and importlib.util.find_spec("ccxt") is None:
            raise ConfigError(
                "ccxt is not installed: pip install 'cryptocast[ccxt]', or name the Python of another environment"
                " that has it: [exchanges] ccxt_python."
            )
        address = [f"{settings.base_url.rstrip('/')}/{source.exchange}"] if settings.base_url else []
        self._command = (self._python, str(worker), source.exchange, *address)
        self._deadline_s = min(settings.deadline_s, access.deadline_s or settings.deadline_s)
        self._breaker = access.breaker
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def markets(self, asking: Asking) -> Sequence[Listing]:
        """One question, and whatever calls ccxt makes for it."""
        return [Listing(*row) for row in await self._ask({"ask": "markets"}, asking)]

    async def bars(self, symbol: str, key: SeriesKey, span: Opening, asking: Asking) -> Sequence[Row]:
        """Questions of 200 bars until the span is over or nothing newer comes."""
        bar_s = BAR_US[key.granularity] // 1_000_000
        rows: list[Row] = []
        since = span.first_s
        while since <= span.last_s:
            question_start = since
            question = {"ask": "bars", "symbol": symbol, "timeframe": TIMEFRAMES[key.granularity]}
            limit = min(BARS_A_CALL, (span.last_s - since) // bar_s + 1)
            part = await self._ask({**question, "since": since * 1000, "limit": limit}, asking)
            new = [Row(int(row[0]) // 1000, *(float(number) for number in row[1:6])) for row in part]
            rows += new
            # Empty: nobody traded in these bars. Older than asked for: the exchange has no newer ones.
            since = max(row.open_s for row in new) + bar_s if new else since + limit * bar_s
            if new and since <= question_start:
                break
        return rows

    async def aclose(self) -> None:
        """End the worker."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def _ask(self, question: dict[str, Any], asking: Asking) -> Any:
        breaker = self._breaker
        if breaker is not None:
            breaker.check()
        place = await self._limiter.acquire(asking.priority)
        async with self._turn:
            try:
                permit = None if breaker is None else breaker.admit()
            except CircuitOpen:
                place.give_back()
                raise
            self.calls += 1
            reply = await self._line(question)
            if permit is not None:
                with permit:
                    permit.failed() if reply.error in NOT_THERE else permit.succeeded(0.0)
        if reply.error is not None:
            raise self._refusal(reply, question.get("symbol", ""))
        return reply.answer

    async def _line(self, question: dict[str, Any]) -> WorkerReply:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LONGEST_LINE
            )
        stdin, stdout = cast("asyncio.StreamWriter", process.stdin), cast("asyncio.StreamReader", process.stdout)
        try:
            stdin.write(msgspec.json.encode(question) + b"\n")
            line = await asyncio.wait_for(stdout.readline(), self._deadline_s)
            return msgspec.json.decode(line, type=WorkerReply)
        except TimeoutError:
            await self.aclose()
            return WorkerReply(error="RequestTimeout", message=f"no answer in {self._deadline_s:g} s")
        except (OSError, msgspec.DecodeError, ValueError) as error:
            await self.aclose()
            return WorkerReply(error="Ended", message=f"the process of ccxt ended ({error})")

    def _refusal(self, reply: WorkerReply, symbol: str) -> CryptocastError:
        title = self._source.title
        if reply.error == "BadSymbol":
            return UnknownCoin(f"{title} has no candles of {symbol}.")
        if reply.error in BUSY:
            return RateLimited(f"{title} takes no more calls for now. Try again in a few minutes.")
        if reply.error in NOT_THERE:
            return Unreachable(f"{title} could not be reached ({reply.message}). Check the network.")
        return UpstreamError(f"{title}: {reply.error}: {reply.message}")
