"""The endpoints: a request in, the answer that the upstream would give out. No sockets, no faults."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import numpy as np

from cryptocast.rehearsal.cache import VendorCache
from cryptocast.rehearsal.charts import CHART_LATE_MS, RANGE_LATE_MS, Desk, step_of_days, step_of_span
from cryptocast.rehearsal.clock import Clock
from cryptocast.rehearsal.coins import CURRENCIES, Coin
from cryptocast.rehearsal.market import DAY_MS, FIRST_MS, FIVE_MS, HOUR_MS
from cryptocast.rehearsal.messages import Code, Endpoint, Refusal, Reply, Request, json_reply, refusal
from cryptocast.rehearsal.plans import FREE_DAYS, Gate
from cryptocast.rehearsal.quotes import coin_document, market_row, price_entry, quote, quote_at

__all__ = ["Upstream"]

Document: TypeAlias = dict[str, Any]

MAX_IDS: Final = 515
MAX_TARGET_BYTES: Final = 8190
OHLC_BARS_MS: Final[Mapping[int, int]] = {
    1: HOUR_MS // 2,
    7: 4 * HOUR_MS,
    14: 4 * HOUR_MS,
    30: 4 * HOUR_MS,
    90: 4 * DAY_MS,
    180: 4 * DAY_MS,
    365: 4 * DAY_MS,
}
STEPS_MS: Final[Mapping[str, int]] = {"5m": FIVE_MS, "hourly": HOUR_MS, "daily": DAY_MS}
LONGEST_DAYS: Final[Mapping[str, int]] = {"5m": 10, "hourly": 100}
SORTED_BY: Final[Mapping[str, tuple[Callable[[Coin], Any], bool]]] = {
    "market_cap_asc": (lambda coin: coin.price * coin.supply * coin.priced * coin.capped, False),
    "volume_desc": (lambda coin: coin.price * coin.supply * coin.priced, True),
    "volume_asc": (lambda coin: coin.price * coin.supply * coin.priced, False),
    "id_asc": (lambda coin: coin.id, False),
    "id_desc": (lambda coin: coin.id, True),
}
BEYOND: Final = (
    "Your request exceeds the allowed time range. Public API users are limited to querying historical data within the"
    " past 365 days. Upgrade to a paid plan to enjoy full historical data access."
)
NOT_IN_PLAN: Final = "This request is limited to PRO API subscribers. Please upgrade your plan."


@dataclass(slots=True)
class Upstream:
    """The upstream as a function from requests to answers, at the time of its clock."""

    coins: dict[str, Coin]  # in order of market cap
    desk: Desk
    clock: Clock
    gate: Gate
    cache: VendorCache = field(default_factory=VendorCache)

    def answer(self, request: Request, *, hidden: Sequence[str] = ()) -> Reply:
        """The answer, whatever its status. `hidden`: ids that are unknown for this call."""
        try:
            self.gate.admit(request)
            if request.method != "GET":
                raise refusal(405, "Method Not Allowed")
            if request.target_bytes > MAX_TARGET_BYTES:
                raise refusal(414, "Request-URI Too Large", shape="html")
            return self.cache.through(request, self.clock.now_s(), lambda: self._routed(request, set(hidden)))
        except Refusal as said:
            return said.reply

    def _routed(self, request: Request, hidden: set[str]) -> Reply:
        endpoint, coin_id = request.route
        of_many: dict[Endpoint, Callable[[Request, set[str]], Reply]] = {
            "ping": lambda _request, _hidden: json_reply({"gecko_says": "(V3) To the Moon!"}),
            "price": self._price,
            "markets": self._markets,
            "list": self._list,
            "currencies": lambda _request, _hidden: json_reply(list(CURRENCIES), cache_s=300),
        }
        of_one: dict[Endpoint, Callable[[Request, Coin], Reply]] = {
            "coin": self._coin,
            "history": self._history,
            "market_chart": self._market_chart,
            "range": self._range,
            "ohlc": self._ohlc,
        }
        if endpoint in of_many:
            return of_many[endpoint](request, hidden)
        if endpoint in of_one and coin_id is not None:
            coin = self.coins.get(coin_id)
            if coin is None or coin_id in hidden or not coin.known(self.clock.now_s()):
                raise refusal(404, "coin not found")
            return of_one[endpoint](request, coin)
        if endpoint == "key" and self.gate.plan == "pro":
            return self._key()
        raise refusal(404, "Incorrect path. Please check https://www.coingecko.com/api/")

    # --- many coins

    def _price(self, request: Request, hidden: set[str]) -> Reply:
        if not request.params.get("vs_currencies"):
            raise refusal(422, "Missing parameter vs_currencies")
        chosen = self._chosen(request, hidden)
        if chosen is None:
            raise refusal(422, "Missing parameter ids")
        currencies = [vs for vs in request.names("vs_currencies") if vs in CURRENCIES]
        now_ms = self.clock.now_ms()
        answer = {}
        for coin in chosen:
            quotes = {vs: found for vs in currencies if (found := quote(self.desk, coin, vs, now_ms)) is not None}
            answer[coin.id] = price_entry(request, quotes)
        return json_reply(answer, cache_s=60)

    def _markets(self, request: Request, hidden: set[str]) -> Reply:
        vs = _currency(request)
        chosen = self._chosen(request, hidden)
        rank = {coin: i + 1 for i, coin in enumerate(self.coins)}
        found = sorted(self._known(hidden) if chosen is None else chosen, key=lambda coin: rank[coin.id])
        order = request.params.get("order", "")
        if order in SORTED_BY:
            key, reverse = SORTED_BY[order]
            found.sort(key=key, reverse=reverse)
        per_page = min(max(_whole(request, "per_page", 100), 1), 250)
        begin = (max(_whole(request, "page", 1), 1) - 1) * per_page
        now_ms = self.clock.now_ms()
        page = found[begin : begin + per_page]
        rows = [market_row(request, self.desk, coin, vs, rank[coin.id], now_ms) for coin in page]
        return json_reply(rows, cache_s=60)

    def _list(self, request: Request, hidden: set[str]) -> Reply:
        inactive = request.params.get("status") == "inactive"
        if inactive and self.gate.free:
            raise refusal(401, NOT_IN_PLAN, shape="nested", code=Code.NOT_IN_PLAN)
        now_s = self.clock.now_s()
        coins = [coin for coin in self.coins.values() if not coin.known(now_s)] if inactive else self._known(hidden)
        rows: list[Document] = [
            {"id": coin.id, "symbol": coin.symbol, "name": coin.name} for coin in sorted(coins, key=lambda c: c.id)
        ]
        if request.flag("include_platform"):
            for i, row in enumerate(rows):
                row["platforms"] = ({}, {"ethereum": f"0x{i:040x}"}, {"": ""}, {"ethereum": None})[i % 4]
        return json_reply(rows, cache_s=300)

    def _known(self, hidden: set[str]) -> list[Coin]:
        now_s = self.clock.now_s()
        return [coin for coin in self.coins.values() if coin.known(now_s) and coin.id not in hidden]

    def _chosen(self, request: Request, hidden: set[str]) -> list[Coin] | None:
        """The known ones of those asked for: ids win over names, names over symbols. None: nothing was asked for."""
        for parameter, name in (("ids", "id"), ("names", "name"), ("symbols", "symbol")):
            asked = request.names(parameter)
            if len(asked) > MAX_IDS:
                raise refusal(400, "too many items", shape="flat", code=Code.BEYOND_RANGE)
            if asked:
                wanted = {text.lower() for text in asked}
                return [coin for coin in self._known(hidden) if str(getattr(coin, name)).lower() in wanted]
        return None

    # --- one coin

    def _coin(self, request: Request, coin: Coin) -> Reply:
        rank = list(self.coins).index(coin.id) + 1
        return json_reply(coin_document(request, self.desk, coin, rank, self.clock.now_ms()), cache_s=60)

    def _history(self, request: Request, coin: Coin) -> Reply:
        form = "%d-%m-%Y" if self.gate.free else "%Y-%m-%d"
        try:
            day = datetime.strptime(request.params.get("date", ""), form).replace(tzinfo=UTC)
        except ValueError:
            raise refusal(400, "invalid date") from None
        at_ms, now_ms = int(day.timestamp()) * 1000, self.clock.now_ms()
        self._check_age(at_ms, now_ms)
        document: Document = {"id": coin.id, "symbol": coin.symbol, "name": coin.name}
        if request.flag("localization", default=True):
            document["localization"] = {"en": coin.name, "de": coin.name}
        found = quote_at(self.desk, coin, "usd", at_ms, now_ms) if FIRST_MS + DAY_MS < at_ms <= now_ms else None
        if found is not None:
            rates = {vs: float(self.desk.market.rate(vs, np.array([at_ms]))[0]) for vs in ("usd", "eur", "btc")}
            values = {"current_price": found.price, "market_cap": found.cap, "total_volume": found.volume}
            document["market_data"] = {
                name: {vs: value / rate for vs, rate in rates.items()} for name, value in values.items()
            }
        return json_reply(document)

    def _market_chart(self, request: Request, coin: Coin) -> Reply:
        vs, now_ms = _currency(request), self.clock.now_ms()
        text = request.params.get("days")
        if text is None:
            raise refusal(422, "Missing parameter days")
        if text == "max":
            self._check_age(FIRST_MS, now_ms)
            days = (now_ms - FIRST_MS) // DAY_MS - 1
        else:
            days = _whole(request, "days", 0)
        if days < 1:
            raise refusal(400, "invalid days")
        start_ms = now_ms - days * DAY_MS
        self._check_age(start_ms, now_ms)
        step_ms = self._interval(request, days) or step_of_days(days)
        chart = self.desk.chart(coin, vs, step_ms, start_ms, now_ms, now_ms, late_ms=CHART_LATE_MS)
        return json_reply(chart, cache_s=30)

    def _range(self, request: Request, coin: Coin) -> Reply:
        vs, now_ms = _currency(request), self.clock.now_ms()
        start_ms, end_ms = _moment(request, "from"), _moment(request, "to")
        self._check_age(start_ms, now_ms)
        days = (end_ms - start_ms) / DAY_MS
        step_ms = self._interval(request, days) or step_of_span(start_ms, end_ms, now_ms)
        # `from` belongs to the range.
        chart = self.desk.chart(coin, vs, step_ms, start_ms - 1, end_ms, now_ms, late_ms=RANGE_LATE_MS)
        return json_reply(chart, cache_s=30 if days <= 1 else 1800 if days <= 90 else 43_200)

    def _ohlc(self, request: Request, coin: Coin) -> Reply:
        vs, now_ms = _currency(request), self.clock.now_ms()
        text, interval = request.params.get("days", ""), request.params.get("interval")
        if text == "max" or interval:
            if self.gate.free:
                code = Code.BEYOND_RANGE if text == "max" else Code.NOT_IN_PLAN
                raise refusal(401, BEYOND if text == "max" else NOT_IN_PLAN, shape="nested", code=code)
            if interval not in (None, "daily", "hourly"):
                raise refusal(400, "invalid interval")
        days = 1500 if text == "max" else _whole(request, "days", 0)
        bar_ms = OHLC_BARS_MS.get(365 if text == "max" else days)
        if bar_ms is None:
            raise refusal(400, "invalid days")
        bar_ms = STEPS_MS[interval] if interval else bar_ms
        start_ms = max(now_ms - days * DAY_MS, FIRST_MS + DAY_MS)
        rows = self.desk.candles(coin, vs, bar_ms, start_ms, now_ms)
        return json_reply(rows, cache_s=900)

    def _key(self) -> Reply:
        per_minute = self.gate.limits.per_minute or 500
        monthly = self.gate.limits.monthly_credits or 500_000
        return json_reply(
            {
                "plan": "Analyst",
                "rate_limit_request_per_minute": per_minute,
                "monthly_call_credit": monthly,
                "current_total_monthly_calls": self.gate.used,
                "current_remaining_monthly_calls": monthly - self.gate.used,
                "api_key_rate_limit_request_per_minute": per_minute,
                "api_key_monthly_call_credit": monthly,
                "api_key_current_total_monthly_calls": self.gate.used,
                "api_key_current_remaining_monthly_calls": monthly - self.gate.used,
            }
        )

    def _check_age(self, start_ms: int, now_ms: int) -> None:
        if self.gate.free and start_ms < now_ms - FREE_DAYS * DAY_MS:
            raise refusal(401, BEYOND, shape="nested", code=Code.BEYOND_RANGE)

    def _interval(self, request: Request, days: float) -> int | None:
        """The step in ms that is asked for; None: automatic."""
        interval = request.params.get("interval")
        if not interval:
            return None
        if interval not in STEPS_MS:
            raise refusal(400, "invalid interval")
        paid = interval == "5m" or (interval == "hourly" and not self.gate.limits.hourly_interval)
        if self.gate.free and paid:
            raise refusal(401, NOT_IN_PLAN, shape="nested", code=Code.NOT_IN_PLAN)
        longest = LONGEST_DAYS.get(interval)
        if longest is not None and days > longest:
            raise refusal(400, f"interval {interval} is limited to {longest} days")
        return STEPS_MS[interval]


def _currency(request: Request) -> str:
    vs = request.params.get("vs_currency")
    if not vs:
        raise refusal(422, "Missing parameter vs_currency")
    if vs not in CURRENCIES:
        raise refusal(400, "invalid vs_currency")
    return vs


def _whole(request: Request, name: str, default: int) -> int:
    text = request.params.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise refusal(400, f"invalid {name}")
    return int(text)


def _moment(request: Request, name: str) -> int:
    """Unix milliseconds from seconds or ISO text."""
    text = request.params.get(name)
    if text is None:
        raise refusal(422, f"Missing parameter {name}")
    if re.fullmatch(r"[0-9]{1,11}", text):
        return int(text) * 1000
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise refusal(400, f"invalid {name}") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
