from collections.abc import Callable
from dataclasses import dataclass, field
from dataclasses import replace as changed
from datetime import UTC, datetime

import msgspec
import pytest

from cryptocast.errors import DataError, ModelError, UsageError
from cryptocast.serving.answers import Answered, Answers, Failed
from cryptocast.serving.ladder import Ladder
from cryptocast.workflows.context import Selection
from cryptocast.workflows.documents import CoinForecast, ForecastDocument
from cryptocast.workflows.forecast import Request
from tests.serving.serving_app import Clock, FakeForecast
from tests.serving.test_answers import ask

NONE = "no {kind} of {coin} is in production on coingecko bars; train one"


@dataclass
class Models:
    """A forecast by the models that are there; a broken one is there and cannot answer, or raises."""

    working: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    raising: dict[str, Exception] = field(default_factory=dict)
    stored: bool = True
    asked: list[tuple[str, str | None, bool]] = field(default_factory=list)

    def __call__(self, request: Request) -> ForecastDocument:
        kind, selection = request.model or "auto", request.selection
        self.asked.append((kind, selection.source, selection.stored))
        if selection.source != "sample" and not self.stored:
            raise DataError("The store knew no candles.")
        if kind in self.raising:
            raise self.raising[kind]
        return ForecastDocument(forecasts=(self.made(kind, request),))

    def made(self, kind: str, request: Request) -> CoinForecast:
        (coin,) = request.selection.coins
        source = "sample" if request.selection.source == "sample" else "coingecko"
        plain = FakeForecast(source=source).made(coin, request)
        best = next((one for one in (*self.broken, *self.working) if kind in ("auto", one)), None)
        if kind == "baseline":
            return msgspec.structs.replace(plain, model_used="baseline", version=None)
        if best is None:
            reason = NONE.format(kind=kind, coin=coin)
        elif best in self.broken:
            reason = f"{coin}/{best}:1 cannot answer: its file is damaged"
        else:
            return msgspec.structs.replace(plain, model_used=best)
        return msgspec.structs.replace(plain, model_used="baseline", version=None, fallback_reason=reason)


def request(model: str = "auto", coin: str = "bitcoin") -> Request:
    return Request(Selection((coin,), "auto", "usd", "daily"), model, (1,), (80,))


def climb(models: Models, asked: Request) -> tuple[CoinForecast, list[str]]:
    steps: list[str] = []
    (made,) = Ladder(models, on_step=steps.append)(asked).forecasts
    return made, steps


def test_the_model_asked_for_answers_while_it_can() -> None:
    made, steps = climb(Models(working=("lightgbm",)), request("lightgbm"))

    assert (made.model_used, made.fallback_reason, steps) == ("lightgbm", None, [])


@pytest.mark.parametrize("broken", [(), ("lstm",)])
def test_without_it_the_best_other_one_answers_and_says_so(broken: tuple[str, ...]) -> None:
    models = Models(working=("lightgbm",), broken=broken)
    if broken:  # what is best is for the registry to say; here it is the one that works
        models.made = _auto_works(models)  # type: ignore[method-assign, assignment]
    made, steps = climb(models, request("lstm"))

    assert (made.model_requested, made.model_used, steps) == ("lstm", "lightgbm", ["other_model"])
    assert made.fallback_reason is not None
    assert "lstm" in made.fallback_reason
    assert made.fallback_reason.endswith("lightgbm answers")


def _auto_works(models: Models) -> Callable[[str, Request], CoinForecast]:
    inner = Models.made

    def made(kind: str, asked: Request) -> CoinForecast:
        return inner(models, "lightgbm" if kind == "auto" else kind, asked)

    return made


def test_the_best_one_is_broken_and_the_next_answers() -> None:
    made, steps = climb(Models(working=("lstm",), broken=("lightgbm",)), request("auto"))

    assert (made.model_requested, made.model_used, steps) == ("auto", "lstm", ["other_model"])
    assert "lightgbm:1 cannot answer" in (made.fallback_reason or "")


def test_without_any_model_the_baseline_answers_and_says_why() -> None:
    for models in (Models(), Models(broken=("lightgbm", "lstm", "ml_ensemble"))):
        made, steps = climb(models, request("lightgbm"))
        assert (made.model_used, made.version, steps) == ("baseline", None, ["baseline"])
        assert made.fallback_reason


@pytest.mark.parametrize("error", [ModelError("No such file."), ZeroDivisionError("secret")])
def test_a_model_that_raises_is_no_reason_to_fail(error: Exception) -> None:
    made, _ = climb(Models(raising={"lightgbm": error, "auto": error}), request("lightgbm"))

    assert (made.model_requested, made.model_used) == ("lightgbm", "baseline")
    assert "secret" not in (made.fallback_reason or "")


def test_a_model_that_fails_again_and_again_is_not_asked() -> None:
    models = Models(raising=dict.fromkeys(("lightgbm", "auto"), ModelError("No such file.")))
    ladder = Ladder(models)
    for _ in range(6):
        ladder(request("lightgbm"))
    asked = len([kind for kind, _, _ in models.asked if kind == "lightgbm"])
    (made,) = ladder(request("lightgbm")).forecasts

    assert asked == len([kind for kind, _, _ in models.asked if kind == "lightgbm"]) == 5
    assert made.model_used == "baseline"
    assert "Next attempt" in (made.fallback_reason or "")


def test_the_baseline_asked_for_is_no_fallback() -> None:
    made, steps = climb(Models(), request("baseline"))

    assert (made.fallback_reason, steps) == (None, [])


def test_forecasts_rest_on_what_the_store_knows_and_fetch_nothing() -> None:
    models = Models(working=("lightgbm",))
    climb(models, request())

    assert models.asked == [("auto", "auto", True)]


def test_on_an_empty_machine_the_sample_stands_in_and_says_so() -> None:
    made, steps = climb(Models(stored=False), request())

    assert (made.source, made.model_used) == ("sample", "baseline")
    assert "sample" in made.notices[0]
    assert "sample" in steps


def test_where_there_is_no_sample_the_candles_are_missing() -> None:
    with pytest.raises(DataError):
        climb(Models(stored=False), request(coin="atlantis"))
    with pytest.raises(DataError):
        climb(Models(stored=False), changed(request(), selection=Selection(("bitcoin",), "auto", "eur", "daily")))


def kept(forecast: FakeForecast, clock: Clock, steps: list[str]) -> Answers:
    return Answers(forecast, stamp=lambda: 0, wall_clock=clock, max_waiting=10, on_fallback=steps.append)


def test_when_nothing_can_be_made_the_last_good_forecast_is_given_and_marked() -> None:
    clock, forecast, steps = Clock(), FakeForecast(), list[str]()
    answers = kept(forecast, clock, steps)

    async def question() -> list[object]:
        good = await answers.of([request()], timeout_s=5)
        clock.forward(days=1)
        forecast.failing["bitcoin"] = ModelError("No such file.")
        return [*good, *await answers.of([request()], timeout_s=5)]

    good, old = ask(answers, question)

    assert isinstance(good, Answered)
    assert isinstance(old, Answered)
    assert (good.made.stale, old.made.stale) == (False, True)
    assert old.made.price == good.made.price
    assert old.made.fallback_reason == "the last good forecast, as of 2026-03-01: No such file."
    assert old.until <= datetime(2026, 3, 2, 12, 0, 5, tzinfo=UTC)
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
    assert "is being made" in (old.made.fallback_reason or "")


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
