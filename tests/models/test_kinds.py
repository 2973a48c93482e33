"""The kinds of the table, loaded when they are asked for."""

import subprocess
import sys

import pytest

from cryptocast.config import Config
from cryptocast.errors import UsageError
from cryptocast.kinds import KINDS
from cryptocast.models.kinds import forecaster_type, learner


@pytest.mark.parametrize("kind", KINDS)
def test_learner_and_forecaster_are_of_the_kind(kind: str) -> None:
    assert learner(kind, Config()).kind == kind
    assert forecaster_type(kind).kind == kind


def test_an_unknown_kind_is_a_mistake_of_the_user() -> None:
    for load in (lambda: learner("prophet", Config()), lambda: forecaster_type("prophet")):
        with pytest.raises(UsageError, match="There is no model 'prophet'"):
            load()


def test_a_kind_without_trees_or_networks_loads_neither() -> None:
    code = (
        "import sys\n"
        "from cryptocast.config import Config\n"
        "from cryptocast.models.kinds import learner\n"
        "learner('har', Config())\n"
        "print([name for name in ('lightgbm', 'torch', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
