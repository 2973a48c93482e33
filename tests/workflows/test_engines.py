"""One contract, whoever does the work."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cryptocast.errors import DataError, UsageError
from cryptocast.workflows.engines import AHEAD, Engine, spread_on
from tests.workflows import engine_work


@pytest.mark.parametrize("engine", [Engine(), Engine(jobs=2)])
def test_results_come_in_the_order_of_the_jobs_and_few_are_taken_ahead(engine: Engine, tmp_path: Path) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(40):
            taken.append(job)
            yield job

    with spread_on(engine) as spread:
        results = spread(engine_work.add, np.arange(5.0), jobs())
        assert next(results) == 10.0
        assert len(taken) <= AHEAD * engine.jobs + 1
        assert list(results) == [10.0 + job for job in range(1, 40)]
        assert spread.sees(tmp_path)
        assert not spread.sees(tmp_path / "elsewhere")
        assert (spread.width, spread.others) == (engine.jobs, ())


@pytest.mark.parametrize("engine", [Engine(), Engine(jobs=2)])
def test_an_error_of_the_work_is_raised_as_it_is_behind_the_results_before_it(engine: Engine) -> None:
    with spread_on(engine) as spread:
        results = spread(engine_work.refuse, None, range(5))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(DataError, match="job 2 cannot be done"):
            next(results)


def test_no_jobs_have_no_results() -> None:
    with spread_on(Engine(jobs=2)) as spread:
        assert list(spread(engine_work.add, np.zeros(1), ())) == []


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="--address"):
        Engine("dask")
    with pytest.raises(UsageError, match="add --engine dask"):
        Engine("local", address="tcp://127.0.0.1:1")
