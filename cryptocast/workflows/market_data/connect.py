"""What a use case opens connections to sources with."""

from collections.abc import Callable

from cryptocast.data.sources.base import Access
from cryptocast.net import Breaker, Try
from cryptocast.workflows.context import Context


def access_of(
    context: Context,
    *,
    breaker: Breaker | None = None,
    on_try: Callable[[Try], None] | None = None,
    deadline_s: float | None = None,
) -> Access:
    """What the context opens connections with. on_try hears of each request that went out. deadline_s: the longest that
    a call may take."""
    return Access(
        context.config,
        context.wall_clock,
        api_key=context.api_key,
        breaker=breaker,
        on_try=on_try,
        deadline_s=deadline_s,
    )
