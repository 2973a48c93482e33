"""One contract for work that is done anywhere: in this process, in several of this machine, or on a cluster."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

Shared = TypeVar("Shared")
Job = TypeVar("Job")
Result = TypeVar("Result")
SAID: Final = 3  # workers of one processor that a sentence names


@dataclass(frozen=True, slots=True)
class OtherProcessor:
    """A worker of another processor model than the client's: the last bits of what it computes may differ."""

    worker: str
    processor: str


def rounding_notes(others: Iterable[OtherProcessor]) -> tuple[str, ...]:
    """A sentence for each of the other processors, with some of the workers that have it."""
    workers: dict[str, list[str]] = {}
    for other in others:
        workers.setdefault(other.processor, []).append(other.worker)
    return tuple(
        f"{_listed(names)} {'has' if len(names) == 1 else 'have'} another processor ({processor}): the last bits of"
        f" {'its' if len(names) == 1 else 'their'} results may differ"
        for processor, names in workers.items()
    )


def _listed(workers: list[str]) -> str:
    if len(workers) == 1:
        return f"the worker {workers[0]}"
    more = f" and {len(workers) - SAID:,} more" if len(workers) > SAID else ""
    return f"the workers {', '.join(workers[:SAID])}{more}"


class Spread(Protocol):
    """A parallel map."""

    @property
    def width(self) -> int:
        """How many jobs are worked on at once."""
        ...

    @property
    def others(self) -> tuple[OtherProcessor, ...]:
        """The workers so far whose results may differ in their last bits."""
        ...

    def sees(self, folder: Path) -> bool:
        """Whether whoever works sees this folder under this very path, and can read there what it needs."""
        ...

    def __call__(self, work: Callable[[Shared, Job], Result], shared: Shared, jobs: Iterable[Job]) -> Iterator[Result]:
        """The results, in the order of the jobs. `work` is a function of a module.

        `jobs` may be a generator: only a bounded number of them is taken ahead of the results that were fetched.
        `shared` reaches each worker once. An error of the work is raised here as it is.
        """
        ...


class InTurn:
    """The map that is none: one job after the other, in this process."""

    width = 1
    others: tuple[OtherProcessor, ...] = ()

    def sees(self, folder: Path) -> bool:
        """Whatever is there."""
        return folder.exists()

    def __call__(self, work: Callable[[Shared, Job], Result], shared: Shared, jobs: Iterable[Job]) -> Iterator[Result]:
        """Each as it is fetched."""
        return (work(shared, job) for job in jobs)


in_turn = InTurn()
