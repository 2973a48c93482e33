"""The root command and `main`, the one place where errors are told."""

import io
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from cryptocast import __version__
from cryptocast.addresses import without_logins
from cryptocast.cli import bars, forecasts, rehearse, service, tuning, versions
from cryptocast.cli.figures import one_line
from cryptocast.cli.options import examples, group
from cryptocast.cli.session import Invocation, Terminal
from cryptocast.errors import CryptocastError, DataError

__all__ = ["app", "main"]

BUG: Final = 1
INTERRUPTED: Final = 130

app = typer.Typer(name="cryptocast", pretty_exceptions_enable=False, rich_markup_mode="rich")


def _print_version(*, asked: bool) -> None:
    if asked:
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
            "--version", metavar="", help="Show the version and leave.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Calibrated crypto price forecasts that say whether to believe them.

    Start with `cryptocast train bitcoin`. It works without a network too: then on a sample of real prices, and says so.
    """


bars.add_to(app)
forecasts.add_to(app)
tuning.add_to(app)
versions.add_to(app)
service.add_to(app)
rehearse.add_to(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line (that of the process, unless given) and leave with its exit code.

    Raises SystemExit: 0 done; else the exit code of the error, which stands on stderr in one line.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode gets ? instead of a crash
    invocation = Invocation()
    try:
        app(args=None if arguments is None else list(arguments), prog_name="cryptocast", obj=invocation)
    except CryptocastError as error:
        _complain(invocation, str(error), error.exit_code)
    except KeyboardInterrupt:
        _complain(invocation, "Interrupted.", INTERRUPTED)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Typer's word for Ctrl-C
            _complain(invocation, "Interrupted: nothing that was unfinished was kept.", INTERRUPTED)
        raise
    except OSError as error:  # such as a full disk below the output; the rooms word their own
        _complain(invocation, f"The system refused: {error}.", DataError.exit_code)
    except Exception as error:  # noqa: BLE001 the last net: whatever is not ours to expect is a bug of ours
        what = one_line(str(error)) or "no message"
        hint = "" if invocation.common.debug else " Run it again with --debug for the traceback, and report it, please."
        _complain(invocation, f"This is a bug of cryptocast: {type(error).__name__}: {what}.{hint}", BUG)


def _complain(invocation: Invocation, message: str, exit_code: int) -> None:
    err = Terminal(stderr=True, markup=False, highlight=False, emoji=False)
    if invocation.common.debug:
        err.print(without_logins(traceback.format_exc()), soft_wrap=True)
    err.print(one_line(without_logins(message)), style="red", soft_wrap=not err.is_terminal)
    raise SystemExit(exit_code) from None
