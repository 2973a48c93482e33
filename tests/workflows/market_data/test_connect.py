"""A connection is built from what the context has, when it is first needed."""

import pytest

from cryptocast.config import Config
from cryptocast.errors import DataError
from cryptocast.workflows.context import Context
from cryptocast.workflows.market_data.connect import access_of, upstream_factory


def test_what_is_never_fetched_connects_to_nothing() -> None:
    opener = upstream_factory("sample", access_of(Context(Config())))
    with pytest.raises(DataError, match="Nothing is fetched from the source 'sample'"):
        opener()


def test_the_access_has_the_key_the_clock_and_the_deadline_of_the_context() -> None:
    context = Context(Config(), api_key="secret")
    access = access_of(context, deadline_s=3.0)
    assert (access.config, access.wall_clock, access.api_key, access.deadline_s) == (
        context.config,
        context.wall_clock,
        "secret",
        3.0,
    )
