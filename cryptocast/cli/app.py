"""The root command and `main`, the one place where errors are told."""

import atexit
import contextlib
import gc
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, Final, NoReturn, cast

import typer

from cryptocast import __version__
from cryptocast.addresses import without_logins
from cryptocast.cli import forecasts, market_data, rehearse, runs, service, settings, tuning, versions
from cryptocast.cli.options import examples, group
from cryptocast.cli.session import Invocation, ReportedError, Terminal, write_document
from cryptocast.errors import CryptocastError, DataError
from cryptocast.number_format import one_line

BUG: Final = 1
INTERRUPTED: Final = 130
STOPPED: Final = "Interrupted: unfinished work was discarded."

app = typer.Typer(name="cryptocast", pretty_exceptions_enable=False, rich_markup_mode="rich")


def _print_version(*, is_on: bool) -> None:
    if is_on:
        typer.echo(f"cryptocast {__version__}")
        raise typer.Exit


@group(
    app,
    epilog=examples(
        "cryptocast train bitcoin",
        "cryptocast forecast bitcoin ethereum --horizons 1,7",
        "cryptocast backtest --walk-forward",
        "cryptocast serve",
    ),
)
def root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Calibrated crypto price forecasts that say whether to believe them.

    Start with `cryptocast train bitcoin`. It also works offline, on a built-in sample of real prices, and says so.
    """


market_data.add_to(app)
forecasts.add_to(app)
runs.add_to(app)
tuning.add_to(app)
versions.add_to(app)
service.add_to(app)
settings.add_to(app)
rehearse.add_to(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line (that of the process, unless given) and leave with its exit code.

    Raises SystemExit: 0 done; else the exit code of the error, which stands on stderr in one line, and with --json on
    stdout as a document too, unless there is one already. Slips of the command line itself get Typer's frame on stderr
    where people read.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode gets ? instead of a crash
    _tune_libraries()
    words = sys.argv[1:] if arguments is None else list(arguments)
    invocation = Invocation(words)
    try:
        code = app(args=words, prog_name="cryptocast", obj=invocation, standalone_mode=False)
    except CryptocastError as error:
        if isinstance(error, ReportedError) and not (invocation.json or invocation.common.quiet):
            raise SystemExit(error.exit_code) from None
        _complain(invocation, str(error), error.exit_code)
    except typer.TyperException as error:
        _complain_of_usage(invocation, error)
    except (KeyboardInterrupt, typer.Abort):
        _complain(invocation, STOPPED, INTERRUPTED)
    except OSError as error:  # such as a full disk below the output; the rooms word their own
        _complain(invocation, f"The operating system reported an error: {error}.", DataError.exit_code)
    except Exception as error:  # noqa: BLE001 the last net: whatever is not ours to expect is a bug of ours
        what = one_line(str(error)) or "no message"
        hint = "" if invocation.common.debug else " Please run it again with --debug and report the traceback."
        _complain(invocation, f"This is a bug in cryptocast: {type(error).__name__}: {what}.{hint}", BUG)
    if code == INTERRUPTED:  # Typer's word for Ctrl-C
        _complain(invocation, STOPPED, INTERRUPTED)
    raise SystemExit(code or 0)


def _tune_libraries() -> None:
    """What is chosen once, before the libraries are loaded."""
    # Arrow's own pool takes 8 MB before it is asked for anything.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # Each product of matrices runs on one thread, so that its sums do not depend on their number; the other threads of
    # OpenBLAS would only wait, for which they take a third of the processor time of an import of NumPy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What is imported stays. Looking through it for garbage, again and again, takes a tenth of a forecast's time.
    gc.set_threshold(50_000)
    # Nor is anything looked for when the process ends, which would take a quarter of it.
    atexit.register(gc.freeze)


def _complain_of_usage(invocation: Invocation, error: typer.TyperException) -> NoReturn:
    """What Typer says of an unknown option, a missing argument or a value that cannot be meant."""
    if invocation.json:
        _complain(invocation, error.format_message(), error.exit_code)
    from typer.rich_utils import rich_format_error

    rich_format_error(cast("Any", error))
    raise SystemExit(error.exit_code) from None


def _complain(invocation: Invocation, message: str, exit_code: int) -> NoReturn:
    err = Terminal(stderr=True, markup=False, highlight=False, emoji=False)
    if invocation.common.debug:
        err.print(without_logins(traceback.format_exc()), soft_wrap=True)
    line = one_line(without_logins(message))
    if invocation.json and not invocation.has_document:
        with contextlib.suppress(OSError):  # nobody reads it, or the disk is full: stderr and the exit code say so
            write_document({"schema": "cryptocast.error/1", "error": line, "exit_code": exit_code})
    err.print(line, style="red", soft_wrap=not err.is_terminal)
    raise SystemExit(exit_code) from None
