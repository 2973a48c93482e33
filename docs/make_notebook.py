"""Runs docs/notebook.ipynb and writes its outputs into it: python docs/make_notebook.py. A test runs it, too."""

import ast
import contextlib
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import altair as alt
import vl_convert

from cryptocast.evaluation.report import Picture

NOTEBOOK: Final = Path(__file__).with_name("notebook.ipynb")


def outputs_of(source: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Run a cell among the names of those before it: what it printed, then the value of its last expression."""
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    shown = ast.Expression(last.value) if isinstance(last, ast.Expr) else None
    before = ast.Module(tree.body[:-1] if shown else tree.body, type_ignores=[])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(before, f"cell {count}", "exec"), names)
        value = eval(compile(shown, f"cell {count}", "eval"), names) if shown else None
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append(
            {"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)}
        )
    if value is not None:
        outputs.append(
            {"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": _data(value)}
        )
    return outputs


def _data(value: object) -> dict[str, Any]:
    """As a notebook shows it: pictures as SVG, which more viewers show than HTML, anything else as text."""
    if isinstance(value, Picture):
        data = {"image/svg+xml": value.svg(), "text/plain": value.title}
    elif isinstance(value, alt.TopLevelMixin):
        data = {"image/svg+xml": vl_convert.vegalite_to_svg(value.to_json())}
    else:
        data = {"text/plain": repr(value)}
    return {kind: text.splitlines(keepends=True) for kind, text in data.items()}


def run(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs of its cells, run in an empty folder."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                count += 1
                cell = {**cell, "execution_count": count, "outputs": outputs_of("".join(cell["source"]), names, count)}
            cells.append(cell)
    return {**notebook, "cells": cells}


if __name__ == "__main__":
    done = run(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    NOTEBOOK.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
