"""Addresses as they may be shown: without the names and passwords in them."""

import re
from typing import Final

SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
IN_TEXT: Final = re.compile(rf"{SCHEME.pattern}\S+")
SECRET: Final = re.compile(r"(?i)([?&;][^=&;\s]*(?:pass|pwd|secret|token|key|user)[^=&;\s]*=)[^&;\s'\"]*")
HIDDEN: Final = "***"


def shown_address(address: str) -> str:
    """An address of a server or a database without user, password, and what its query names a secret.

    For addresses that are no URLs too, and for passwords that should have been escaped: rather too little is shown.
    """
    match = SCHEME.match(address)
    scheme, rest = (match[0], address[match.end() :]) if match else ("", address)
    head = rest.partition("/")[0]
    if "@" in rest and ("@" in head or ":" in head):
        rest = f"{HIDDEN}@{rest.rpartition('@')[2]}"
    return SECRET.sub(lambda match: match[1] + HIDDEN, scheme + rest)


def without_logins(text: str) -> str:
    """A text, such as the message of a library or a traceback, with every address in it as `shown_address` has it."""
    return IN_TEXT.sub(lambda match: shown_address(match[0]), text)
