"""torch is for training alone: what was learned forecasts where it cannot be imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from cryptocast.errors import NotInstalledError
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Learner
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.har import HARLearner
from cryptocast.models.lstm import LSTMLearner
from cryptocast.models.stacking import StackLearner
from tests.models.lstm.conftest import RUN, TINY

ROOT = Path(__file__).parents[3]
WITHOUT_TORCH = """
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

class Refusal:
    def find_spec(self, name, *_):
        return ModuleSpec(name, self) if name.partition(".")[0] == "torch" else None

    def create_module(self, _):
        raise ImportError("there is no torch here")

sys.meta_path.insert(0, Refusal())
from tests.registry.test_golden import test_an_artefact_of_the_first_release_forecasts_what_it_did as same
for kind in ("lstm", "ml_ensemble"):
    same(kind, Path(sys.argv[1]) / kind)
print([name for name in ("torch", "lightgbm", "pandas", "sklearn") if name in sys.modules])
"""


def test_what_torch_learned_answers_the_same_where_importing_it_is_an_error(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == "[]"


def test_without_torch_nothing_is_learned_and_an_ensemble_goes_on_without_it(
    small: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryptocast.extras.is_there", lambda _: False)
    with pytest.raises(NotInstalledError, match=r"torch, not installed here.*pip install 'cryptocast\[lstm\]'"):
        LSTMLearner(TINY).fit(small, stop=None, rounds=None, seed=3, run=RUN)
    members: dict[str, Learner] = {"baseline": BaselineLearner(), "har": HARLearner(), "lstm": LSTMLearner(TINY)}
    made = StackLearner(members).fit(small, stop=None, rounds=None, seed=3, run=RUN)
    assert tuple(made.members) == ("baseline", "har")
    assert "torch" in made.weights.dropped["lstm"]
