"""What a search tried, counted."""

from types import SimpleNamespace
from typing import Any

from cryptocast.cli.screens.tune import _counted


def test_the_trials_are_counted_with_those_that_came_to_nothing() -> None:
    states = ["complete", "pruned", "pruned", "failed"]
    model: Any = SimpleNamespace(trials=[SimpleNamespace(state=state) for state in states], earlier_trials=2)
    assert _counted(model) == "4 trials (2 pruned, 1 failed, 2 of earlier runs)"
