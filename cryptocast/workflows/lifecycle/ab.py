"""A/B tests of a challenger beside production: started, looked at as often as one likes, ended with a verdict."""

import hashlib
from datetime import datetime
from typing import Literal

import msgspec

from cryptocast.config import Config
from cryptocast.errors import RegistryError, UsageError
from cryptocast.registry import (
    CHALLENGER,
    PRODUCTION,
    AbEvent,
    AbTest,
    Contest,
    Registry,
    Version,
    VersionKey,
)
from cryptocast.registry.contest import LossPairs, contest
from cryptocast.registry.gate import missing_horizons
from cryptocast.workflows.lifecycle.compare import contest_verdict
from cryptocast.workflows.lifecycle.promote import PromotionReport, promote
from cryptocast.workflows.lifecycle.promotion_evidence import live_pairs
from cryptocast.workflows.reports import KeyRow, Verdict


class AbRow(KeyRow, frozen=True, kw_only=True):
    """One test. contest: the challenger against production on the bars that both forecast, also if few asked."""

    test: str
    production: int
    challenger: int
    share: float
    started_at: datetime
    started_by: str
    ended_at: datetime | None
    ended_by: str | None
    ended_as: Literal["stop", "conclude"] | None
    why: str
    bars: int
    contest: Contest | None
    verdict: Verdict  # the challenger against production


class AbReport(msgspec.Struct, frozen=True, kw_only=True):
    """The tests that were asked for, and the promotion that a conclusion led to."""

    schema: Literal["cryptocast.ab-report/3"] = "cryptocast.ab-report/3"
    tests: tuple[AbRow, ...]
    promotion: PromotionReport | None = None


def running_test(registry: Registry, key: VersionKey) -> AbTest | None:
    """The test of a key that is running; None: there is none."""
    return next((test for test in registry.ab_tests(key) if test.end is None), None)


def ab_start(
    config: Config,
    registry: Registry,
    key: VersionKey,
    *,
    challenger: int | None,
    share: float,
    who: str,
    now: datetime,
) -> AbReport:
    """Let the challenger answer a share of the clients. None: the version of the alias `challenger`.

    UsageError for a share outside (0, 1) or production itself; RegistryError if a test of the key is running, if
    nothing is in production, or if there is no such version.
    """
    if not 0.0 < share < 1.0:
        raise UsageError(f"--share is a part of the clients above 0 and below 1, such as 0.2; found {share:g}.")
    production = registry.alias(key, PRODUCTION)
    if production is None:
        raise RegistryError(f"Nothing of {key} is in production to be tested against. See cryptocast registry promote.")
    other = _version(registry, key, challenger)
    if other.number == production.number:
        raise UsageError(f"Version {other.number} is production itself. Name another: --challenger NUMBER.")
    if missing := missing_horizons(production, other):
        raise UsageError(
            f"Version {other.number} lacks horizons that production serves: {', '.join(map(str, missing))}."
        )
    identity = f"{key}\n{production.number}\n{other.number}\n{now.isoformat()}"
    event = AbEvent(
        test=hashlib.sha256(identity.encode()).hexdigest()[:16],
        event="start",
        **key.columns,
        production=production.number,
        challenger=other.number,
        share=share,
        at=now,
        who=who,
    )
    registry.start_ab(event)
    return ab_status(config, registry, [key])


def ab_status(config: Config, registry: Registry, keys: list[VersionKey]) -> AbReport:
    """Every test of these keys, oldest first, with what both sides' forecasts say so far."""
    tests = [test for key in keys for test in registry.ab_tests(key)]
    return AbReport(tests=tuple(_row(config, registry, test) for test in tests))


def ab_stop(config: Config, registry: Registry, key: VersionKey, *, reason: str, who: str, now: datetime) -> AbReport:
    """End the running test without a change: production answers everybody again."""
    test = _running(registry, key)
    registry.end_ab(_ended(test, "stop", who, now, reason))
    return ab_status(config, registry, [key])


def ab_conclude(config: Config, registry: Registry, key: VersionKey, *, who: str, now: datetime) -> AbReport:
    """Put the challenger of the running test before the gate; if it passes it is promoted, and either way it ends.

    Where the gate refuses, production stays and the test is over.
    """
    test = _running(registry, key)
    bars = msgspec.structs.replace(config.data, vs=key.vs, granularity=key.granularity)
    report = promote(
        msgspec.structs.replace(config, data=bars),
        registry,
        coin=key.coin,
        kind=key.kind,
        number=test.start.challenger,
        source=key.source,
        who=who,
        now=now,
    )
    row = report.rows[0]
    registry.end_ab(_ended(test, "conclude", who, now, f"{row.action}: {row.reasons[0]}"))
    return AbReport(tests=ab_status(config, registry, [key]).tests, promotion=report)


def _ended(test: AbTest, event: Literal["stop", "conclude"], who: str, now: datetime, why: str) -> AbEvent:
    return msgspec.structs.replace(test.start, event=event, at=now, who=who, why=why)


def _running(registry: Registry, key: VersionKey) -> AbTest:
    test = running_test(registry, key)
    if test is None:
        raise RegistryError(
            f"No A/B test of {key} is running. Start one: cryptocast registry ab start {key.coin} {key.kind}."
        )
    return test


def _version(registry: Registry, key: VersionKey, number: int | None) -> Version:
    if number is not None:
        return registry.version(key, number)
    challenger = registry.alias(key, CHALLENGER)
    if challenger is None:
        raise RegistryError(f"{key} has no challenger. Train one: cryptocast train {key.coin} --model {key.kind}.")
    return challenger


def _row(config: Config, registry: Registry, test: AbTest) -> AbRow:
    start, end = test.start, test.end
    pairs = _pairs(registry, test)
    bars = max((int(pair.dates.size) for pair in pairs), default=0)
    outcome = contest(pairs, config.gate, rests_on=f"{bars} live bars of both") if pairs else None
    verdict = contest_verdict(outcome, "production", config.gate)
    if verdict.word == "better" and bars < config.gate.min_live:  # better only on as many bars as the gate wants
        verdict = msgspec.structs.replace(verdict, word="cannot tell")
    return AbRow(
        **start.key.columns,
        test=start.test,
        production=start.production,
        challenger=start.challenger,
        share=start.share,
        started_at=start.at,
        started_by=start.who,
        ended_at=None if end is None else end.at,
        ended_by=None if end is None else end.who,
        ended_as=None if end is None or end.event == "start" else end.event,
        why="" if end is None else end.why,
        bars=bars,
        contest=outcome,
        verdict=msgspec.structs.replace(verdict, dates=bars),
    )


def _pairs(registry: Registry, test: AbTest) -> list[LossPairs]:
    """The matured forecasts of both sides for the same bars."""
    key, numbers = test.start.key, (test.start.production, test.start.challenger)
    if test.end is not None and not all(registry.ledger(key, number) for number in numbers):
        return []  # and a side without forecasts may have been tidied up since
    production, challenger = (_version(registry, key, number) for number in numbers)
    return live_pairs(registry, production, challenger)
