"""Who asks, as the server knows it: a word that stays with a client and that a client cannot choose."""

from contextvars import ContextVar
from typing import Final

from starlette.types import Scope

from cryptocast.serving.access import Keys, counted_as

__all__ = ["CLIENT", "client_of"]

# Of the request that is being answered, for what works behind the answers. Tasks take it over from whoever began them.
CLIENT: Final[ContextVar[str]] = ContextVar("client", default="")


def client_of(scope: Scope, keys: Keys) -> str:
    """The name of the key that the request shows, or its address."""
    key = keys.of(scope["headers"])
    if key is not None:
        return key.name
    client = scope.get("client")  # behind a trusted proxy the front has put its client there
    return counted_as(client[0]) if client else ""
