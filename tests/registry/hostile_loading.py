"""A process that loads every version of a registry, and asks those that load for a forecast, with little memory.

python -m tests.registry.hostile_loading STORE writes one JSON line for each: its coin (which names the case), how it
ended, and why. Should one end the process or ask for a gigabyte, the lines say at which.
"""

import json
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

from cryptocast.errors import CryptocastError
from cryptocast.kinds import TRAINABLE
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.models.kinds import forecaster_type
from cryptocast.registry import Registry
from tests.registry.golden_rows import GOLDEN, read_rows

SPARE_BYTES = 400 * 2**20


def main(store: Path) -> None:
    """Every version, in the order of its coin."""
    registry = Registry.open(store, create=False)
    rows = read_rows(GOLDEN / "rows.npz")
    for kind in TRAINABLE:
        forecaster_type(kind)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + SPARE_BYTES, mapped + SPARE_BYTES))
    for version in registry.versions():
        say({"case": version.key.coin, "ended": None})
        try:
            model = CalibratedForecaster.load(registry.load_files(version.fit_id), forecaster_type(version.key.kind))
            model.predict(rows)
            ended, why = "answered", ""
        except CryptocastError as error:
            ended, why = "refused", str(error)
        except BaseException as error:  # noqa: BLE001 - whatever else comes is what the test is looking for
            ended, why = type(error).__name__, str(error)
        say({"case": version.key.coin, "ended": ended, "why": why})


def say(line: Mapping[str, object]) -> None:
    """At once: what comes next may end the process."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
