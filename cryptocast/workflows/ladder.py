"""The forecast of a server, which always answers: the steps above and below `forecast.ladder`, which picks the version.

From the first that holds: the candles of the store, never fetched here, so that a hanging upstream delays no forecast;
where the coin is new, the source that stands in for them, the sample; the versions of `forecast.ladder`;
where not even those can be looked up, as with a registry that cannot be read, the baseline. For other coins `DataError`
says that the candles must be brought first.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

import msgspec

from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.table import AUTO, STAND_IN, is_fetched
from cryptocast.errors import CryptocastError, DataError, RegistryError, UsageError
from cryptocast.market import Market
from cryptocast.workflows.coin_pool import choice_of
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.market_data.resolve import NewCoinError
from cryptocast.workflows.reports import CoinForecast, ForecastDocument

log = logging.getLogger(__name__)

BASELINE: Final = "baseline"
MakeForecast: TypeAlias = Callable[[Request], ForecastDocument]


class Ladder:
    """A MakeForecast over another. Called in one thread. `on_step` hears the name of each step below the first."""

    def __init__(self, forecast: MakeForecast, *, on_step: Callable[[str], None] = lambda _: None) -> None:
        self._forecast, self._on_step = forecast, on_step

    def __call__(self, request: Request) -> ForecastDocument:
        """The forecast of the request's one coin. Raises DataError if there are no candles, or too few, and UsageError
        for what nobody can answer."""
        answer = self._or_baseline(request)
        if answer.fallback_reason is not None:
            self._on_step(BASELINE if answer.model_used == BASELINE else "other_model")
        return ForecastDocument(forecasts=(answer,))

    def _or_baseline(self, request: Request) -> CoinForecast:
        try:
            return self._from_store(request)
        except (DataError, UsageError):
            raise
        except CryptocastError as error:
            code = FallbackCode.REGISTRY if isinstance(error, RegistryError) else FallbackCode.EXCEPTION
            reason = Fallback(code=code, detail=str(error))
            log.warning("no model can answer for %s: %s", ", ".join(request.selection.coins), error)
        except Exception:
            reason = Fallback(code=FallbackCode.EXCEPTION)
            log.exception("the forecast of %s failed", ", ".join(request.selection.coins))
        answer = self._from_store(replace(request, model=BASELINE))
        return msgspec.structs.replace(answer, model_requested=request.model or "auto", fallback_reason=reason)

    def _from_store(self, request: Request) -> CoinForecast:
        selection = request.selection
        choice = selection.source or AUTO
        if choice != AUTO and not is_fetched(choice):
            return self._one(request)
        try:
            return self._one(replace(request, selection=replace(selection, stored=True)))
        except NewCoinError:
            (coin,) = selection.coins
            market = Market(STAND_IN.name, selection.vs or "", selection.granularity or "daily")
            if choice != AUTO or not STAND_IN.holds(SeriesKey(market, coin)):
                raise
        self._on_step(STAND_IN.name)
        answer = self._one(replace(request, selection=replace(selection, source=choice_of(STAND_IN.name))))
        notice = f"the store has no candles of {coin} yet: using {STAND_IN.described(answer.as_of)}."
        return msgspec.structs.replace(answer, notices=(*answer.notices, notice))

    def _one(self, request: Request) -> CoinForecast:
        (answer,) = self._forecast(request).forecasts
        return answer
