"""Whether CoinGecko can be fetched from: its key, the credits of the month, and whether it answers."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from cryptocast.addresses import shown_address
from cryptocast.config import Config
from cryptocast.data.sources.base import SourceFinding
from cryptocast.data.sources.coingecko.client import CoinGecko
from cryptocast.data.sources.coingecko.quota import Credits
from cryptocast.data.sources.coingecko.refusals import DASHBOARD, KEY_VARIABLE
from cryptocast.net import Limiter

# One cheap call, and no patience: a machine without a network must hear so at once.
PATIENCE: Final = {"connect_timeout_s": 2.0, "read_timeout_s": 3.0, "deadline_s": 4.0, "max_retries": 0}
FEW_CREDITS: Final = 0.1  # of the month


def probe(config: Config, api_key: str | None = None) -> str:
    """One call, with the key; what came of it, in words.

    Raises Unreachable if there was no answer, ConfigError if the key is refused, UpstreamError for other refusals.
    """
    coingecko = msgspec.structs.replace(config.coingecko, **PATIENCE)
    base = shown_address(coingecko.pro_base_url if coingecko.plan == "pro" else coingecko.base_url)
    with CoinGecko(coingecko, api_key=api_key, limiter=Limiter(1)) as upstream:
        if coingecko.plan != "pro":
            upstream.run(upstream.ping())
            return f"{base} answers" + (", the key is accepted" if coingecko.plan == "demo" else "")
        account = upstream.run(upstream.account())
    left, credit = account.current_remaining_monthly_calls, account.monthly_call_credit
    rest = f", {left:,} of {credit:,} calls of the month left" if left is not None and credit is not None else ""
    return f"{base} answers, the key is accepted: plan {account.plan or 'pro'}{rest}"


def key_finding(config: Config, environ: Mapping[str, str]) -> SourceFinding:
    """Whether there is a key where the plan needs one. What it is stays where it is."""
    plan, has_key = config.coingecko.plan, bool(environ.get(KEY_VARIABLE, "").strip())
    if plan == "keyless" and has_key:
        status = f"{KEY_VARIABLE} is set, but the plan is keyless, so it is not used"
        return SourceFinding("key", "warn", status, 'Set [coingecko] plan = "demo", or "pro".')
    if plan == "keyless":
        more = f"For 25 calls a minute get a free demo key ({DASHBOARD}), set {KEY_VARIABLE}"
        status = "none needed: keyless, 365 days of history, 5 calls a minute"
        return SourceFinding("key", "ok", status, f'{more} and [coingecko] plan = "demo".')
    if not has_key:
        status = f"[coingecko] plan is {plan}, and {KEY_VARIABLE} is not set: nothing can be fetched"
        remedy = f'Set {KEY_VARIABLE} ({DASHBOARD}), or [coingecko] plan = "keyless".'
        return SourceFinding("key", "warn", status, remedy)
    return SourceFinding("key", "ok", f"{KEY_VARIABLE} is set, plan {plan}")


def credit_findings(budget: Credits) -> Iterator[SourceFinding]:
    """What is left of the month, where the plan has a bound or something was spent."""
    state = budget.state()
    if state.blocked_until is not None:
        status = f"CoinGecko says that those of {state.month} are used up; {state.used:,} were counted here"
        then = f"Wait: the backfill and refreshing pause until {state.blocked_until:%Y-%m-%d %H:%M} UTC."
        yield SourceFinding("credits", "warn", status, then)
    elif state.per_month is not None and state.left is not None:
        status = f"{state.used:,} of {state.per_month:,} used in {state.month}"
        scarce = state.left < FEW_CREDITS * state.per_month
        remedy = "Wait for the next month, fetch fewer coins, or set [coingecko] hours = false."
        yield SourceFinding("credits", "warn", status, remedy) if scarce else SourceFinding("credits", "ok", status)
    elif state.used:
        yield SourceFinding("credits", "ok", f"{state.used:,} calls in {state.month}, without a bound")
