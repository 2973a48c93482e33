"""docs/features.md is what the catalogue says, and its example is a file that works."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.sample import load_sample
from cryptocast.features import audit
from cryptocast.features.builder import with_waves
from cryptocast.features.own import FeatureSet, with_own

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    found = importlib.util.spec_from_file_location("make_features", DOCS / "make_features.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def example(title: str, *series: str) -> FeatureSet:
    text = (DOCS / "features.md").read_text(encoding="utf-8")
    (code,) = re.findall(rf"```python\n(# {re.escape(title)}\n.*?)```", text, re.DOTALL)
    return with_own(code, title, dict.fromkeys(series, "file"))


def test_the_page_is_current(maker: ModuleType) -> None:
    written = (DOCS / "features.md").read_text(encoding="utf-8")
    assert written == maker.page(), "python docs/make_features.py writes it anew"


def test_the_example_of_own_features_passes_the_audit() -> None:
    found = example("my_features.py")
    own = [feature for feature in found.features if feature.name in found.own]
    assert len(own) == 3
    candles = load_sample("bitcoin").frame.tail(200)
    assert audit(candles, own, bar_us=BAR_US["daily"], cuts=3, seed=1).passed


def test_the_example_of_outside_series_passes_the_audit() -> None:
    found = example("my_outside.py", "dvol", "fear")
    own = [feature for feature in found.features if feature.name in found.own]
    assert (len(own), set(found.series)) == (3, {"dvol", "fear"})
    candles = with_waves(load_sample("bitcoin").frame.tail(200), own)
    assert audit(candles, own, bar_us=BAR_US["daily"], cuts=3, seed=1).passed


def test_the_example_of_a_leak_does_not() -> None:
    found = example("leaks.py")
    own = [feature for feature in found.features if feature.name in found.own]
    report = audit(load_sample("bitcoin").frame.tail(200), own, bar_us=BAR_US["daily"], cuts=3, seed=1)
    assert report.leaks == ("my_centre",)
