"""What a walk lost is kept beside it, and is what its evidence was counted from."""

from pathlib import Path

import msgspec
import pytest

from cryptocast.errors import DataError
from cryptocast.workflows.backtesting.backtest import backtest
from cryptocast.workflows.backtesting.losses import losses_of
from cryptocast.workflows.backtesting.run_folder import RUNS, RunFolder
from tests.workflows.backtesting.small_runs import WALK, context


def test_a_walk_keeps_the_losses_that_its_evidence_was_counted_from(tmp_path: Path) -> None:
    with_store = context(tmp_path)
    backtest(with_store, WALK)
    found = [row for row in with_store.registry().evidence(coin="") if row.kind == "lightgbm"]
    folder = RunFolder(with_store.config.store.path / RUNS / found[0].run)
    own, step = losses_of(folder, found[0])
    assert step == found[0].step_bars
    assert set(own["coin"].unique()) == {"bitcoin", "ethereum"}
    assert own["in_80"].mean() == pytest.approx(0.8, abs=0.15)
    assert losses_of(folder, msgspec.structs.replace(found[0], kind="baseline"))[0].height == own.height
    told = msgspec.structs.replace(found[0].scores[0], n=1)
    with pytest.raises(DataError, match="not those of its evidence"):
        losses_of(folder, msgspec.structs.replace(found[0], scores=(told,)))
