"""What an endpoint is: its handler, and all that the rest of the server has to know of it.

Routes, the OpenAPI description, who may ask, what takes a place among the requests that wait, the labels of the metrics
and which paths suffer with a component all come from the one table of these, `endpoints.PATHS`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from starlette.responses import Response

OTHER: Final = "_OTHER"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """summary: what it is for. handler: given the server, the request and its query; what it gives is encoded, unless
    it is a Response. answer: the type of its JSON, if it is one of ours. query: what may be asked. access: who may ask:
    everybody, who has a token, who has an admin's.

    is_prompt: answered out of memory, so it takes no place among the requests that wait. is_cached: its answers stay in
    memory as bytes. rests_on: the components of health with which it suffers. not_ready: its 503 is an answer too. tag:
    under which it is described.
    """

    summary: str
    handler: Callable[[Any, Any, Any], Awaitable[Response | msgspec.Struct | bytes]]
    answer: type | None = None
    media_type: str = "application/json"
    query: type[msgspec.Struct] | None = None
    access: Literal["open", "read", "admin"] = "read"
    methods: tuple[Literal["GET", "POST"], ...] = ("GET",)
    is_prompt: bool = False
    is_cached: bool = False
    rests_on: tuple[str, ...] = ()
    not_ready: bool = False
    tag: Literal["forecasts", "prices", "service", "admin"] = "service"

    @property
    def allowed(self) -> str:
        """The methods that it answers, as the Allow header lists them."""
        reading = ("GET", "HEAD") if "GET" in self.methods else ()
        return ", ".join((*reading, *(one for one in self.methods if one != "GET"), "OPTIONS"))

    @property
    def is_page(self) -> bool:
        """Whether it is for people at a browser, and no part of the description for programs."""
        return self.media_type.startswith("text/html")


class Paths:
    """The endpoints by path; one that ends with a name in braces stands for any last part."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self.endpoints = endpoints
        self._templates = [(path.partition("{")[0], path) for path in endpoints if path.endswith("}")]

    def find(self, path: str) -> tuple[str, Endpoint | None]:
        """The path as the table has it, which is the label of its metrics, and its endpoint; OTHER and none for what is
        not served."""
        endpoint = self.endpoints.get(path)
        if endpoint is not None:
            return path, endpoint
        for prefix, template in self._templates:
            if path.startswith(prefix) and "/" not in path[len(prefix) :]:
                return template, self.endpoints[template]
        return OTHER, None

    def resting_on(self, component: str) -> tuple[str, ...]:
        """The paths that suffer with a component of health."""
        return tuple(path for path, one in self.endpoints.items() if component in one.rests_on)
