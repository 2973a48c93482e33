"""The commands: words from a shell in, tables for people or one JSON document out.

Parses, calls one use case of `workflows` (or asks the registry), prints. It never computes, never reads or writes a
candle or a model by itself, and imports what is heavy only inside the command that needs it.
"""

from cryptocast.cli.app import main

__all__ = ["main"]
