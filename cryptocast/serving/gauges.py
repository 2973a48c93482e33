"""Numbers for Prometheus about the upstream, and about the versions in production.

Labels are coins of the settings, kinds of models, horizons: fixed lists all of them.
"""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptocast.config import Config
from cryptocast.data.sources.coingecko.quota import CreditState
from cryptocast.errors import CryptocastError
from cryptocast.net import Priority
from cryptocast.registry import PRODUCTION, Version, VersionKey
from cryptocast.registry.live import LiveReport
from cryptocast.serving.telemetry import Sample
from cryptocast.workflows.context import Context
from cryptocast.workflows.feature_sets import is_outdated
from cryptocast.workflows.lifecycle.model_card import live_of
from cryptocast.workflows.market_data.live_prices import PriceUpstream
from cryptocast.workflows.market_data.store_watch import Stamp
from cryptocast.workflows.reports import CoinForecast

log = logging.getLogger(__name__)

LIVE_EVERY_S: Final = 60.0  # how often the registry is looked at for outcomes that came


@dataclass(slots=True)
class UpstreamFigures:
    """credits: of the month, from their file. prices: where the live ones come from."""

    credits: Callable[[], CreditState]
    prices: PriceUpstream

    def samples(self) -> Iterator[Sample]:
        """For `Telemetry.samples`."""
        if (batches := self.prices.batches()) is not None:
            calls, ids = batches
            yield "cryptocast_batch_calls_total", "Calls for live prices, each for many coins.", {}, float(calls)
            yield "cryptocast_batch_ids_total", "Coins that clients asked live prices for.", {}, float(ids)
        if (pool := self.prices.pool()) is not None:
            name, text = "cryptocast_pool_connections", "Connections to the upstream by what they do."
            yield name, text, {"state": "open"}, float(pool.open)
            yield name, text, {"state": "idle"}, float(pool.idle)
            yield "cryptocast_pool_waiting", "Calls that wait for a connection.", {}, float(pool.waiting)
            yield "cryptocast_pool_wait_seconds_total", "Time that calls waited for one.", {}, pool.waited_s
            for what in ("reaped", "reclaimed", "repeated", "turned_away"):
                text = "Idle connections closed, lost places taken back, calls repeated, calls turned away."
                yield "cryptocast_pool_events_total", text, {"event": what}, float(getattr(pool, what))

    def slow_samples(self) -> Iterator[Sample]:
        """For `Telemetry.slow_samples`: the credits stand in a file."""
        state = self.credits()
        yield "cryptocast_upstream_credits_used", "Calls of this month, of every process.", {}, float(state.used)
        if state.left is not None:
            yield "cryptocast_upstream_credits_left", "Calls that the month has left.", {}, float(state.left)
        name = "cryptocast_upstream_strangers_credits"
        text = "Of them, for coins and currencies that the server is not set up for."
        yield f"{name}_used", text, {}, float(state.by_priority.get("stranger", 0))
        if (left := state.allowed(Priority.STRANGER)) is not None:
            yield f"{name}_left", "Calls that the month has left for these.", {}, float(left)


@dataclass(slots=True)
class LiveFigures:
    """How the versions in production do on forecasts whose time has come, for the coins of the settings."""

    context: Context
    stamp: Stamp
    _state: Hashable = None
    _reports: list[tuple[Version, LiveReport]] = field(default_factory=list)
    _outdated: frozenset[VersionKey] = frozenset()

    def refresh(self) -> None:
        """Look at the registry if it has changed. In a thread: it may take long."""
        stamp = self.stamp()
        if stamp == self._state:
            return
        config = self.context.config
        try:
            registry = self.context.registry(create=False)
            versions = [one for one in registry.versions(alias=PRODUCTION) if _is_configured(one, config)]
            self._reports = [(one, live_of(registry, config.gate, one)) for one in versions]
            self._outdated = frozenset(one.key for one in versions if is_outdated(one, config))
        except CryptocastError as error:
            log.warning("no scores of matured forecasts: %s", error)
            return
        self._state = stamp

    def degraded(self) -> tuple[str, ...]:
        """Versions in production that should not be trusted as they were, and why."""
        return tuple(f"{version.name}: {why}" for version, report in self._reports for why in report.degraded)

    def samples(self) -> Iterator[Sample]:
        """For `Telemetry.samples`."""
        now = self.context.wall_clock()
        for version, report in self._reports:
            key = version.key
            labels = {"coin": key.coin, "model": key.kind, "source": key.source}
            age_s = (now - version.created_at).total_seconds()
            yield "cryptocast_version_age_seconds", "Since the version in production was made.", labels, age_s
            text = "1 while its features, or the code of a model of your own, have changed, so that it cannot be asked."
            yield "cryptocast_version_outdated", text, labels, float(key in self._outdated)
            text = "1 while the version does worse live than it should."
            yield "cryptocast_version_degraded", text, labels, float(bool(report.degraded))
            for score in report.scores:
                at = {**labels, "horizon": str(score.horizon)}
                yield "cryptocast_live_bars", "Forecasts whose time has come.", at, float(score.bars)
                yield "cryptocast_live_crps_ratio", "CRPS of them, relative to the price.", at, score.crps
                if score.skill is not None:
                    text = "1 less the CRPS over the baseline's, on the same bars."
                    yield "cryptocast_live_skill_ratio", text, at, score.skill
                for interval in (*score.coverage, *score.tails):
                    text = "Share of outcomes inside the interval of this level."
                    yield "cryptocast_live_coverage_ratio", text, {**at, "level": str(interval.percent)}, interval.share


def configured_coins(forecasts: Mapping[str, CoinForecast]) -> Iterator[Sample]:
    """For `Telemetry.samples`: how many of the configured coins each model answers for. forecasts: by coin."""
    by_model = Counter(forecast.model_used for forecast in forecasts.values())
    for model in sorted({"baseline", *by_model}):
        text = "Coins of the settings, by the model that answers for them."
        yield "cryptocast_configured_coins", text, {"model": model}, float(by_model[model])


def _is_configured(version: Version, config: Config) -> bool:
    key = version.key
    return key.coin in config.data.coins and (key.vs, key.granularity) == (config.data.vs, config.data.granularity)
