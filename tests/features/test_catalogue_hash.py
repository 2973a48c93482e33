"""The stored hashes are those that are computed. GOLDEN_FILES=write writes them anew after a change of a formula."""

import json
import os

import polars as pl
import pytest

from cryptocast.config import Config
from cryptocast.features import catalogue_hash as module
from cryptocast.features.builder import feature_hash, select_features
from cryptocast.features.catalogue import FEATURES
from cryptocast.features.catalogue_hash import FILE, basis, catalogue_hash, name_of
from cryptocast.workflows.pretrained import pretrained_fit

SHIPPED = pretrained_fit(Config())
SETS = (FEATURES, *([] if SHIPPED is None else [select_features(SHIPPED.features)]))


@pytest.fixture(autouse=True)
def forgotten() -> None:
    module._stored.cache_clear()


def test_the_stored_hashes_are_those_that_are_computed_now() -> None:
    hashes = {name_of(features): feature_hash(features) for features in SETS}
    content = json.dumps({"basis": basis(), "hashes": hashes}, indent=1) + "\n"
    if os.environ.get("GOLDEN_FILES") == "write":
        FILE.write_text(content, encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == content, "a formula or a library is another: GOLDEN_FILES=write"


def test_with_them_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = feature_hash(FEATURES)
    monkeypatch.setattr(module, "feature_hash", lambda _: pytest.fail("computed"))
    assert catalogue_hash(FEATURES) == expected


def test_another_release_of_polars_has_them_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polars.__version__", "99.0.0")
    monkeypatch.setattr(module, "feature_hash", lambda features: f"of {len(features)}")
    assert catalogue_hash(FEATURES) == f"of {len(FEATURES)}"
    assert pl.__version__ == "99.0.0"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"basis": 1}'])
def test_a_file_that_says_nothing_has_them_computed(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr("json.loads", lambda _: json.JSONDecoder().decode(content))
    monkeypatch.setattr(module, "feature_hash", lambda _: "computed")
    assert catalogue_hash(FEATURES) == "computed"


def test_features_that_are_not_in_the_file_are_computed() -> None:
    assert catalogue_hash(FEATURES[:2]) == feature_hash(FEATURES[:2])
