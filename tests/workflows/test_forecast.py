"""The forecaster of a process that lives long: what it keeps, and what it lets go."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from cryptocast.registry import Registry, Version
from cryptocast.workflows import forecast
from cryptocast.workflows.archives import import_archive
from cryptocast.workflows.forecast import Forecaster
from tests.registry.golden_rows import GOLDEN
from tests.registry.registry_fits import NOW
from tests.workflows.test_backtest import context


class Counting:
    """A registry in which every fit has the same files; asked: the fits that were read, in order."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files, self.asked = files, list[str]()

    def load_files(self, fit_id: str) -> Mapping[str, bytes]:
        self.asked.append(fit_id)
        return self.files


class Fit:
    """What is asked of a version when its model is loaded."""

    def __init__(self, fit_id: str) -> None:
        self.fit_id, self.manifest = fit_id, self
        self.kind = "lightgbm"


def test_the_models_asked_last_are_kept_and_the_others_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "MAX_MODELS", 2)
    registry = Registry.open(tmp_path)
    report = import_archive(registry, GOLDEN / "lightgbm.zip", dry_run=False, who="ada", now=NOW)
    counting, used = Counting(registry.load_files(report.fit_id)), context(tmp_path)
    forecaster = Forecaster(used)
    for fit_id in ("a", "b", "a", "c", "a", "b"):
        forecaster.on(used)._load(cast("Registry", counting), cast("Version", Fit(fit_id)))
    assert counting.asked == ["a", "b", "c", "b"]  # c drove out b, not a, which had been asked again
    assert len(forecaster._loaded) == 2
