"""How a use case reaches a source: a connection built when it is first needed, with what the context has."""

from collections.abc import Callable

from cryptocast.data.sources.base import Access
from cryptocast.data.sources.table import rule_of
from cryptocast.data.sources.upstream import Upstream
from cryptocast.errors import DataError
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


def upstream_factory(choice: str, access: Access) -> Callable[[], Upstream]:
    """A function that connects to what a choice of source fetches from; whoever calls it closes what it gives."""
    source = rule_of(choice).fetched

    def opened() -> Upstream:
        if source is None:
            raise DataError(f"Nothing is fetched from the source {choice!r}.")
        return source.connect(access)

    return opened
