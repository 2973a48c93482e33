"""What two fits share when one is the other on newer data."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.config import Config, EnsembleConfig, LightGBMConfig, StoreConfig, TrainConfig
from cryptocast.workflows import recipes
from cryptocast.workflows.recipes import calibration_of, fit_settings, recipe_of, threads_of


def test_the_recipe_of_an_ensemble_is_that_of_its_members_too() -> None:
    one = Config(ml_ensemble=EnsembleConfig(members=("baseline", "har")))
    other = msgspec.structs.replace(one, lightgbm=LightGBMConfig(rounds=7))
    assert recipe_of(other, "ml_ensemble", "f") == recipe_of(one, "ml_ensemble", "f")
    wide, other_wide = (msgspec.structs.replace(c, ml_ensemble=EnsembleConfig()) for c in (one, other))
    assert recipe_of(other_wide, "ml_ensemble", "f") != recipe_of(wide, "ml_ensemble", "f")


def test_the_recipe_of_an_ensemble_names_the_members_that_can_be_fitted_here(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit_settings(Config(), "ml_ensemble")
    assert whole["ml_ensemble.members"] == "har,lightgbm,lstm"  # the baseline costs a tenth of a point
    monkeypatch.setattr(recipes, "is_installed", lambda kind: kind != "lstm")
    part = fit_settings(Config(), "ml_ensemble")
    assert part["ml_ensemble.members"] == "har,lightgbm"
    assert "lstm.epochs" in whole.keys() - part.keys()
    listed = Config(ml_ensemble=EnsembleConfig(members=("har", "lightgbm")))
    assert recipe_of(listed, "ml_ensemble", "f") == recipe_of(Config(), "ml_ensemble", "f")


@given(seed=st.integers(0, 99), threads=st.integers(0, 9), blocks=st.integers(2, 9))
def test_luck_and_speed_are_in_no_recipe_and_what_calibrates_is(seed: int, threads: int, blocks: int) -> None:
    lucky = Config(train=TrainConfig(seed=seed, threads=threads), store=StoreConfig(path=Path("elsewhere")))
    assert recipe_of(lucky, "lightgbm", "f") == recipe_of(Config(), "lightgbm", "f")
    calibrated = Config(train=TrainConfig(blocks=blocks))
    same = blocks == Config().train.blocks
    assert (recipe_of(calibrated, "lightgbm", "f") == recipe_of(Config(), "lightgbm", "f")) is same
    assert calibration_of(calibrated)["block_count"] == blocks
    assert threads_of(lucky) >= 1


def test_a_kind_without_settings_has_the_common_ones() -> None:
    sections = {name.partition(".")[0] for name in fit_settings(Config(), "har")}
    assert sections <= {"features", "split", "train", "har"}
