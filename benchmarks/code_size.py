"""How much code there is: lines that are neither blank, comment nor docstring, and the sizes of functions, by room.

    python benchmarks/code_size.py

The rules of the design: at most 31,300 lines in all and 2,900 in `serving`, a median function body of at most 5 lines
and none over 50, no two classes of one name.
"""

import ast
import io
import statistics
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "cryptocast"
BLANK = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(text: str) -> set[int]:
    """The numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in BLANK:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines - docstring_lines(ast.parse(text))


def docstring_lines(tree: ast.AST) -> set[int]:
    """The numbers of the lines that docstrings take."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node) is not None:
            first = node.body[0]
            lines.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def bodies(text: str) -> Iterator[tuple[str, int]]:
    """Each function with the lines of code between its signature and its end."""
    lines = code_lines(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function):
            body = range(node.body[0].lineno, (node.end_lineno or 0) + 1)
            yield node.name, len(lines.intersection(body))


def room_of(path: Path) -> str:
    """The folder of a module inside the package; its root's modules are one room."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else "(root)"


def main() -> None:
    rooms: Counter[str] = Counter()
    sizes: list[tuple[int, str]] = []
    classes: Counter[str] = Counter()
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        rooms[room_of(path)] += len(code_lines(text))
        sizes += [(size, f"{path.relative_to(PACKAGE)}:{name}") for name, size in bodies(text)]
        classes.update(node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef))
    for room, lines in rooms.most_common():
        print(f"{room:12} {lines:7,}")
    print(f"{'all':12} {rooms.total():7,}")
    print(f"functions {len(sizes):,}, median body {statistics.median(size for size, _ in sizes):g}")
    for size, name in sorted(sizes, reverse=True):
        if size > 50:
            print(f"over 50: {size} {name}")
    print("classes of one name:", ", ".join(sorted(name for name, times in classes.items() if times > 1)) or "none")


if __name__ == "__main__":
    main()
