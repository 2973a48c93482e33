"""What moves a forecast, in SHAP values of the recent bars."""

from pathlib import Path

from cryptocast.workflows.context import Selection
from cryptocast.workflows.features import (
    feature_importance,
)
from cryptocast.workflows.training.train import Order, train
from tests.workflows.test_features import OWN, context


def test_shap_values_that_cannot_be_had_leave_the_gain(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    with_file = context(tmp_path, file=str(tmp_path / "mine.py"))
    train(with_file, Order(Selection(("bitcoin",)), model="lightgbm", horizons=(1,)))
    told = feature_importance(context(tmp_path), Selection(("bitcoin",)))
    assert told.shap_note is not None
    assert "my_gap" in told.shap_note
    assert told.features[0].shap is None
    assert told.features[0].gain > 0.0
