"""Outgoing HTTP: one pool of connections, retries, a rate limiter, circuit breakers, batching.

In: paths and parameters. Out: `Answer`s, whatever their status, or `UpstreamError` when none came. It knows nothing of
what the answers mean, never logs a header, takes clocks, sleeps and transports as arguments, and tells what happened
by events. The order of the layers stands in `client`.
"""

from cryptocast.net.answer import Answer, Overloaded, Unreachable
from cryptocast.net.batcher import Batcher, Parts
from cryptocast.net.breaker import Breaker, BreakerMetrics, Breakers, BreakerSettings, BreakerState, CircuitOpen
from cryptocast.net.client import ApiClient, Try
from cryptocast.net.limiter import Limiter, Place, Priority
from cryptocast.net.settings import NetSettings

__all__ = [
    "Answer",
    "ApiClient",
    "Batcher",
    "Breaker",
    "BreakerMetrics",
    "BreakerSettings",
    "BreakerState",
    "Breakers",
    "CircuitOpen",
    "Limiter",
    "NetSettings",
    "Overloaded",
    "Parts",
    "Place",
    "Priority",
    "Try",
    "Unreachable",
]
