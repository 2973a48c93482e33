from dataclasses import dataclass, field
from dataclasses import replace as changed

import msgspec
import pytest

from cryptocast.errors import DataError, ModelError, RegistryError, TooFewBarsError
from cryptocast.workflows.context import Selection
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.ladder import Ladder
from cryptocast.workflows.market_data.resolve import NewCoinError
from cryptocast.workflows.reports import CoinForecast, ForecastDocument
from tests.serving.serving_app import FakeForecast, request_of


@dataclass
class Models:
    """A forecast by the kind asked for, or by `instead` with its reason; `raising` by kind."""

    instead: str | None = None
    reason: Fallback | None = None
    raising: dict[str, Exception] = field(default_factory=dict)
    stored: Exception | None = None
    asked: list[tuple[str, str | None, bool]] = field(default_factory=list)

    def __call__(self, request: Request) -> ForecastDocument:
        kind, selection = request.model or "auto", request.selection
        self.asked.append((kind, selection.source, selection.stored))
        if selection.source != "sample" and self.stored is not None:
            raise self.stored
        if kind in self.raising:
            raise self.raising[kind]
        (coin,) = selection.coins
        source = "sample" if selection.source == "sample" else "coingecko"
        plain = FakeForecast(source=source).made(coin, request)
        used = kind if kind == "baseline" else self.instead or "lightgbm"
        reason = None if kind == "baseline" else self.reason
        return ForecastDocument(forecasts=(msgspec.structs.replace(plain, model_used=used, fallback_reason=reason),))


def climb(models: Models, asked: Request) -> tuple[CoinForecast, list[str]]:
    steps: list[str] = []
    (made,) = Ladder(models, on_step=steps.append)(asked).forecasts
    return made, steps


def test_the_model_asked_for_answers_while_it_can() -> None:
    made, steps = climb(Models(), request_of("lightgbm"))

    assert (made.model_used, made.fallback_reason, steps) == ("lightgbm", None, [])


@pytest.mark.parametrize(("used", "step"), [("lstm", "other_model"), ("baseline", "baseline")])
def test_each_step_below_the_first_is_counted(used: str, step: str) -> None:
    reason = Fallback(code=FallbackCode.ARTEFACT, version="bitcoin/lightgbm:1")
    made, steps = climb(Models(instead=used, reason=reason), request_of("lightgbm"))

    assert (made.model_used, made.fallback_reason, steps) == (used, reason, [step])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RegistryError("The registry is damaged."), FallbackCode.REGISTRY),
        (ModelError("No such file."), FallbackCode.EXCEPTION),
        (ZeroDivisionError("secret"), FallbackCode.EXCEPTION),
    ],
)
def test_where_nobody_can_say_which_model_it_is_the_baseline_answers(error: Exception, code: FallbackCode) -> None:
    made, steps = climb(Models(raising={"lightgbm": error}), request_of("lightgbm"))

    assert (made.model_requested, made.model_used, steps) == ("lightgbm", "baseline", ["baseline"])
    assert made.fallback_reason is not None
    assert made.fallback_reason.code == code
    assert "secret" not in str(made.fallback_reason.detail)


def test_the_baseline_asked_for_is_no_fallback() -> None:
    made, steps = climb(Models(), request_of("baseline"))

    assert (made.fallback_reason, steps) == (None, [])


def test_forecasts_rest_on_what_the_store_knows_and_fetch_nothing() -> None:
    models = Models()
    climb(models, request_of())

    assert models.asked == [("auto", "auto", True)]


def test_on_an_empty_machine_the_sample_stands_in_and_says_so() -> None:
    made, steps = climb(Models(stored=NewCoinError("The store has none.")), request_of())

    assert made.source == "sample"
    assert "sample" in made.notices[0]
    assert "sample" in steps


def test_a_coin_that_is_too_young_is_not_answered_for_with_prices_of_years_ago() -> None:
    with pytest.raises(TooFewBarsError):
        climb(Models(stored=TooFewBarsError("bitcoin has 3 bars.")), request_of())


def test_where_there_is_no_sample_the_candles_are_missing() -> None:
    empty = Models(stored=NewCoinError("The store has none."))
    with pytest.raises(DataError):
        climb(empty, request_of(coin="atlantis"))
    with pytest.raises(DataError):
        climb(empty, changed(request_of(), selection=Selection(("bitcoin",), "auto", "eur", "daily")))


def test_a_coin_that_has_its_source_is_not_answered_for_by_the_sample() -> None:
    with pytest.raises(DataError, match="has hourly candles"):
        climb(Models(stored=DataError("The store has hourly candles of bitcoin.")), request_of())
