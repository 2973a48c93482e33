"""The commands: words from a shell in, tables for people or one JSON document out.

Parses, calls one use case of `workflows` (or asks the registry), prints. It never computes, never reads or writes a
candle or a model by itself, and imports what is heavy only inside the command that needs it.
"""

import sys
from collections.abc import Sequence

from cryptocast.cli.signals import outlive_the_start

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line (that of the process, unless given) and leave with its exit code.

    Raises SystemExit: 0 done; else the exit code of the error, which stands on stderr in one line.
    """
    if arguments is None and "serve" in sys.argv:
        outlive_the_start()
    from cryptocast.cli.app import main as run  # a signal may come while this is imported

    run(arguments)
