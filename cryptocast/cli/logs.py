"""Logs of a command: to stderr, as text or as one JSON object a line, and never through a progress bar."""

import logging
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from rich.console import Console
from rich.text import Text

from cryptocast.addresses import without_logins
from cryptocast.number_format import one_line

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LogFormat: TypeAlias = Literal["text", "json"]

SERVER: Final = "uvicorn"
LOGGERS: Final = ("cryptocast", SERVER)
STYLES: Final = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "bold red", logging.DEBUG: "dim"}


class CommandLog(logging.Handler):
    """What the rooms log while a command runs, at a level or above."""

    def __init__(self, console: Console, level: LogLevel, form: LogFormat) -> None:
        super().__init__(logging.getLevelNamesMapping()[level.upper()])
        self._console, self._form = console, form
        self._loggers = {logger: logger.level for logger in map(logging.getLogger, LOGGERS)}

    def open(self) -> None:
        """Begin to listen."""
        for logger in self._loggers:
            logger.addHandler(self)
            # The server's own steps are told to those who debug; ours say when it serves and when it stopped.
            quiet = logger.name == SERVER and self.level > logging.DEBUG
            logger.setLevel(max(self.level, logging.WARNING) if quiet else self.level)

    def close(self) -> None:
        """Stop, and leave logging as it was."""
        for logger, level in self._loggers.items():
            logger.removeHandler(self)
            logger.setLevel(level)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """One line on stderr."""
        try:
            line = self._as_json(record) if self._form == "json" else self._as_text(record)
            style = STYLES.get(record.levelno, "") if self._form == "text" else ""
            self._console.print(Text(line, style=style), soft_wrap=not self._console.is_terminal)
        except Exception:  # noqa: BLE001 a log line that cannot be written must not stop the work
            self.handleError(record)

    def _as_text(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line = (
            f"{at:%H:%M:%S} {record.levelname.lower()} {record.name}: {one_line(without_logins(record.getMessage()))}"
        )
        return line if record.exc_info is None else f"{line}\n{self._trace(record)}"

    def _as_json(self, record: logging.LogRecord) -> str:
        fields = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_logins(record.getMessage()),
        }
        if record.exc_info is not None:
            fields["exception"] = self._trace(record)
        import json

        return json.dumps(fields)

    def _trace(self, record: logging.LogRecord) -> str:
        return without_logins(logging.Formatter().formatException(record.exc_info)) if record.exc_info else ""
