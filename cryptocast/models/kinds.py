"""The table of kinds: adding a model is one module and one line here."""

from typing import Final

from cryptocast.config import Config
from cryptocast.errors import UsageError
from cryptocast.models.base import Forecaster, Learner

__all__ = ["ALL_KINDS", "TRAINABLE", "forecaster_type", "learner"]

# Kinds that a training fits and registers, in the order of the ladder that serving falls down.
TRAINABLE: Final = ("lightgbm", "lstm", "ml_ensemble")
ALL_KINDS: Final = ("baseline", "lightgbm", "lstm", "ml_ensemble")


def learner(kind: str, config: Config) -> Learner:
    """The learner of a kind with its section of the settings. Modules load on demand: LightGBM costs a second.

    Raises UsageError for a kind that there is not.
    """
    if kind == "baseline":
        from cryptocast.models.baseline import BaselineLearner

        return BaselineLearner()
    if kind == "lightgbm":
        from cryptocast.models.boosting import LightGBMLearner
        from cryptocast.models.selective import Selective

        return Selective(LightGBMLearner(config.lightgbm), config.features.max_correlation)
    if kind == "lstm":
        from cryptocast.models.lstm import LSTMLearner

        return LSTMLearner(config.lstm)
    if kind == "har":
        from cryptocast.models.har import HARLearner

        return HARLearner()
    if kind == "ml_ensemble":
        from cryptocast.models.stacking import StackLearner

        settings = config.ml_ensemble
        return StackLearner({name: learner(name, config) for name in settings.members}, settings.temperature)
    raise _unknown(kind)


def forecaster_type(kind: str) -> type[Forecaster]:
    """The class that loads a saved model of the kind. Raises as `learner` does."""
    if kind == "baseline":
        from cryptocast.models.baseline import BaselineForecaster

        return BaselineForecaster
    if kind == "lightgbm":
        from cryptocast.models.boosting import LightGBMForecaster

        return LightGBMForecaster
    if kind == "lstm":
        from cryptocast.models.lstm import LSTMForecaster

        return LSTMForecaster
    if kind == "har":
        from cryptocast.models.har import HARForecaster

        return HARForecaster
    if kind == "ml_ensemble":
        from cryptocast.models.stacking import StackForecaster

        return StackForecaster
    raise _unknown(kind)


def _unknown(kind: str) -> UsageError:
    return UsageError(f"There is no model {kind!r}. Choose among {', '.join(ALL_KINDS)}.")
