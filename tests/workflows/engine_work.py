"""Work for engines, which other processes import by name."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from cryptocast.errors import DataError


def add(shared: np.ndarray, job: int) -> float:
    """The sum of all numbers and the job."""
    return float(shared.sum()) + job


def process(_: None, job: int) -> int:
    """By whom it was done."""
    time.sleep(0.05)
    return os.getpid()


def refuse(_: None, job: int) -> int:
    """Job 2 fails, and leaves a line for each time that it was tried."""
    if job == 2:
        raise DataError("job 2 cannot be done")
    return job


def refuse_and_count(path: str, job: int) -> int:
    """It fails, and leaves a line for each time that it was tried."""
    with Path(path).open("a", encoding="ascii") as file:
        file.write("tried\n")
    raise DataError(f"job {job} cannot be done")


def die_once(path: str, job: int) -> int:
    """The first worker that gets job 1 is killed by it."""
    flag = Path(path)
    if job == 1 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 10 * job


def die(_: None, job: int) -> int:
    """Whoever gets it is killed."""
    os.kill(os.getpid(), signal.SIGKILL)
    return job


def take_time(_: None, job: int) -> int:
    """A job that lasts."""
    time.sleep(2.0)
    return job


def page_faults(_: None, job: int) -> int:
    """Pages that the system had to clear for arrays of two megabytes that come and go."""
    import resource  # not on Windows

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _number in range(100):
        np.ones(2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
