"""Outgoing HTTP: one pooled client with timeouts, retries and a limiter on calls.

In: paths and parameters. Out: `Answer`s, whatever their status, or `UpstreamError` when none came. It knows nothing of
what the answers mean, never logs a header, and takes clocks, sleeps and transports as arguments.
"""

from cryptocast.net.client import Answer, ApiClient, NetSettings, Unreachable
from cryptocast.net.limiter import Limiter
from cryptocast.net.loop import LoopThread

__all__ = ["Answer", "ApiClient", "Limiter", "LoopThread", "NetSettings", "Unreachable"]
