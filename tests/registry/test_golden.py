"""Artefacts of the first release: they load and forecast the same, from now on for ever.

The files in golden/ are made by make_golden.py, once. When this test fails, the code has to learn to read them again.
"""

from pathlib import Path

import numpy as np
import pytest

from cryptocast.kinds import TRAINABLE
from cryptocast.models.boosting import LightGBMForecaster
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.models.kinds import forecaster_type
from cryptocast.registry import Registry
from cryptocast.workflows.lifecycle.archives import import_archive
from tests.registry.golden_rows import GOLDEN, KINDS, read_rows
from tests.registry.registry_fits import NOW

# Trees only compare and add, so theirs are the same bits everywhere. Around them stand exp and log, whose last place
# differs between processors; views and networks multiply matrices, in the order that their libraries like best.
TOLERANCE = {"lightgbm": 1e-11, "lstm": 1e-6, "ml_ensemble": 1e-6}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def loaded(kind: str, folder: Path) -> CalibratedForecaster:
    """Through the door that every artefact comes in by: checked, registered, read back by its hashes."""
    registry = Registry.open(folder)
    report = import_archive(registry, GOLDEN / f"{kind}.zip", dry_run=False, who="ada", now=NOW)
    assert registry.verify() == ()
    return CalibratedForecaster.load(registry.load_files(report.fit_id), forecaster_type(kind))


def test_an_artefact_of_the_first_release_forecasts_what_it_did(kind: str, tmp_path: Path) -> None:
    made = loaded(kind, tmp_path).predict(read_rows(GOLDEN / "rows.npz"))
    with np.load(GOLDEN / "answers.npz", allow_pickle=False) as answers:
        for name in ("values", "volatility", "p_up"):
            expected = answers[f"{kind}.{name}"]
            assert np.isfinite(expected).all()
            assert name != "p_up" or (expected != 0.5).any()  # a view is among what is kept
            np.testing.assert_allclose(getattr(made, name), expected, rtol=TOLERANCE[kind], atol=1e-15)


def test_the_trees_of_the_first_release_add_up_to_the_same_bits(tmp_path: Path) -> None:
    model = loaded("lightgbm", tmp_path).inner
    assert isinstance(model, LightGBMForecaster)
    rows = read_rows(GOLDEN / "rows.npz")
    features = np.ascontiguousarray(rows.features[:, [rows.feature_names.index(name) for name in model.feature_names]])
    found = [b.raw(features) for b in model.boosters if b is not None]
    with np.load(GOLDEN / "answers.npz", allow_pickle=False) as answers:
        np.testing.assert_array_equal(np.array(found), answers["lightgbm.trees"])


def test_every_kind_that_can_be_registered_has_its_golden_artefact() -> None:
    assert set(KINDS) == set(TRAINABLE)
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 500_000
