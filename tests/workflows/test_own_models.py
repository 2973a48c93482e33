"""A model in forty lines of the user's own: trained, walked, promoted, served, and refused where its code is not."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryptocast.config import Config, DataConfig, ModelsConfig, StoreConfig, TrainConfig, load_config
from cryptocast.errors import ConfigError, ModelError, RegistryError, UsageError
from cryptocast.market import Market
from cryptocast.serving import create_app
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest
from cryptocast.workflows.backtesting.rerun import rerun
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.feature_sets import outdated_versions
from cryptocast.workflows.forecast import ForecastMaker, Request
from cryptocast.workflows.lifecycle.archives import export_version, import_archive
from cryptocast.workflows.own_models import check_kind, learner, names_of_own
from cryptocast.workflows.recipes import recipe_of
from cryptocast.workflows.training.outdated import outdated_fits
from cryptocast.workflows.training.train import Order, train
from tests.serving.serving_app import get
from tests.workflows.backtesting.small_runs import NOW

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
MARKET = Market("sample", "usd", "daily")
BITCOIN = Selection(("bitcoin",))
WALK = BacktestOrder(BITCOIN, walk_forward=True, models=("weekday",), horizons=(1, 7), refit_every=364)


def example() -> str:
    (code,) = re.findall(r"```python\n(# my_model\.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(code)


def context(folder: Path, file: str | None = "my_model.py", **sections: Any) -> Context:
    """The example's file lies in the folder; file None: the settings name none."""
    if file is not None and not (folder / file).exists():
        (folder / file).write_text(example(), encoding="utf-8")
    config = Config(
        store=StoreConfig(path=folder / "data"),
        data=DataConfig(coins=("bitcoin",), source="sample"),
        train=TrainConfig(blocks=2, threads=1, models=("weekday",)),
        models=ModelsConfig(file="" if file is None else str(folder / file)),
    )
    return Context(config=msgspec.structs.replace(config, **sections), wall_clock=lambda: NOW, who="test")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the example, trained on the sample with the audit, and its walk."""
    folder = tmp_path_factory.mktemp("own")
    train(context(folder), Order(BITCOIN, horizons=(1, 7)))
    backtest(context(folder), WALK)
    return folder


@pytest.fixture
def own(store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "own"))


def test_the_example_has_no_more_than_forty_lines_of_code() -> None:
    lines = [line for line in example().splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 40


def test_it_is_trained_backtested_promoted_and_served(own: Path) -> None:
    here = context(own)
    version = here.registry().get("bitcoin/weekday:1", MARKET)
    assert version.aliases == ("production", "challenger")
    assert version.manifest.recipe == recipe_of(here.config, "weekday", version.manifest.feature_hash)
    (evidence,) = here.registry().evidence(kind="weekday")
    assert evidence.recipe == version.manifest.recipe
    # Another version, promoted by hand, answers everywhere.
    report = train(context(own, train=TrainConfig(blocks=3, threads=1)), Order(BITCOIN, "weekday", horizons=(1, 7)))
    assert [row.version for row in report.models if row.kind == "weekday"] == [2]
    here.registry().promote(version.key, 2, who="test", now=NOW, why="a test")
    said = ForecastMaker(here).forecast(Request(BITCOIN, "weekday", (1, 7))).forecasts[0]
    app = create_app(here, refresh=False)
    served = msgspec.json.decode(get(app, "/forecasts?ids=bitcoin&model=weekday&horizons=1,7").content)
    (one,) = served["forecasts"]
    assert (said.model_used, said.version, said.fallback_reason) == ("weekday", 2, None)
    assert (one["model_used"], one["version"], one["fallback_reason"]) == ("weekday", 2, None)
    assert one["horizons"][0]["volatility"] == pytest.approx(said.horizons[0].volatility, rel=1e-6)
    described = msgspec.json.decode(get(app, "/openapi.json").content)
    model = next(p for p in described["paths"]["/forecasts"]["get"]["parameters"] if p["name"] == "model")
    assert "weekday" in model["schema"]["enum"]


def test_walks_go_on_other_processes_and_are_repeated(own: Path, tmp_path: Path) -> None:
    here = context(own)
    expected = backtest(here, WALK)
    spread = backtest(context(own), replace(WALK, fresh=True, engine=Engine(jobs=2)))
    assert spread.rows == expected.rows
    assert rerun(here, Path(expected.run)).same
    (own / "my_model.py").write_text(example().replace("50 * mean", "60 * mean"), encoding="utf-8")
    with pytest.raises(ModelError, match="had models of a file of its own"):
        rerun(context(own), Path(expected.run))
    assert backtest(context(own), WALK).run != expected.run


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "There is no model file"),
        ("MODELS = ()", "MODELS is tuple"),
        (example().replace("50 * mean", "60 * mean"), "has changed since it was fitted"),
        (example().replace('"weekday"', '"other"'), "has no such model"),
        ("unnamed", "[models] file names no file now"),
    ],
    ids=["missing", "broken", "changed", "renamed", "unnamed"],
)
def test_without_its_code_the_next_version_answers_and_says_why(own: Path, text: str | None, words: str) -> None:
    here = context(own, file=None if text == "unnamed" else "my_model.py")
    (own / "my_model.py").unlink() if text is None else (own / "my_model.py").write_text(text, encoding="utf-8")
    maker = ForecastMaker(here)
    said = maker.forecast(Request(BITCOIN, "auto", (1, 7))).forecasts[0]
    assert said.model_used == "baseline"
    assert said.fallback_reason is not None
    assert (said.fallback_reason.code, said.fallback_reason.version) == ("own_model", "bitcoin/weekday:1")
    assert words in (said.fallback_reason.detail or "")
    with pytest.raises(ModelError, match=re.escape(words)):
        maker.forecast(Request(BITCOIN, horizons=(1, 7), version="bitcoin/weekday:1"))
    served = msgspec.json.decode(get(create_app(here, refresh=False), "/forecasts?ids=bitcoin&horizons=1,7").content)
    assert served["forecasts"][0]["fallback_reason"]["code"] == "own_model"
    assert [version.name for version in outdated_versions(here.registry(), here.config)] == ["bitcoin/weekday:1"]


def test_a_changed_file_is_fitted_anew_by_outdated_and_takes_its_place(own: Path) -> None:
    (own / "my_model.py").write_text(example().replace("50 * mean", "60 * mean"), encoding="utf-8")
    here = context(own)
    report = train(here, Order(outdated=True))
    (row,) = [row for row in report.models if row.kind == "weekday"]
    assert (row.version, row.aliases) == (2, ("production", "challenger"))
    assert outdated_versions(here.registry(), here.config) == ()


def test_a_model_whose_file_is_gone_does_not_keep_others_from_being_fitted_anew(own: Path) -> None:
    here = context(own, file=None)
    assert [version.name for version in outdated_versions(here.registry(), here.config)] == ["bitcoin/weekday:1"]
    assert outdated_fits(here.registry(), here.config) == ()


def test_an_archive_carries_no_code_and_is_refused_where_the_file_is_not(own: Path, tmp_path: Path) -> None:
    here, path = context(own), tmp_path / "weekday.zip"
    registry = here.registry()
    export_version(registry, registry.get("bitcoin/weekday:1", MARKET), path, whole_fit=False, overwrite=False)
    assert b"import numpy" not in path.read_bytes()
    other = context(tmp_path, file=None)
    with pytest.raises(RegistryError, match=r"is refused: weekday is a model of a file of its own"):
        import_archive(other.registry(), path, config=other.config, dry_run=False, who="eve", now=NOW)
    named = context(tmp_path)
    report = import_archive(named.registry(), path, config=named.config, dry_run=False, who="eve", now=NOW)
    assert report.kind == "weekday"


def test_a_setting_or_command_that_names_a_model_that_there_is_not_says_the_choices(tmp_path: Path) -> None:
    here = context(tmp_path)
    with pytest.raises(UsageError, match=r"There is no model 'prophet'.*ml_ensemble, weekday"):
        check_kind("prophet", here.config)
    with pytest.raises(UsageError, match="weekday"):
        ForecastMaker(here).forecast(Request(BITCOIN, "prophet"))
    assert learner("weekday", here.config).kind == "weekday"
    assert names_of_own(here.config) == ("weekday",)
    assert names_of_own(context(tmp_path, file=None).config) == ()
    settings = tmp_path / "config.toml"
    settings.write_text('[train]\nmodels = ["lightgbm", "weekday"]\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"\[train\] models item 2 must be one of lightgbm, .* found 'weekday'"):
        load_config(settings)
    settings.write_text('[models]\nfile = "my_model.py"\n[train]\nmodels = ["lightgbm", "weekday"]\n', encoding="utf-8")
    assert load_config(settings).models.file == str(tmp_path / "my_model.py")
    settings.write_text('[models]\nfile = "my_model.py"\n[train]\nmodels = ["baseline"]\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="found 'baseline'"):
        load_config(settings)
    settings.write_text('[forecast]\nmodel = "weekday"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"\[forecast\] model must be one of auto, .* found 'weekday'"):
        load_config(settings)
