"""Python files of the user's own that the settings name: read, parsed and run, and what is wrong with them, by line.

The text is code and is run: it must come from the file that the user's own settings name, never from an artefact.
"""

import ast
import sys
import traceback
from pathlib import Path
from types import ModuleType

from cryptocast.errors import ConfigError


def read_code(path: Path, what: str, setting: str) -> str:
    """The text of the file. what: it is, `feature` or `model`; setting: that names it, to be emptied where it is gone.

    Raises ConfigError if it is missing or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"There is no {what} file {path}. Put it there (paths count from the settings), or empty {setting}."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The {what} file {path} cannot be read: {error}. See {setting}.") from error


def parse_code(text: str, origin: str) -> ast.Module:
    """The syntax tree. Raises ConfigError with the line for what is not Python."""
    try:
        return ast.parse(text, filename=origin)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        what = getattr(error, "msg", str(error))
        raise ConfigError(f"{origin}, line {line}: this is not Python: {what}. Correct the line.") from error


def run_code(text: str, origin: str, name: str, setting: str) -> ModuleType:
    """The module that the text makes, in memory under its name while it runs. Raises ConfigError with the line."""
    module = ModuleType(name)
    module.__file__ = origin
    earlier = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickles look their module up by name
    try:
        # The one place where foreign code runs, and the user has named its file in the settings.
        exec(compile(text, origin, "exec"), module.__dict__)  # noqa: S102
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {one_line(error)}"
        raise ConfigError(
            f"{origin}, line {code_line(error, origin)}: {what}. Correct it, or empty {setting}."
        ) from error
    finally:
        if earlier is None:
            del sys.modules[name]
        else:
            sys.modules[name] = earlier
    return module


def code_line(error: BaseException, origin: str) -> int:
    """The last line of the file that the error went through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == origin]
    return (lines[-1] if lines else None) or 1


def one_line(error: BaseException) -> str:
    """What the error says, short."""
    return " ".join(str(error).split())[:300].rstrip(".")


def table_line(tree: ast.Module, name: str) -> int:
    """The line on which the file defines its table."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node.lineno
    return 1
