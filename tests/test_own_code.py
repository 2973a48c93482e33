"""Python files that the settings name: what is wrong with them is said with the line."""

import sys
from pathlib import Path

import pytest

from cryptocast.errors import ConfigError
from cryptocast.own_code import code_line, parse_code, read_code, run_code, table_line


def test_a_file_that_is_missing_or_no_text_is_named_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model file .*none\.py.*\[models\] file"):
        read_code(tmp_path / "none.py", "model", "[models] file")
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_code(tmp_path / "bytes.py", "model", "[models] file")


def test_what_is_no_python_and_what_fails_is_named_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"own\.py, line 2: this is not Python"):
        parse_code("a = 1\nb = = 2\n", "own.py")
    with pytest.raises(ConfigError, match=r"own\.py, line 3: ZeroDivisionError: .*empty \[models\] file"):
        run_code("a = 1\n\nb = 1 / 0\n", "own.py", "some_own_code", "[models] file")
    with pytest.raises(ConfigError, match="SystemExit"):
        run_code("raise SystemExit(3)", "own.py", "some_own_code", "[models] file")


def test_a_module_is_in_memory_under_its_name_while_it_runs() -> None:
    module = run_code("import sys\nseen = __name__ in sys.modules\n", "own.py", "some_own_code", "[models] file")
    assert module.seen
    assert "some_own_code" not in sys.modules


def test_lines_are_those_of_the_file() -> None:
    module = run_code("def f():\n    return 1 / 0\n", "own.py", "some_own_code", "[models] file")
    with pytest.raises(ZeroDivisionError) as caught:
        module.f()
    assert code_line(caught.value, "own.py") == 2
    assert table_line(parse_code("a = 1\nTABLE: int = 2\n", "own.py"), "TABLE") == 2
