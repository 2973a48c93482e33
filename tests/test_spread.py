"""The map that is none."""

from collections.abc import Iterator
from pathlib import Path

from cryptocast.spread import OtherProcessor, in_turn, rounding_notes


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


def test_workers_of_other_processors_are_told_in_a_sentence_for_each_processor_however_many_they_are() -> None:
    one, many = OtherProcessor("tcp://10.0.0.7:41", "Z80"), [OtherProcessor(f"w{n}", "6502") for n in range(9)]
    assert rounding_notes([]) == ()
    assert rounding_notes([many[0], one, *many[1:]]) == (
        "the workers w0, w1, w2 and 6 more have another processor (6502): the last bits of their results may differ",
        "the worker tcp://10.0.0.7:41 has another processor (Z80): the last bits of its results may differ",
    )
