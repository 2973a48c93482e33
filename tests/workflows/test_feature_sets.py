"""A version answers with the features that it was fitted on, or says in one line why it cannot."""

from pathlib import Path

import pytest

from cryptocast.config import Config
from cryptocast.errors import ModelError
from cryptocast.market import Market
from cryptocast.registry import Registry
from cryptocast.workflows.feature_sets import feature_set_of
from cryptocast.workflows.lifecycle.archives import import_archive
from tests.registry.golden_rows import GOLDEN
from tests.registry.registry_fits import NOW


def test_a_version_of_a_release_that_computed_its_features_differently_says_how_it_is_trained_anew(
    tmp_path: Path,
) -> None:
    registry = Registry.open(tmp_path)
    import_archive(registry, GOLDEN / "lightgbm.zip", dry_run=False, who="ada", now=NOW)
    version = registry.get("bitcoin/lightgbm:1", Market("simulated", "usd", "daily"))
    with pytest.raises(ModelError) as caught:
        feature_set_of(version, Config())
    assert str(caught.value) == (
        "it was fitted on features that this release computes differently; train anew: cryptocast train --outdated"
    )
