"""Live forecasts and their outcomes as lines."""

from datetime import UTC, datetime, timedelta

from rich.console import Console

from cryptocast.cli.screens.forecast_history import history_screen
from cryptocast.workflows.lifecycle.forecast_history import ForecastHistory, IntervalCount, PastForecast, PastInterval

KEY = {"coin": "bitcoin", "source": "sample", "vs": "usd", "granularity": "daily", "kind": "lightgbm"}


def past(number: int, outcome: float | None) -> PastForecast:
    issued = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
    inside = None if outcome is None else 90.0 <= outcome <= 110.0
    return PastForecast(
        **KEY,  # type: ignore[arg-type]
        version=3,
        by_baseline=False,
        issued_at=issued,
        horizon=1,
        target_time=issued + timedelta(days=1),
        price=100.0,
        median=100.0,
        p_up=0.5,
        intervals=(PastInterval(level=80, lower=90.0, upper=110.0, inside=inside),),
        outcome=outcome,
        crps=None if outcome is None else 0.01,
    )


def text(history: ForecastHistory) -> str:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        for part in history_screen(history):
            console.print(part)
    return capture.get()


def test_a_forecast_is_inside_outside_or_open() -> None:
    count = IntervalCount(**KEY, horizon=1, level=80, outcomes=2, inside=1)  # type: ignore[arg-type]
    shown = text(ForecastHistory(forecasts=(past(0, 101.0), past(1, 123.0), past(2, None)), counts=(count,)))
    lines = shown.splitlines()
    assert "bitcoin/lightgbm (sample, usd, daily)" in shown
    assert [word for line in lines for word in ("inside", "outside") if line.startswith("2026") and word in line] == [
        "inside",
        "outside",
    ]
    assert "50.0" in shown
    assert max(map(len, lines)) <= 80


def test_of_many_the_newest_are_shown() -> None:
    shown = text(ForecastHistory(forecasts=tuple(past(n, None) for n in range(25)), counts=()))
    assert sum(line.startswith("2026") for line in shown.splitlines()) == 20
    assert "The newest 20 of 25 forecasts" in shown
    assert "No outcome is known yet" in shown
