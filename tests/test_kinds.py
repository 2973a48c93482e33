"""The table of the kinds of models: what follows from it, and what a newcomer writes to add one."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from cryptocast.config import OF_KINDS, RANGES, TUNABLE, Config, section_type
from cryptocast.kinds import ASKABLE, AVERAGED, KINDS, LIBRARIES, MEMBERS, TRAINABLE, is_installed
from cryptocast.models.base import Learner
from cryptocast.models.kinds import forecaster_type, learner
from tests.cli.commands import SETTINGS

ROOT = Path(__file__).resolve().parents[1]

# All that a new kind is: a module, a section of the settings, a line in the table.
MODULE = '''"""`toy`: the baseline, wider or narrower by a factor."""

from dataclasses import dataclass, replace
from typing import ClassVar, Final

import msgspec

from cryptocast.models.base import Forecast, Rounds
from cryptocast.models.baseline import BaselineForecaster, BaselineLearner


@dataclass(frozen=True, slots=True)
class ToyForecaster:
    baseline: BaselineForecaster
    width: float
    kind: ClassVar[str] = "toy"
    rounds: Rounds = Rounds()

    def predict(self, rows):
        made = self.baseline.predict(rows)
        return replace(made, values=made.values * self.width, volatility=made.volatility * self.width)

    def save(self):
        return {"toy.json": msgspec.json.encode(self.width), **self.baseline.save()}

    @classmethod
    def load(cls, files):
        return cls(BaselineForecaster.load(files), msgspec.json.decode(files["toy.json"], type=float))


@dataclass(frozen=True, slots=True)
class ToyLearner:
    width: float
    kind: ClassVar[str] = "toy"
    calibrate: ClassVar[bool] = True

    def fit(self, train, *, stop, rounds, seed, run):
        return ToyForecaster(BaselineLearner().fit(train), self.width)


FORECASTER: Final = ToyForecaster


def learner(config):
    return ToyLearner(config.toy.width)
'''
SECTION = '''class ToyConfig(Section, frozen=True, kw_only=True):
    """The toy."""

    width: Annotated[float, Meta(gt=0.0, le=10.0), Range(0.5, 2.0, log=True)] = 1.0


'''
FIELD = "    toy: ToyConfig = ToyConfig()\n"
LINE = '    Kind("toy", "toy"),\n'

# What is asked of it, in a process that imports the package with the toy in it.
SCRIPT = """
import contextlib, io, os, sys
from pathlib import Path

import msgspec

import cryptocast
from cryptocast.cli import main
from cryptocast.config import TUNABLE, load_config
from cryptocast.market import Market
from cryptocast.serving import create_app
from cryptocast.workflows.context import Context
from tests.serving.serving_app import get

assert Path(cryptocast.__file__).parent == Path(sys.argv[1]), cryptocast.__file__


def said(*arguments):
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(out):
        try:
            main(arguments)
        except SystemExit as end:
            assert not end.code, (arguments, end.code)
    out.flush()
    return out.buffer.getvalue().decode()


def json(*arguments):
    return msgspec.json.decode(said(*arguments, "--json"))


