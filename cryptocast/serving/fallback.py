"""The bars that a forecast is made from, and what answers when nothing else does.

Forecasts are made from what the store has, so a hanging upstream delays none of them. Where the store has nothing, the
sample stands in for its coins; for others `DataError` says that the candles must be brought first. Which model answers
is decided by the workflow; where even that fails, as with a registry that cannot be read, the baseline answers.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import msgspec

from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.table import rule_of
from cryptocast.errors import CryptocastError, DataError, RegistryError, TooFewBarsError, UsageError
from cryptocast.market import Market
from cryptocast.serving.forecast_cache import MakeForecast
from cryptocast.workflows.coin_pool import choice_of
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.reports import CoinForecast, ForecastDocument

__all__ = ["Ladder"]

log = logging.getLogger(__name__)

BASELINE: Final = "baseline"


class Ladder:
    """A MakeForecast over another. Called in one thread. `on_step` hears the name of each step below the first."""

    def __init__(self, forecast: MakeForecast, *, on_step: Callable[[str], None] = lambda _: None) -> None:
        self._forecast, self._on_step = forecast, on_step

    def __call__(self, request: Request) -> ForecastDocument:
        """The forecast of the request's one coin. Raises DataError if there are no candles, or too few, and UsageError
        for what nobody can answer."""
        made = self._or_baseline(request)
        if made.fallback_reason is not None:
            self._on_step(BASELINE if made.model_used == BASELINE else "other_model")
        return ForecastDocument(forecasts=(made,))

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
        made = self._from_store(replace(request, model=BASELINE))
        return msgspec.structs.replace(made, model_requested=request.model or "auto", fallback_reason=reason)

    def _from_store(self, request: Request) -> CoinForecast:
        selection = request.selection
        rule = rule_of(selection.source or "auto")
        if rule.fetched is None:
            return self._one(request)
        stored = replace(selection, stored=True)  # nothing is fetched: a hanging upstream holds up no forecast
        try:
            return self._one(replace(request, selection=stored))
        except TooFewBarsError:
            raise
        except DataError:
            (coin,) = selection.coins
            keys = {
                source: SeriesKey(Market(source.name, selection.vs or "", selection.granularity or "daily"), coin)
                for source in rule.stand_ins
            }
            stand_in = next((source for source, key in keys.items() if source.holds(key)), None)
            if stand_in is None:
                raise
        self._on_step(stand_in.name)
        made = self._one(replace(request, selection=replace(selection, source=choice_of(stand_in.name))))
        notice = f"the store has no candles of {coin} yet: resting on {stand_in.described(made.as_of)}."
        return msgspec.structs.replace(made, notices=(notice, *made.notices))

    def _one(self, request: Request) -> CoinForecast:
        (made,) = self._forecast(request).forecasts
        return made
