"""The map that is none."""

from collections.abc import Iterator
from pathlib import Path

from cryptocast.spread import OtherProcessor, in_turn


def test_jobs_are_done_one_after_the_other_and_only_when_they_are_asked_for(tmp_path: Path) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(3):
            taken.append(job)
            yield job

    results = in_turn(lambda shared, job: shared + job, 10, jobs())
    assert taken == []
    assert next(results) == 10
    assert taken == [0]
    assert list(results) == [11, 12]
    assert in_turn.sees(tmp_path)
    assert in_turn.width == 1


def test_a_worker_of_another_processor_is_a_fact_that_can_be_said() -> None:
    said = str(OtherProcessor("tcp://10.0.0.7:41", "Z80"))
    assert said == "tcp://10.0.0.7:41 has another processor (Z80): the last bits of its results may differ"
