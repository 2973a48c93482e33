"""A command line that registers, promotes, rolls back, collects and imports at random, for the tests with kill -9."""

import random
import sys
from datetime import UTC, datetime
from pathlib import Path

from cryptocast.errors import RegistryError
from cryptocast.registry import Registry
from cryptocast.registry.archive import pack, unpack
from cryptocast.workflows.lifecycle.rollback import rollback
from tests.registry.registry_fits import BITCOIN, manifest, new_version


def care(store: Path, worker: str, rounds: int) -> None:
    """As fast as it goes; prints a line for each registration that was confirmed."""
    registry, draw = Registry.open(store), random.Random(worker)
    for turn in range(rounds):
        now, label = datetime.now(UTC), f"{worker}-{turn}"
        files = {"model.txt": label.encode() * 500, "state.json": b"{}"}
        made = registry.register(manifest(label, files=files), files, [new_version()], now=now, who=worker)
        sys.stdout.write(f"{made[0].fit_id}\n")
        sys.stdout.flush()
        what = draw.choice(("promote", "rollback", "gc", "import"))
        try:
            if what == "promote":
                registry.promote(BITCOIN, made[0].number, now=now, who=worker, why="at random")
            elif what == "rollback":
                rollback(registry, BITCOIN, who=worker, now=now)
            elif what == "gc":
                registry.collect(3)
            else:
                archive = unpack(pack(made, files), "a.zip")
                registry.register(archive.manifest, archive.files, archive.versions, now=now, who=worker)
        except RegistryError as error:
            # Nothing to go back to, or taken by another worker's gc meanwhile: both are told in words.
            if not any(
                words in str(error) for words in ("nothing to go back to", "There is no")
            ) and "moved" not in str(error):
                raise


if __name__ == "__main__":
    care(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
