"""Connections are opened with what the context has."""

from cryptocast.config import Config
from cryptocast.workflows.context import Context
from cryptocast.workflows.market_data.connect import access_of


def test_the_access_has_the_key_the_clock_and_the_deadline_of_the_context() -> None:
    context = Context(Config(), api_key="secret")
    access = access_of(context, deadline_s=3.0)
    assert (access.config, access.wall_clock, access.api_key, access.deadline_s) == (
        context.config,
        context.wall_clock,
        "secret",
        3.0,
    )
