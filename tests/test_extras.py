"""What an installation may go without."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cryptocast import extras
from cryptocast.cli.app import app
from cryptocast.config import Config, EnsembleConfig, StoreConfig, TrainConfig
from cryptocast.errors import NotInstalledError
from cryptocast.extras import EXTRAS, REPORT, check_installed
from cryptocast.kinds import check_learns
from cryptocast.workflows.backtesting.backtest import BacktestOrder, run_backtest
from cryptocast.workflows.backtesting.contenders import contenders, left_out
from cryptocast.workflows.backtesting.report_pages import RunFiles
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.doctor import examine
from cryptocast.workflows.picture_files import check_picture_path
from cryptocast.workflows.training.train import Order, train

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
FOR_DEVELOPERS = {"all", "test", "docs", "benchmarks", "peers"}


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `pip install cryptocast`."""
    libraries = {library for extra in EXTRAS.values() for library in extra.libraries}
    real = extras.is_there
    for module in ("extras", "kinds", "workflows.doctor"):
        monkeypatch.setattr(f"cryptocast.{module}.is_there", lambda name: name not in libraries and real(name))


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    declared = project["optional-dependencies"]
    assert EXTRAS.keys() == declared.keys() - FOR_DEVELOPERS
    for extra in EXTRAS.values():
        assert all(any(line.startswith(name) for line in declared[extra.name]) for name in extra.libraries), extra
        assert not any(line.startswith(extra.libraries) for line in project["dependencies"]), extra
    (everything,) = declared["all"]
    assert set(everything.removeprefix("cryptocast[").rstrip("]").split(",")) == EXTRAS.keys()


def test_what_is_missing_is_named_with_the_command_that_brings_it(light: None) -> None:
    with pytest.raises(NotInstalledError) as raised:
        check_installed(REPORT, "Reports are drawn with")
    assert str(raised.value) == (
        "Reports are drawn with altair and vl-convert-python, not installed here. "
        "Get it: pip install 'cryptocast[report]'."
    )


def test_training_leaves_lstm_out_with_one_line_that_names_its_extra(light: None, tmp_path: Path) -> None:
    config = Config(store=StoreConfig(path=tmp_path), train=TrainConfig(models=("lstm",), audit=False))
    report = train(Context(config), Order(Selection(("bitcoin",), "sample")))
    assert {model.kind for model in report.models} == {"baseline"}
    assert sum("lstm was not trained" in note and "'cryptocast[lstm]'" in note for note in report.notes) == 1


@pytest.mark.parametrize("command", ["train", "tune", "backtest"])
def test_lstm_asked_for_by_name_fails_before_any_work(light: None, tmp_path: Path, command: str) -> None:
    said = CliRunner().invoke(
        app,
        [command, "bitcoin", "--model", "lstm", "--source", "sample"],
        env={"CRYPTOCAST_STORE__PATH": str(tmp_path / "data")},
    )
    assert isinstance(said.exception, NotInstalledError), said.output
    assert "'cryptocast[lstm]'" in str(said.exception)
    assert not (tmp_path / "data").exists()


def test_an_ensemble_alone_says_once_that_it_goes_on_without_lstm(
    light: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = EnsembleConfig(members=("har", "lstm"))
    config = Config(store=StoreConfig(path=tmp_path), train=TrainConfig(audit=False), ml_ensemble=members)
    report = train(Context(config), Order(Selection(("bitcoin",), "sample"), model="ml_ensemble"))
    assert sum("ml_ensemble goes on without lstm: lstm learns with torch" in note for note in report.notes) == 1
    assert "lstm" not in caplog.text


@pytest.mark.parametrize("walk", [False, True])
def test_a_backtest_says_once_what_its_ensemble_goes_on_without(
    light: None, tmp_path: Path, caplog: pytest.LogCaptureFixture, walk: bool
) -> None:
    config = Config(store=StoreConfig(path=tmp_path), ml_ensemble=EnsembleConfig(members=("har", "lstm")))
    order = BacktestOrder(
        Selection(("bitcoin",), "sample"),
        models=("ml_ensemble",),
        walk_forward=walk,
        start=datetime(2019, 9, 1, tzinfo=UTC),
    )
    run = run_backtest(Context(config), order)
    (said,) = [note for note in run.report.notes if "lstm" in note]
    assert said.startswith("lstm was left out: lstm learns with torch")
    assert "'cryptocast[lstm]'" in said
    assert "lstm" not in caplog.text


def test_only_what_would_have_learned_is_told_to_be_left_out(light: None) -> None:
    (said,) = left_out(Config(), ("all", "lightgbm"))
    assert said.startswith("lstm was left out")
    assert left_out(Config(), ("ml_ensemble",)) == (said,)
    assert left_out(Config(), ("lightgbm", "mix", "shipped")) == ()


def test_all_contenders_are_those_that_can_learn_here(light: None) -> None:
    assert "lstm" not in contenders(Config(), ("all",)).names
    with pytest.raises(NotInstalledError, match="lstm learns with torch"):
        contenders(Config(), ("lstm",))
    check_learns("lightgbm")


@pytest.mark.parametrize("files", [RunFiles(report=Path("a.html")), RunFiles(plot=Path("a.png"))])
def test_pages_and_pictures_are_refused_before_the_work(light: None, files: RunFiles) -> None:
    with pytest.raises(NotInstalledError, match=r"cryptocast\[report\]"):
        files.check()
    with pytest.raises(NotInstalledError, match=r"cryptocast\[report\]"):
        check_picture_path(Path("a.svg"))


def test_doctor_says_what_could_be_added(light: None, tmp_path: Path) -> None:
    report = examine(None, environ={}, folder=tmp_path)
    (check,) = [check for check in report.checks if check.name == "extras"]
    assert check.status == "ok"
    assert "lstm (trains lstm), report (draws reports and pictures)" in check.found
    assert check.next is not None
    assert "pip install 'cryptocast[lstm,report,dask,ccxt,postgres,compress]'" in check.next