first = json("train", "bitcoin", "--model", "toy")
os.environ["CRYPTOCAST_TOY__WIDTH"] = "1.3"
second = json("train", "bitcoin", "--model", "toy")
said("registry", "promote", "bitcoin", "toy", "2", "--force", "--reason", "a test")
made = json("forecast", "bitcoin", "--model", "toy")
tested = json("backtest", "bitcoin", "--model", "toy")
os.environ["CRYPTOCAST_ML_ENSEMBLE__MEMBERS"] = "baseline,toy"
stacked = json("train", "bitcoin", "--model", "ml_ensemble")
config = load_config(None)
app = create_app(Context(config), refresh=False)
served = msgspec.json.decode(get(app, "/forecasts?ids=bitcoin&model=toy").content)
refused = msgspec.json.decode(get(app, "/forecasts?ids=bitcoin&model=prophet").content)
described = msgspec.json.decode(get(app, "/openapi.json").content)
from cryptocast.market import Market
manifest = Context(config).registry().get("bitcoin/toy:2", Market("sample", "usd", "daily")).manifest
print(msgspec.json.encode({
    "trained": [row for report in (first, second) for row in report["models"] if row["kind"] == "toy"],
    "forecast": made["forecasts"][0],
    "backtest": tested["rows"],
    "ensemble": [row["kind"] for row in stacked["models"]],
    "served": served["forecasts"][0],
    "refused": refused["allowed"],
    "parameters": described["paths"]["/forecasts"]["get"]["parameters"],
    "settings": manifest.settings,
    "help": said("forecast", "--help"),
    "default": config.train.models,
    "tunable": TUNABLE,
}).decode())
"""


def with_toy(folder: Path) -> Path:
    """A copy of the package with the toy added."""
    package = Path(
        shutil.copytree(ROOT / "cryptocast", folder / "cryptocast", ignore=shutil.ignore_patterns("__pycache__"))
    )
    (package / "models" / "toy.py").write_text(MODULE, encoding="utf-8")
    before(package / "config.py", "class EnsembleConfig(", SECTION)
    before(package / "config.py", "    ml_ensemble: EnsembleConfig = ", FIELD)
    before(package / "kinds.py", '    Kind("ml_ensemble", ', LINE)
    return package


def before(path: Path, place: str, text: str) -> None:
    whole = path.read_text(encoding="utf-8")
    assert whole.count(place) == 1, place
    path.write_text(whole.replace(place, text + place), encoding="utf-8")


def test_a_new_kind_is_one_module_its_settings_and_one_line(tmp_path: Path) -> None:
    package = with_toy(tmp_path)
    (tmp_path / "config.toml").write_text(SETTINGS.format(rounds=5).replace('models = ["lightgbm"]\n', ""), "utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CRYPTOCAST_")}
    paths = os.pathsep.join((str(tmp_path), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(package)],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = msgspec.json.decode(done.stdout.splitlines()[-1])

    assert [(row["version"], row["aliases"]) for row in found["trained"]] == [
        (1, ["production", "challenger"]),
        (2, ["challenger"]),
    ]
    assert found["settings"]["toy.width"] == 1.3
    assert (found["forecast"]["model_used"], found["forecast"]["version"]) == ("toy", 2)
    assert (found["served"]["model_used"], found["served"]["version"]) == ("toy", 2)
    volatility = [[row["volatility"] for row in found[where]["horizons"]] for where in ("served", "forecast")]
    assert volatility[0] == pytest.approx(volatility[1], rel=1e-5)
    assert {row["model"] for row in found["backtest"]} >= {"baseline", "toy"}
    assert "ml_ensemble" in found["ensemble"]
    model = next(one for one in found["parameters"] if one["name"] == "model")
    assert sorted(model["schema"]["enum"]) == sorted(("auto", *ASKABLE, "toy"))
    assert found["refused"] == "auto, baseline, lightgbm, lstm, toy, ml_ensemble, shipped"
    assert "toy" in found["help"]
    assert found["default"] == ["lightgbm", "lstm", "toy", "ml_ensemble"]
    assert found["tunable"] == [*TUNABLE, "toy"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_module_that_says_its_name(kind: str) -> None:
    made: Learner = learner(kind, Config())
    assert (made.kind, forecaster_type(kind).kind) == (kind, kind)


def test_the_literals_of_the_settings_are_those_of_the_table() -> None:
    members = next(field for field in msgspec.structs.fields(section_type("ml_ensemble")) if field.name == "members")
    allowed = {
        name: get_args(get_args(kind)[0] if name[1] in ("models", "members") else kind)
        for name, kind in {**OF_KINDS, ("ml_ensemble", "members"): members.type}.items()
    }
    assert allowed == {
        ("forecast", "model"): ("auto", *ASKABLE),
        ("train", "models"): TRAINABLE,
        ("ml_ensemble", "members"): MEMBERS,
        ("backtest", "models"): (*ASKABLE, "mix"),
    }


def test_only_settings_of_kinds_are_tuned_each_in_bounds_that_its_setting_allows() -> None:
    assert set(TUNABLE) <= set(KINDS)
    for kind, ranges in RANGES.items():
        for known in ranges:
            ends = [msgspec.structs.replace(getattr(Config(), kind), **{known.name: known.at(s)}) for s in (0.0, 1.0)]
            assert [msgspec.convert(msgspec.to_builtins(end), type(end)) for end in ends] == ends


def test_an_ensemble_and_nothing_else_has_members() -> None:
    config = Config()
    assert {kind: config.members(kind) for kind in KINDS if config.members(kind)} == {"ml_ensemble": AVERAGED}
    assert LIBRARIES == ("lightgbm", "numpy", "polars", "scipy", "torch")


def test_a_kind_is_installed_with_the_libraries_that_it_learns_with(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(is_installed(kind) for kind in KINDS)
    monkeypatch.setitem(KINDS, "lstm", dataclasses.replace(KINDS["lstm"], libraries=("no-such-library",)))
    assert not is_installed("lstm")
    assert is_installed("har")
