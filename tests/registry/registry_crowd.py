"""A command line that does everything to a registry at once with others, until a moment, and says what was confirmed.

python registry_crowd.py STORE WORKER SECONDS writes one line for each change that was confirmed to it: what, and of
what. It ends with an error if anything is refused for another reason than that somebody was quicker.
"""

import math
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptocast.config import Config, DataConfig
from cryptocast.errors import RegistryError
from cryptocast.registry import LedgerRow, ProductionMovedError, Registry
from cryptocast.registry.live import matured_outcome
from cryptocast.workflows.lifecycle.promote import promote
from cryptocast.workflows.lifecycle.rollback import rollback
from cryptocast.workflows.online_calibration import learn
from tests.registry.registry_evidence import evidence
from tests.registry.registry_fits import BITCOIN, NOW, manifest, new_version
from tests.registry.registry_ledger import row

CONFIG = Config(data=DataConfig(coins=("bitcoin",)))
QUICKER = ("nothing to go back to", "There is no", "moved", "Nothing of")


def main(store: Path, worker: str, seconds: float) -> None:
    """One thing after the other, at random."""
    registry, draw, until, turn = Registry.open(store), random.Random(worker), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        turn += 1
        what = draw.choice(("register", "register", "promote", "gate", "rollback", "ledger", "ledger", "walk", "gc"))
        try:
            done = change(registry, draw, what, f"{worker}-{turn}")
        except (RegistryError, ProductionMovedError) as error:
            if not any(words in str(error) for words in QUICKER):
                raise
            continue
        sys.stdout.write(f"{what} {done}\n")
        sys.stdout.flush()


def change(registry: Registry, draw: random.Random, what: str, label: str) -> str:
    """One change; what of it must be found afterwards."""
    now = datetime.now(UTC)
    if what == "register":
        files = {"model.txt": label.encode() * 300, "state.json": b"{}"}
        return registry.register(manifest(label, files=files), files, [new_version()], now=now, who=label)[0].fit_id
    if what == "promote":
        number = draw.choice(registry.listing(coin="bitcoin") or [None])
        if number is not None:
            registry.promote(BITCOIN, number.number, now=now, who=label, why="at random")
        return label
    if what == "gate":
        promote(CONFIG, registry, who=label, now=now)
        return label
    if what == "rollback":
        rollback(registry, BITCOIN, who=label, now=now)
        return label
    if what == "ledger":
        rows = [row(draw.randint(1, 3), draw.randint(0, 400), draw.choice((1, 7))) for _ in range(3)]
        registry.write_ledger(rows)
        registry.write_outcomes([matured_outcome(r, outcome_of(r), now=r.target_at) for r in rows], learn)
        return ",".join(f"{r.number}:{r.issued_at.isoformat()}:{r.horizon}" for r in rows)
    if what == "walk":
        registry.record_evidence([evidence(label, recipe=manifest().recipe, coin=None, start=NOW, end=NOW)])
        return label
    registry.collect(5)
    return label


def outcome_of(noted: LedgerRow) -> float:
    """The return that followed; the same for whoever asks."""
    return 0.03 * math.sin(noted.horizon * (noted.issued_at - NOW).days)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
