"""How long to wait for what, how much at once, and how often to try."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetSettings:
    """The timeouts of the phases and the numbers of connections belong to the pool, the rest to each client of it."""

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0  # between two pieces of the answer
    write_timeout_s: float = 10.0
    pool_timeout_s: float = 20.0  # for a free connection
    deadline_s: float = 60.0  # for a call with its retries; waiting for the limiter comes on top
    max_connections: int = 100
    max_waiting: int = 1000  # calls that wait for a free connection; more are turned away at once
    keepalive_s: float = 30.0  # below the upstream's, which closes idle connections after a minute or more
    reap_every_s: float = 1.0
    max_retries: int = 2
    retry_ratio: float = 0.2  # retries that a hundred calls may cause, as a share of them
