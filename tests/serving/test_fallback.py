from dataclasses import dataclass, field
from dataclasses import replace as changed
from datetime import timedelta

import msgspec
import pytest

from cryptocast.errors import DataError, ModelError, RegistryError, TooFewBarsError, UpstreamError, UsageError
from cryptocast.serving.fallback import Ladder
from cryptocast.serving.forecast_cache import Answered, Answers, Failed
from cryptocast.workflows.context import Selection
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.reports import CoinForecast, ForecastDocument
from tests.serving.serving_app import Clock, FakeForecast
from tests.serving.test_forecast_cache import ask


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


def request(model: str = "auto", coin: str = "bitcoin") -> Request:
    return Request(Selection((coin,), "auto", "usd", "daily"), model, (1,), (80,))


def climb(models: Models, asked: Request) -> tuple[CoinForecast, list[str]]:
    steps: list[str] = []
    (made,) = Ladder(models, on_step=steps.append)(asked).forecasts
    return made, steps


def test_the_model_asked_for_answers_while_it_can() -> None:
    made, steps = climb(Models(), request("lightgbm"))

    assert (made.model_used, made.fallback_reason, steps) == ("lightgbm", None, [])


@pytest.mark.parametrize(("used", "step"), [("lstm", "other_model"), ("baseline", "baseline")])
def test_each_step_below_the_first_is_counted(used: str, step: str) -> None:
    reason = Fallback(code=FallbackCode.ARTEFACT, version="bitcoin/lightgbm:1")
    made, steps = climb(Models(instead=used, reason=reason), request("lightgbm"))

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
    made, steps = climb(Models(raising={"lightgbm": error}), request("lightgbm"))

    assert (made.model_requested, made.model_used, steps) == ("lightgbm", "baseline", ["baseline"])
    assert made.fallback_reason is not None
    assert made.fallback_reason.code == code
    assert "secret" not in str(made.fallback_reason.detail)


def test_the_baseline_asked_for_is_no_fallback() -> None:
    made, steps = climb(Models(), request("baseline"))

    assert (made.fallback_reason, steps) == (None, [])


def test_forecasts_rest_on_what_the_store_knows_and_fetch_nothing() -> None:
    models = Models()
    climb(models, request())

    assert models.asked == [("auto", "auto", True)]


def test_on_an_empty_machine_the_sample_stands_in_and_says_so() -> None:
    made, steps = climb(Models(stored=DataError("The store has none.")), request())

    assert made.source == "sample"
    assert "sample" in made.notices[0]
    assert "sample" in steps


def test_a_coin_that_is_too_young_is_not_answered_for_with_prices_of_years_ago() -> None:
    with pytest.raises(TooFewBarsError):
        climb(Models(stored=TooFewBarsError("bitcoin has 3 bars.")), request())


def test_where_there_is_no_sample_the_candles_are_missing() -> None:
    empty = Models(stored=DataError("The store has none."))
    with pytest.raises(DataError):
        climb(empty, request(coin="atlantis"))
    with pytest.raises(DataError):
        climb(empty, changed(request(), selection=Selection(("bitcoin",), "auto", "eur", "daily")))


def kept(forecast: FakeForecast, clock: Clock, steps: list[str]) -> Answers:
    count = steps.append
    return Answers(forecast, stamp=lambda: 0, wall_clock=clock, clock=clock.seconds, max_waiting=10, on_fallback=count)


def test_when_nothing_can_be_made_the_last_good_forecast_is_given_and_marked() -> None:
    clock, forecast, steps = Clock(), FakeForecast(), list[str]()
    answers = kept(forecast, clock, steps)

    async def question() -> list[object]:
        good = await answers.of([request()], timeout_s=5)
        clock.forward(days=1)
        forecast.failing["bitcoin"] = DataError("The candles cannot be read.")
        return [*good, *await answers.of([request()], timeout_s=5)]

    good, old = ask(answers, question)

    assert isinstance(good, Answered)
    assert isinstance(old, Answered)
    assert (good.made.stale, old.made.stale) == (False, True)
    assert old.made.price == good.made.price
    assert old.made.fallback_reason == Fallback(code=FallbackCode.CANDLES)
    assert old.term.expires == clock.passed_s + 5.0
    assert steps == ["last_good"]


