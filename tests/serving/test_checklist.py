"""docs/serving.md names a test or a benchmark for each line of its checklist: they are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text()
LEFT_OUT = {48, 54, 56, 60}


def rows() -> dict[int, str]:
    return {int(number): shown for number, shown in re.findall(r"^\| (\d+) [^|]*\| (.*) \|$", PAGE, re.MULTILINE)}


def test_each_line_has_a_test_or_a_benchmark() -> None:
    assert set(rows()) == set(range(1, 72)) - LEFT_OUT
    for number, shown in rows().items():
        assert re.search(r"`(benchmarks/\w+\.py|[\w/]+/test_\w+\.py::test_\w+)`", shown), number


def test_what_the_page_names_is_there() -> None:
    for file, name in set(re.findall(r"`([\w/]+/test_\w+\.py)::(test_\w+)`", PAGE)):
        tree = ast.parse((ROOT / "tests" / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"
    for file in set(re.findall(r"`(benchmarks/\w+\.py)`", PAGE)):
        assert (ROOT / file).is_file()
