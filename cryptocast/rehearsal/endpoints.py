"""The endpoints that cryptocast calls: a request in, the answer that the upstream would give. No sockets, no faults."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from cryptocast.rehearsal.cache import VendorCache
from cryptocast.rehearsal.charts import CHART_LATE_MS, RANGE_LATE_MS, Desk, step_of_days, step_of_span
from cryptocast.rehearsal.clock import Clock
from cryptocast.rehearsal.coins import CURRENCIES, Coin
from cryptocast.rehearsal.messages import Endpoint, ErrorCode, HttpRequest, Refusal, Reply, json_reply, refusal
from cryptocast.rehearsal.plans import FREE_DAYS, Quota
from cryptocast.rehearsal.price_walks import DAY_MS

MAX_IDS: Final = 515
QUOTE_MS: Final = 60_000  # what is current changes once a minute
MAX_TARGET_BYTES: Final = 8190
BEYOND: Final = (
    "Your request exceeds the allowed time range. Public API users are limited to querying historical data within the"
    " past 365 days. Upgrade to a paid plan to enjoy full historical data access."
)


@dataclass(slots=True)
class Endpoints:
    """The upstream as a function from requests to answers, at the time of its clock."""

    coins: dict[str, Coin]
    desk: Desk
    clock: Clock
    quota: Quota
    cache: VendorCache = field(default_factory=VendorCache)

    def answer(self, request: HttpRequest, *, hidden: Sequence[str] = ()) -> Reply:
        """The answer, whatever its status. `hidden`: ids that are unknown for this call."""
        try:
            self.quota.admit(request)
            if request.method != "GET":
                raise refusal(405, "Method Not Allowed")
            if request.target_bytes > MAX_TARGET_BYTES:
                raise refusal(414, "HttpRequest-URI Too Large", shape="html")
            return self.cache.through(request, self.clock.now_s(), lambda: self._routed(request, set(hidden)))
        except Refusal as refused:
            return refused.reply

    def _routed(self, request: HttpRequest, hidden: set[str]) -> Reply:
        endpoint, coin_id = request.route
        of_many: dict[Endpoint, Callable[[HttpRequest, set[str]], Reply]] = {
            "ping": lambda _request, _hidden: json_reply({"gecko_says": "(V3) To the Moon!"}),
            "price": self._price,
            "list": self._list,
        }
        of_one: dict[Endpoint, Callable[[HttpRequest, Coin], Reply]] = {
            "market_chart": self._market_chart,
            "range": self._range,
        }
        if endpoint in of_many:
            return of_many[endpoint](request, hidden)
        if endpoint in of_one and coin_id is not None:
            coin = next((coin for coin in self._listed(hidden) if coin.id == coin_id), None)
            if coin is None:
                raise refusal(404, "coin not found")
            return of_one[endpoint](request, coin)
        if endpoint == "key" and self.quota.plan == "pro":
            return self._key()
        raise refusal(404, "Incorrect path. Please check https://www.coingecko.com/api/")

    def _listed(self, hidden: set[str]) -> list[Coin]:
        now_s = self.clock.now_s()
        return [coin for coin in self.coins.values() if coin.is_listed(now_s) and coin.id not in hidden]

    def _price(self, request: HttpRequest, hidden: set[str]) -> Reply:
        for name in ("vs_currencies", "ids"):
            if not request.params.get(name):
                raise refusal(422, f"Missing parameter {name}")
        if len(request.ids) > MAX_IDS:
            raise refusal(400, "too many items", shape="flat", code=ErrorCode.BEYOND_RANGE)
        now_ms, ids = self.clock.now_ms(), set(request.ids)
        coins = [coin for coin in self._listed(hidden) if coin.id in ids]
        return json_reply({coin.id: self._quote(request, coin, now_ms) for coin in coins}, cache_s=60)

    def _quote(self, request: HttpRequest, coin: Coin, now_ms: int) -> dict[str, float | None]:
        """The coin at its last update: of this minute, or of the one in which it stopped. Currencies that are unknown,
        or in which it has no price, are not in it."""
        end_ms = now_ms if coin.stopped_at is None else min(now_ms, coin.stopped_at * 1000)
        at = np.array([end_ms - end_ms % QUOTE_MS], dtype=np.int64)
        flags = {name for name, text in request.params.items() if text == "true"}
        entry: dict[str, float | None] = {}
        for vs in CURRENCIES.keys() & set(request.names("vs_currencies")):
            earlier, price = self.desk.value(coin, np.append(at - DAY_MS, at), now_ms, vs).tolist()
            if math.isnan(price):
                continue
            entry[vs] = price
            if "include_market_cap" in flags:
                entry[f"{vs}_market_cap"] = float(self.desk.cap(coin, np.array([price]), at)[0])
            if "include_24hr_vol" in flags:
                entry[f"{vs}_24h_vol"] = float(self.desk.market.volume(coin, at, vs)[0])
            if "include_24hr_change" in flags:
                entry[f"{vs}_24h_change"] = None if math.isnan(earlier) else (price / earlier - 1) * 100
            if "include_last_updated_at" in flags:
                entry["last_updated_at"] = int(at[0]) // 1000
        return entry

    def _list(self, _: HttpRequest, hidden: set[str]) -> Reply:
        coins = sorted(self._listed(hidden), key=lambda coin: coin.id)
        rows = [{"id": coin.id, "symbol": coin.symbol, "name": coin.name} for coin in coins]
        return json_reply(rows, cache_s=300)

    def _market_chart(self, request: HttpRequest, coin: Coin) -> Reply:
        vs, now_ms = _currency(request), self.clock.now_ms()
        text = request.params.get("days")
        if text is None:
            raise refusal(422, "Missing parameter days")
        if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) < 1:
            raise refusal(400, "invalid days")
        start_ms = now_ms - int(text) * DAY_MS
        self._check_age(start_ms, now_ms)
        chart = self.desk.chart(coin, vs, step_of_days(int(text)), start_ms, now_ms, now_ms, late_ms=CHART_LATE_MS)
        return json_reply(chart, cache_s=30)

    def _range(self, request: HttpRequest, coin: Coin) -> Reply:
        vs, now_ms = _currency(request), self.clock.now_ms()
        start_ms, end_ms = _moment_ms(request, "from"), _moment_ms(request, "to")
        self._check_age(start_ms, now_ms)
        days = (end_ms - start_ms) / DAY_MS
        step_ms = step_of_span(start_ms, end_ms, now_ms)
        # `from` belongs to the range.
        chart = self.desk.chart(coin, vs, step_ms, start_ms - 1, end_ms, now_ms, late_ms=RANGE_LATE_MS)
        return json_reply(chart, cache_s=30 if days <= 1 else 1800 if days <= 90 else 43_200)

    def _key(self) -> Reply:
        monthly = self.quota.limits.monthly_credits or 500_000
        return json_reply(
            {
                "plan": "Analyst",
                "rate_limit_request_per_minute": self.quota.limits.per_minute or 500,
                "monthly_call_credit": monthly,
                "current_total_monthly_calls": self.quota.credits,
                "current_remaining_monthly_calls": monthly - self.quota.credits,
            }
        )

    def _check_age(self, start_ms: int, now_ms: int) -> None:
        if self.quota.free and start_ms < now_ms - FREE_DAYS * DAY_MS:
            raise refusal(401, BEYOND, shape="nested", code=ErrorCode.BEYOND_RANGE)


def _currency(request: HttpRequest) -> str:
    vs = request.params.get("vs_currency")
    if not vs:
        raise refusal(422, "Missing parameter vs_currency")
    if vs not in CURRENCIES:
        raise refusal(400, "invalid vs_currency")
    return vs


def _moment_ms(request: HttpRequest, name: str) -> int:
    """Unix milliseconds from seconds."""
    text = request.params.get(name)
    if text is None:
        raise refusal(422, f"Missing parameter {name}")
    if not re.fullmatch(r"[0-9]{1,11}", text):
        raise refusal(400, f"invalid {name}")
    return int(text) * 1000