def test_the_last_good_forecast_is_given_at_once_while_the_next_one_takes_long() -> None:
    clock, forecast, steps = Clock(), FakeForecast(), list[str]()
    answers = kept(forecast, clock, steps)

    async def question() -> list[object]:
        await answers.of([request()], timeout_s=5)
        clock.forward(days=1)
        forecast.takes_s = 2.0
        return list(await answers.of([request()], timeout_s=5))

    (old,) = ask(answers, question)

    assert isinstance(old, Answered)
    assert old.made.fallback_reason == Fallback(code=FallbackCode.TIMEOUT)


def test_what_the_client_did_wrong_is_told_whatever_was_good_before() -> None:
    clock, forecast = Clock(), FakeForecast()
    answers = kept(forecast, clock, [])

    async def question() -> list[object]:
        await answers.of([request()], timeout_s=5)
        clock.forward(days=1)
        forecast.failing["bitcoin"] = UsageError("That means nothing.")
        return list(await answers.of([request()], timeout_s=5))

    (told,) = ask(answers, question)
    assert isinstance(told, Failed)


def test_with_nothing_at_all_the_answer_is_an_error() -> None:
    answers = kept(FakeForecast(failing={"bitcoin": ModelError("No such file.")}), Clock(), [])

    (told,) = ask(answers, lambda: answers.of([request()], timeout_s=5))
    assert isinstance(told, Failed)


@pytest.mark.parametrize("code", list(FallbackCode))
def test_a_fallback_whose_cause_may_pass_is_made_anew_after_five_seconds_and_any_other_with_the_bar(
    code: FallbackCode,
) -> None:
    passing = {"artefact", "exception", "breaker", "registry", "candles", "timeout", "overload"}
    clock, asked = Clock(), list[Request]()

    def forecast(request: Request) -> ForecastDocument:
        asked.append(request)
        made = FakeForecast().made("bitcoin", request)
        made = msgspec.structs.replace(made, model_used="baseline", fallback_reason=Fallback(code=code))
        return ForecastDocument(forecasts=(made,))

    answers = Answers(forecast, stamp=lambda: 0, wall_clock=clock, clock=clock.seconds, max_waiting=10)

    async def question() -> None:
        for passed in (0.0, 4.9, 0.1, 4.9, 0.1):
            clock.forward(seconds=passed)
            await answers.of([request()], timeout_s=5)

    ask(answers, question)
    assert len(asked) == (3 if code in passing else 1)


def test_what_was_computed_under_a_clock_that_ran_ahead_is_noticed_and_computed_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, forecast = Clock(), FakeForecast()
    answers, right = kept(forecast, clock, []), clock.now

    async def question() -> object:
        clock.forward(days=3)
        await answers.of([request()], timeout_s=5)
        clock.now = right
        await answers.of([request()], timeout_s=5)
        (told,) = await answers.of([request()], timeout_s=5)
        return told

    told = ask(answers, question)
    assert isinstance(told, Answered)
    assert told.term.since == right
    assert forecast.calls["bitcoin"] == 2
    assert "from the future" in caplog.text


def test_no_last_good_forecast_comes_from_the_future() -> None:
    clock, forecast = Clock(), FakeForecast()
    answers, right = kept(forecast, clock, []), clock.now

    async def question() -> object:
        clock.forward(days=3)
        await answers.of([request()], timeout_s=5)
        clock.now = right + timedelta(seconds=1)
        forecast.failing["bitcoin"] = UpstreamError("Nobody there.")
        (told,) = await answers.of([request()], timeout_s=5)
        return told

    assert isinstance(ask(answers, question), Failed)
