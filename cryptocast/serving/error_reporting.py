"""Errors and traces to Sentry, where a DSN is set: with breadcrumbs, scrubbed of keys, tokens and query strings.

Without Sentry's own integrations: its one for Starlette costs a request four times what the answer costs.
"""

import logging
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final

from cryptocast.addresses import without_logins

SECRET_NAMES: Final = re.compile(r"token|key|secret|password|authorization|cookie|dsn", re.IGNORECASE)
SECRET_TEXT: Final = re.compile(
    r"(?i)(bearer\s+)\S+|((?:api_?key|token|secret|password)[=:]\s*)[^\s&,;'\"]+|(\?)[^\s'\"]+"
)
GONE: Final = "[scrubbed]"
FLUSH_S: Final = 2.0
NOTHING: Final = nullcontext()


class Reports:
    """Does nothing without a DSN. `secrets`: texts that must not leave, whatever the place they turn up in.
    `traces_rate`: the share of the requests that are traced, 0 for none; finished answers are never."""

    def __init__(
        self,
        dsn: str | None,
        *,
        environment: str = "",
        release: str = "",
        secrets: Iterable[str] = (),
        traces_rate: float = 0.0,
    ) -> None:
        self._scrub = partial(scrubbed, secrets=[secret for secret in secrets if secret])
        self._traces_rate = traces_rate if dsn else 0.0
        self._sentry: Any = None
        self._handler: logging.Handler | None = None
        if dsn:
            self._open(dsn, environment, release)

    def error(self, error: BaseException) -> None:
        """One that ended a request."""
        if self._sentry is not None:
            self._sentry.capture_exception(error)

    def trace(self, route: str) -> AbstractContextManager[object]:
        """While it lasts, a request to this route is being answered."""
        if self._traces_rate == 0.0:
            return NOTHING
        traced: AbstractContextManager[object] = self._sentry.start_transaction(op="http.server", name=route)
        return traced

    def close(self) -> None:
        """Send what waits, for a moment."""
        if self._handler is not None:
            logging.getLogger("cryptocast").removeHandler(self._handler)
        if self._sentry is not None:
            self._sentry.get_client().close(timeout=FLUSH_S)

    def _open(self, dsn: str, environment: str, release: str) -> None:
        import sentry_sdk

        sentry_sdk.init(
            dsn=dsn,
            environment=environment,
            release=release,
            integrations=[],
            default_integrations=False,
            auto_enabling_integrations=False,
            include_local_variables=False,
            max_request_body_size="never",
            server_name="",
            traces_sample_rate=self._traces_rate,
            before_send=lambda event, _hint: self._scrub(event),
            before_send_transaction=lambda event, _hint: self._scrub(event),
            before_breadcrumb=lambda crumb, _hint: self._scrub(crumb),
        )
        self._sentry = sentry_sdk
        self._handler = _Breadcrumbs(sentry_sdk)
        logging.getLogger("cryptocast").addHandler(self._handler)


class _Breadcrumbs(logging.Handler):
    """Log lines become breadcrumbs; those of our own threads with an error become events."""

    def __init__(self, sentry: Any) -> None:
        super().__init__(logging.INFO)
        self._sentry = sentry

    def emit(self, record: logging.LogRecord) -> None:
        """As logging calls it."""
        self._sentry.add_breadcrumb(category=record.name, level=record.levelname.lower(), message=record.getMessage())
        # What ends a request is reported where it ends.
        if record.levelno >= logging.ERROR and record.exc_info and not record.name.endswith(".front"):
            self._sentry.capture_exception(record.exc_info[1])


def scrubbed(value: Any, secrets: Iterable[str] = ()) -> Any:
    """The value without keys, tokens, query strings and logins of addresses: by the names of fields, inside texts."""
    if isinstance(value, dict):
        return {
            name: GONE if isinstance(name, str) and SECRET_NAMES.search(name) else scrubbed(item, secrets)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [scrubbed(item, secrets) for item in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, GONE)
        return SECRET_TEXT.sub(lambda match: (match[1] or match[2] or match[3]) + GONE, without_logins(value))
    return value
