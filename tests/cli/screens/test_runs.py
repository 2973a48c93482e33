"""The list of recorded backtests as lines."""

from rich.console import Console

from cryptocast.cli.screens.runs import run_removal_screen, runs_screen
from cryptocast.workflows.backtesting.runs import RecordedRun, RecordedTuning, RunHeadline, RunRemoval, RunsDocument
from cryptocast.workflows.reports import Question
from tests.registry.registry_fits import NOW

HEADLINE = RunHeadline(model="lightgbm", skill=0.0123, yes={Question.WIDTH: (1, 7), Question.MODEL: ()})
FINISHED = RecordedRun(
    run="1a2b", state="finished", granularity="hourly", coins=("bitcoin",), headline=HEADLINE, bytes=2_000
)
DAMAGED = RecordedRun(run="3c4d", state="damaged", bytes=10, error="it cannot be read")


def lines(parts: object) -> str:
    console = Console(width=140, force_terminal=False)
    with console.capture() as capture:
        for part in parts:  # type: ignore[attr-defined]
            console.print(part)
    return capture.get()


def test_a_run_says_its_best_model_and_what_the_tests_say() -> None:
    text = lines(runs_screen(RunsDocument(path="runs", runs=(FINISHED, DAMAGED))))
    assert "lightgbm +1.2 %; Width better than naive? yes at 1, 7 h" in text
    assert "damaged" in text


def test_a_removal_says_what_rests_on_it() -> None:
    text = lines(run_removal_screen(RunRemoval(runs=(FINISHED,), evidence=("1a2b",))))
    assert "To be removed: run 1a2b of bitcoin, finished, 2.0 kB." in text
    assert "1a2b stay in the registry" in text
    assert "Nothing has been removed yet: 1 run." in text


def test_a_tuning_stands_below_the_runs_with_its_best_trial() -> None:
    tuning = RecordedTuning(
        run="tune-1a2b",
        created_at=NOW,
        source="sample",
        vs="usd",
        granularity="daily",
        coins=("bitcoin",),
        start=NOW,
        end=NOW,
        trials=40,
        best="tune lightgbm trial 7: num_leaves 8",
        score=0.981234,
    )
    text = lines(runs_screen(RunsDocument(path="runs", runs=(), tunings=(tuning,))))
    assert "No backtest has been recorded yet" in text
    for words in ("tune-1a2b", "40", "0.9812", "tune lightgbm trial 7"):
        assert words in text
