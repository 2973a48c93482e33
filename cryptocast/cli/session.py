"""One run of a command: what its common options say, where its output goes, and what it hands to the use cases."""

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self, TextIO, TypeAlias, TypedDict, TypeVar, cast

import typer
from rich.console import Console, RenderableType

from cryptocast.cli.logs import CommandLog, LogFormat, LogLevel
from cryptocast.cli.progress import Shown, shown_progress
from cryptocast.errors import CryptocastError
from cryptocast.number_format import one_line

if TYPE_CHECKING:
    from cryptocast.config import Config
    from cryptocast.registry import Registry
    from cryptocast.workflows.context import Context

API_KEY = "CRYPTOCAST_COINGECKO_API_KEY"
NOTIFY = "CRYPTOCAST_NOTIFY_URL"
PANEL = "Everywhere (before or after the command)"

Report = TypeVar("Report")
Screen: TypeAlias = Callable[[Report], Iterable[RenderableType]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Options of every command, before it or after it; None: not said there."""

    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Settings file. Default: ./config.toml.", rich_help_panel=PANEL),
    ] = None
    json: Annotated[
        bool | None,
        typer.Option("--json", metavar="", help="Print one JSON document instead of tables.", rich_help_panel=PANEL),
    ] = None
    quiet: Annotated[
        bool | None,
        typer.Option(
            "--quiet",
            metavar="",
            help="Print nothing but errors: no report, no progress. --json still prints its document.",
            rich_help_panel=PANEL,
        ),
    ] = None
    log_level: Annotated[
        LogLevel | None,
        typer.Option("--log-level", help="Log level on stderr. Default: warning.", rich_help_panel=PANEL),
    ] = None
    log_format: Annotated[
        LogFormat | None, typer.Option("--log-format", help="Log format. Default: text.", rich_help_panel=PANEL)
    ] = None
    debug: Annotated[
        bool | None,
        typer.Option(
            "--debug", metavar="", help="Show tracebacks of errors; log at debug level.", rich_help_panel=PANEL
        ),
    ] = None

    def over(self, earlier: "Common") -> "Common":
        """These options, and the earlier ones where these say nothing."""
        own = {name: value for name in Common.__slots__ if (value := getattr(self, name)) is not None}
        return replace(earlier, **own)


class Terminal(Console):
    """A console whose reader may leave early: `cryptocast data ls | head` is no failure."""

    def on_broken_pipe(self) -> None:
        """Stop quietly when nobody reads the report any more; only fall silent when nobody reads stderr."""
        self.quiet = True
        stream = sys.stderr if self.stderr else sys.stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or the flush at exit fails again
        if not self.stderr:
            raise SystemExit(0)


@dataclass(slots=True)
class Invocation:
    """What `main` must know when an error arrives.

    words: of the command line. common: its common options as far as they were read; whole: that is all of them.
    has_document: it stands on stdout already.
    """

    words: Sequence[str] = ()
    common: Common = field(default_factory=Common)
    whole: bool = False
    has_document: bool = False

    @property
    def json(self) -> bool:
        """Whether stdout is for a machine. Of a command line that could not be read: whether --json stands in it."""
        if self.whole or self.common.json:
            return bool(self.common.json)
        words = itertools.takewhile(lambda word: word != "--", self.words)
        return any(word.partition("=")[0] == "--json" for word in words)


class ReportedError(CryptocastError):
    """What a report says of itself: on a screen it is told already, a machine finds it on stderr too."""


def failed(what: str | None, exit_code: int, count: int = 1) -> ReportedError | None:
    """The error of a report that says of itself that something is wrong; None: nothing is.

    what: the first thing, of `count`.
    """
    if what is None:
        return None
    error = ReportedError(what if count == 1 else f"{what} (and {count - 1} more)")
    error.exit_code = exit_code
    return error


def write_document(document: object) -> None:
    """One JSON document in one line on stdout: bytes, as JSON is UTF-8 whatever the terminal speaks."""
    import msgspec

    out = cast("TextIO | None", sys.stdout)  # None where the shell closed it: >&-
    if out is not None:
        out.flush()
        out.buffer.write(msgspec.json.encode(document) + b"\n")
        out.buffer.flush()


class Signature(TypedDict):
    """What stands beside each change of the registry."""

    who: str
    now: datetime


class Session:
    """One command at work. A context manager: afterwards no progress bar and no log handler is left."""

    def __init__(self, invocation: Invocation, *, default_level: LogLevel = "warning") -> None:
        self._invocation = invocation
        self.common = common = invocation.common
        self.out = Terminal(highlight=False, markup=False, emoji=False)
        self.err = Terminal(stderr=True, highlight=False, markup=False, emoji=False)
        level: LogLevel = common.log_level or ("debug" if common.debug else default_level)
        self._log = CommandLog(self.err, level, common.log_format or "text")
        self._progress: Shown = shown_progress(
            self.err, quiet=bool(common.quiet or common.json) or common.log_format == "json"
        )

    def __enter__(self) -> Self:
        self._log.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.close()
        self._log.close()

    @cached_property
    def config(self) -> "Config":
        """The settings. Raises ConfigError."""
        from cryptocast.config import load_config

        return load_config(self.common.config)

    def context(self, *, use_tuned: bool = True) -> "Context":
        """What the use cases may touch. The key comes from the environment and goes nowhere else.

        use_tuned: whether what a tuning found may be used, if the settings allow it.
        """
        from cryptocast.config import without_tuned
        from cryptocast.workflows.context import Context, login_name

        key, notify = (os.environ.get(name, "").strip() or None for name in (API_KEY, NOTIFY))
        config = self.config if use_tuned else without_tuned(self.config)
        return Context(config=config, api_key=key, notify_url=notify, progress=self._progress, who=login_name())

    def registry(self) -> "Registry":
        """The registry of the store, to be asked; nothing is made where there is none yet."""
        from cryptocast.registry import Registry

        return Registry.open(self.config.store.path, create=False, gate=self.config.gate)

    def signature(self) -> "Signature":
        """Who changes the registry, and when."""
        from cryptocast.workflows.context import login_name

        return {"who": login_name(), "now": datetime.now(UTC)}

    @property
    def json(self) -> bool:
        """Whether stdout is for a machine."""
        return bool(self.common.json)

    @property
    def can_ask(self) -> bool:
        """Whether somebody sits there who can answer, and sees what is asked."""
        return (
            not self.json
            and not self.common.quiet
            and self.out.is_terminal
            and sys.stdin is not None
            and sys.stdin.isatty()
        )

    def say(self, line: str) -> None:
        """A line on stderr for people, unless they want none."""
        if not self.common.quiet:
            self.err.print(line, soft_wrap=True)

    def show(
        self,
        report: Report,
        screen: Screen[Report],
        failure: CryptocastError | None = None,
        *,
        may_notify: bool = False,
    ) -> None:
        """The report: as one JSON document, or on the screen; with --quiet on none.

        failure: what is wrong all the same. It stands in the document as `error` and `exit_code` and is raised behind
        the report. may_notify: the command may have led to notices, which are sent behind it too.
        """
        self._progress.close()
        if self.json:
            self._write(report if failure is None else _with_failure(report, failure))
        elif not self.common.quiet:
            for part in screen(report):
                self.out.print(part)
        if may_notify:
            self._send_notices()
        if failure is not None:
            raise failure

    def _send_notices(self) -> None:
        if os.environ.get(NOTIFY, "").strip():
            from cryptocast.workflows.notices.sending import send_now

            send_now(self.context())

    def _write(self, report: object) -> None:
        self._invocation.has_document = True
        try:
            write_document(report)
        except BrokenPipeError:
            self.out.on_broken_pipe()


def _with_failure(report: object, failure: CryptocastError) -> dict[str, object]:
    import msgspec

    document: dict[str, object] = msgspec.to_builtins(report)
    return {**document, "error": one_line(str(failure)), "exit_code": failure.exit_code}
