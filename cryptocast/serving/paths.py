"""Texts without the places of this machine's disk: they are for the terminal and the log, not for clients."""

import re
from typing import Final

__all__ = ["without_folders"]

# An absolute path of two parts or more, at the start of a word; the last part is kept. An address such as
# https://host/path, or a path of the API with one part, is none.
PATH: Final = re.compile(r"(?<![\w:/\\.])(?:[A-Za-z]:[\\/]|/)(?:[^\s/\\'\"]+[\\/])+([^\s/\\'\"]*)")


def without_folders(text: str) -> str:
    """The text with the last part alone of every absolute path in it."""
    return PATH.sub(lambda found: found[1] or "a folder", text)
