"""How a use case reaches CoinGecko: built when it is first needed, with the settings and the key of the context."""

from collections.abc import Callable

from cryptocast.data.coingecko import CoinGecko
from cryptocast.workflows.context import Context

__all__ = ["upstream_factory"]


def upstream_factory(context: Context) -> Callable[[], CoinGecko]:
    """A function that opens the upstream; whoever calls it closes what it gives."""
    return lambda: CoinGecko(context.config.coingecko, api_key=context.api_key)
