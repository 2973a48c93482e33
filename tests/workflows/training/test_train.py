"""The story of a training: which kinds, which coins, and what is said of those left out."""

from cryptocast.config import Config, TrainConfig
from cryptocast.workflows.training.train import kinds_of


def test_all_is_what_the_settings_name_the_ensemble_last() -> None:
    assert kinds_of("all", Config()) == ("baseline", "lightgbm", "lstm", "ml_ensemble")
    few = Config(train=TrainConfig(models=("ml_ensemble", "lightgbm")))
    assert kinds_of("all", few) == ("baseline", "lightgbm", "ml_ensemble")
