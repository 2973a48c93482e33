"""The ladder: the model asked for, the best other one, the baseline; each step says why it was taken.

Forecasts are made from what the store has, so a hanging upstream delays none of them. Where the store has nothing, the
sample stands in for its coins; for others `DataError` says that the candles must be brought first.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import msgspec

from cryptocast.data.sample import SAMPLE_COINS
from cryptocast.errors import CryptocastError, DataError, UsageError
from cryptocast.models.kinds import TRAINABLE
from cryptocast.net import Breaker, Breakers, BreakerSettings, CircuitOpen
from cryptocast.serving.answers import MakeForecast
from cryptocast.workflows.documents import CoinForecast, ForecastDocument
from cryptocast.workflows.forecast import Request

__all__ = ["Ladder"]

log = logging.getLogger(__name__)

BASELINE: Final = "baseline"
BROKEN: Final = " cannot answer: "  # a version is there and failed, in the words of the workflow
SAMPLE_NOTICE: Final = (
    "the store has no candles of {coin} yet: resting on the sample, real Bitstamp prices that end {day}."
)


class Ladder:
    """A MakeForecast over another. Called in one thread. `on_step` hears the name of each step below the first."""

    def __init__(
        self,
        forecast: MakeForecast,
        *,
        on_step: Callable[[str], None] = lambda _: None,
        breakers: Breakers | None = None,
    ) -> None:
        self._forecast, self._on_step = forecast, on_step
        settings = BreakerSettings(open_s=30.0, slow_call_s=30.0)
        self.breakers = breakers or Breakers(lambda kind: Breaker(f"model {kind}", settings))

    def __call__(self, request: Request) -> ForecastDocument:
        """The forecast of the request's one coin. Raises as the forecast does; DataError if there are no candles."""
        made = self._guarded(request)
        if made.model_requested != BASELINE and made.model_used == BASELINE and made.fallback_reason is not None:
            made = self._other(request, made) or made
            self._on_step(BASELINE if made.model_used == BASELINE else "other_model")
        return ForecastDocument(forecasts=(made,))

    def _other(self, request: Request, baseline: CoinForecast) -> CoinForecast | None:
        """The best other version in production, if there is one and it answers."""
        reason, asked = baseline.fallback_reason or "", request.model or "auto"
        found = baseline
        if asked != "auto":
            found = self._guarded(replace(request, model="auto"))
        # The best one is there and broken: the others, one after the other.
        for kind in (kind for kind in TRAINABLE if kind != asked):
            if found.model_used != BASELINE or BROKEN not in (found.fallback_reason or ""):
                break
            other = self._guarded(replace(request, model=kind))
            found = found if other.model_used == BASELINE else other
        if found.model_used == BASELINE:
            return None
        told = f"{reason}; {found.model_used} answers"
        return msgspec.structs.replace(found, model_requested=asked, fallback_reason=told)

    def _guarded(self, request: Request) -> CoinForecast:
        """The forecast, without a model that has just failed again and again."""
        kind = request.model or "auto"
        if kind == BASELINE:
            return self._from_store(request)
        try:
            permit = self.breakers(kind).admit()
        except CircuitOpen as error:
            made = self._from_store(replace(request, model=BASELINE))
            return msgspec.structs.replace(made, model_requested=kind, fallback_reason=str(error))
        with permit:
            try:
                made = self._from_store(request)
            except (DataError, UsageError):
                permit.succeeded()
                raise
            except CryptocastError as error:
                permit.failed()
                made = self._from_store(replace(request, model=BASELINE))
                return msgspec.structs.replace(made, model_requested=kind, fallback_reason=f"{kind}{BROKEN}{error}")
            except Exception:
                permit.failed()
                log.exception("%s failed for %s", kind, ", ".join(request.selection.coins))
                made = self._from_store(replace(request, model=BASELINE))
                reason = f"{kind}{BROKEN}it failed; the cause stands in the server's log"
                return msgspec.structs.replace(made, model_requested=kind, fallback_reason=reason)
            if made.fallback_reason is not None and BROKEN in made.fallback_reason:
                permit.failed()
            else:
                permit.succeeded()
        return made

    def _from_store(self, request: Request) -> CoinForecast:
        selection = request.selection
        if selection.source not in ("auto", "coingecko"):
            return self._one(request)
        stored = replace(selection, stored=True)  # nothing is fetched: a hanging upstream holds up no forecast
        try:
            return self._one(replace(request, selection=stored))
        except DataError:
            (coin,) = selection.coins
            fits = coin in SAMPLE_COINS and (selection.vs, selection.granularity) == ("usd", "daily")
            if selection.source != "auto" or not fits:
                raise
        self._on_step("sample")
        made = self._one(replace(request, selection=replace(selection, source="sample")))
        notice = SAMPLE_NOTICE.format(coin=coin, day=f"{made.as_of:%Y-%m-%d}")
        return msgspec.structs.replace(made, notices=(notice, *made.notices))

    def _one(self, request: Request) -> CoinForecast:
        (made,) = self._forecast(request).forecasts
        return made
