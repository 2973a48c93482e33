"""CoinGecko's errors read in all their shapes, and made into ours, with what to do about each."""

import re
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec

from cryptocast.data.coins import suggestion
from cryptocast.data.sources.coingecko.coin_list import CoinList
from cryptocast.data.sources.errors import QuotaSpent, RateLimited, UnknownCoin, UnknownCurrency
from cryptocast.errors import ConfigError, CryptocastError, UpstreamError
from cryptocast.net import Answer

Plan: TypeAlias = Literal["keyless", "demo", "pro"]

# A page that a proxy lacks is a 404 too, and says nothing about a coin.
NO_SUCH_COIN: Final = re.compile("coin not found", re.IGNORECASE)
FREE_DAYS: Final = 365  # history that keyless and demo plans may see
KEY_VARIABLE: Final = "CRYPTOCAST_COINGECKO_API_KEY"
DASHBOARD: Final = "https://www.coingecko.com/en/developers/dashboard"


class Code:
    """The upstream's own codes; they stand in the body, beside a status."""

    NO_KEY: Final = 10002
    NOT_IN_PLAN: Final = 10005
    OTHER_HOST: Final = (10010, 10011)
    TOO_MUCH: Final = 10012  # history beyond 365 days, or too many items: tell by the endpoint


class CreditsKept(QuotaSpent):
    """A server does not ask for this coin or currency now, because it is not set up for it. `bound`: of the month, of
    the minute, or of this client's minute. `retry_after_s`: when it may be asked for again."""

    def __init__(self, message: str, *, bound: Literal["month", "minute", "client"], retry_after_s: float) -> None:
        super().__init__(message)
        self.bound, self.retry_after_s = bound, retry_after_s


def upstream_error(body: bytes) -> tuple[int | None, str]:
    """Code and message of an error answer in any of its four shapes; (None, "") where it has another or is no JSON."""
    try:
        content: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, ""
    code: Any = None
    message: Any = None
    for _ in range(3):  # error -> status -> fields
        if not isinstance(content, dict):
            message = message or content
            break
        code = content.get("error_code", code)
        message = content.get("error_message", message)
        content = content.get("error", content.get("status"))
    return code if isinstance(code, int) else None, _printable(message) if isinstance(message, str) else ""


def _printable(text: str) -> str:
    return " ".join("".join(c if c.isprintable() and c.isascii() else " " for c in text).split())[:160]


def explain(answer: Answer, coin: str, vs: str, plan: Plan, names: CoinList | None = None) -> CryptocastError:
    """The error that an answer other than 200 means, with what to do about it. `names`: the upstream's list of coins,
    for better guesses."""
    code, message = upstream_error(answer.body)
    quote = f" It says: {message.rstrip('.')}." if message else ""
    if answer.status == 404 and NO_SUCH_COIN.search(message):
        return unknown_coin(coin, names)
    if answer.status in (400, 422) and re.search("vs_currency", message):
        return UnknownCurrency(f"CoinGecko has no prices in {vs!r}. Choose another vs, e.g. usd or eur.")
    if code == Code.NO_KEY or code in Code.OTHER_HOST:
        return _about_the_key(code, quote, answer.status, plan)
    if code == Code.TOO_MUCH and plan == "pro":
        return UpstreamError(
            f"CoinGecko gives the key's plan less than was asked for.{quote}", "Ask with a later --since."
        )
    if code == Code.TOO_MUCH:
        return UpstreamError(
            f"CoinGecko gives the plan {plan!r} at most {FREE_DAYS} days of history.",
            "Ask with a later --since.",
        )
    if code == Code.NOT_IN_PLAN:
        return UpstreamError(f"CoinGecko does not offer this to the plan {plan!r}.{quote}", "Check [coingecko] plan.")
    if answer.status in (401, 403):
        return UpstreamError(
            f"CoinGecko refused (status {answer.status}).{quote}",
            f"Check {KEY_VARIABLE} and [coingecko] plan, or whether a proxy or a block of your network is in the way.",
        )
    if answer.status == 429:
        return _too_many(answer, message, plan)
    if 300 <= answer.status < 400:
        return UpstreamError(
            f"CoinGecko redirects to another address (status {answer.status}), and redirects are not followed.",
            "Check [coingecko] base_url (https, and /api/v3 at its end), or whether a proxy or a login page is in the"
            " way.",
        )
    return UpstreamError(f"CoinGecko failed (status {answer.status}).{quote}", "Try again later.")


def unknown_coin(coin: str, names: CoinList | None = None, *, is_certain: bool = False) -> UnknownCoin:
    """What to say of an id that the upstream does not know: where it went, or which one was meant."""
    new = names.moved_to(coin) if names is not None else None
    if new is not None:
        return UnknownCoin(
            f"CoinGecko has no {coin!r} any more: it is now {new}. Use that id: cryptocast fetch {new}",
            is_certain=is_certain,
        )
    hint = (names.suggestion(coin) if names is not None else "") or suggestion(coin)
    return UnknownCoin(
        f"CoinGecko has no coin {coin!r}.{hint} Ids are names such as bitcoin.",
        is_certain=is_certain,
    )


def _about_the_key(code: int | None, quote: str, status: int, plan: Plan) -> CryptocastError:
    if code in Code.OTHER_HOST:
        right, host = ("demo", "api.coingecko.com") if plan == "pro" else ("pro", "pro-api.coingecko.com")
        return ConfigError(
            f"The API key is of another plan than [coingecko] plan = {plan!r}. Set plan = {right!r},"
            f" whose host is {host}, or use a key of the plan."
        )
    if plan == "keyless":
        return UpstreamError(
            f"CoinGecko refused (status {status}).{quote}",
            "Without a key it does not answer this now: get a free demo key"
            f' at {DASHBOARD}, put it into {KEY_VARIABLE} and set [coingecko] plan = "demo".',
        )
    return ConfigError(
        f"CoinGecko rejected the {plan} key (status {status}).{quote} Copy it again from {DASHBOARD} into"
        f' {KEY_VARIABLE}, or set [coingecko] plan = "keyless".'
    )


def _too_many(answer: Answer, message: str, plan: Plan) -> UpstreamError:
    if re.search("month|credit", message, re.IGNORECASE):
        return QuotaSpent(
            f"CoinGecko's monthly credits of the plan {plan!r} are used up.",
            "They come back with the next month; until then commands use the store.",
        )
    wait = answer.retry_after_s(datetime.now(UTC))
    when = "in some minutes" if wait is None else f"in {wait:.0f} s" if wait <= 3600 else "in an hour or more"
    remedy = ", or use a free demo key" if plan == "keyless" else ""
    return RateLimited("CoinGecko's rate limit is used up.", f"Try again {when}{remedy}.")
