"""What the package never says: homeless modules, swallowed exceptions, files that run code when they are loaded; and
how it names things: values by what they are, not by what happened to them, and no two classes alike."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cryptocast"
FILES = sorted(PACKAGE.rglob("*.py"))

# A function with no home shows a missing noun: name it, give it a module.
HOMELESS = {"utils", "util", "common", "helpers", "helper", "misc"}
# Loading with any of these can run code from the file.
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "jsonpickle", "marshal", "shelve"}
UNSAFE_CALLS = {
    ("joblib", "load"),
    ("joblib", "dump"),
    ("torch", "load"),
    ("torch", "save"),
}
# Participles say that something happened to a value, not what it is. As whole names of arguments and variables only:
# `known_at` says what it is, and the fitted values of statistics are called so.
PARTICIPLES = frozenset(
    """
    asked chosen counted found given gone heard held helped judged kept known learned looked made meant moved named
    needed noted obtained prepared refused said seen served settled shown stated taken told tried tuned used walked
    wanted written fitted
    """.split()  # noqa: SIM905 - a list of forty strings is harder to read
)
PARTICIPLES_AT_MOST = 0.005  # httpx and skfolio: 0.3 to 0.4 %


def named_values(tree: ast.Module) -> Iterator[str]:
    """The names of arguments and of variables that are assigned."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def names(path: Path) -> set[str]:
    return {path.stem, *(part for part in path.relative_to(PACKAGE).parts[:-1])}


def swallowed(tree: ast.Module) -> Iterator[int]:
    """The lines of the handlers that do nothing at all with what they caught."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and all(is_nothing(statement) for statement in node.body):
            yield node.lineno


def is_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def unsafe(tree: ast.Module) -> list[str]:
    """What could run code from a file: the modules, the loaders under whatever name, and NumPy told to allow it."""
    nodes = list(ast.walk(tree))
    aliases = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    packages = {(alias.asname or alias.name).partition(".")[0]: alias.name.partition(".")[0] for alias in aliases}
    found = [f"import {alias.name}" for alias in aliases if alias.name.partition(".")[0] in UNSAFE_MODULES]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found += unsafe_names(node.module, [alias.name for alias in node.names])
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            package = packages.get(node.value.id, node.value.id)
            found += [f"line {node.lineno}: {package}.{node.attr}"] if (package, node.attr) in UNSAFE_CALLS else []
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not is_false(node.value):
            found.append(f"line {node.lineno}: allow_pickle")
    return found


def unsafe_names(module: str, names: list[str]) -> list[str]:
    package = module.partition(".")[0]
    wrong = [name for name in names if package in UNSAFE_MODULES or (package, name) in UNSAFE_CALLS]
    return [f"from {module} import {name}" for name in wrong]


def is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).as_posix()


def test_the_package_was_found() -> None:
    assert len(FILES) > 5


def test_no_module_or_folder_is_a_place_for_things_without_a_name() -> None:
    assert [relative(path) for path in FILES if names(path) & HOMELESS] == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_exception_is_swallowed(path: Path) -> None:
    assert list(swallowed(parsed(path))) == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_file_is_loaded_that_could_run_code(path: Path) -> None:
    assert unsafe(parsed(path)) == []


def test_values_are_named_for_what_they_are() -> None:
    counted = Counter(name.strip("_") for path in FILES for name in named_values(parsed(path)))
    participles = {name: counted[name] for name in PARTICIPLES if counted[name]}
    assert sum(participles.values()) <= PARTICIPLES_AT_MOST * counted.total(), participles


def test_a_participle_is_counted_as_an_argument_and_as_a_variable() -> None:
    text = "def f(found, known_at, *kept):\n    told, price = found, kept\n    for made in told: print(made)"
    participles = {name for name in named_values(ast.parse(text)) if name in PARTICIPLES}
    assert participles == {"found", "kept", "told", "made"}


def test_no_two_classes_have_one_name() -> None:
    nodes = (node for path in FILES for node in ast.walk(parsed(path)))
    classes = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    assert [name for name, times in classes.items() if times > 1] == []


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    f()\nexcept:\n    pass",
        "try:\n    f()\nexcept ValueError:\n    pass",
        "try:\n    f()\nexcept ValueError:\n    ...",
        "try:\n    f()\nexcept ValueError:\n    'never mind'",
    ],
)
def test_a_swallowed_exception_is_found(text: str) -> None:
    assert list(swallowed(ast.parse(text))) == [3]
    assert list(swallowed(ast.parse("try:\n    f()\nexcept ValueError:\n    g()"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "def f():\n    from cloudpickle import loads",
        "from joblib import load",
        "import joblib\njoblib.load(path)",
        "import torch as t\nt.load(path)",
        "import torch\ntorch.save(x, path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=flag)",
    ],
)
def test_an_unsafe_loader_is_found(text: str) -> None:
    assert len(unsafe(ast.parse(text))) == 1


@pytest.mark.parametrize(
    "text", ["import json\njson.load(file)", "import numpy as np\nnp.load(path, allow_pickle=False)", "import torch.nn"]
)
def test_a_safe_loader_is_left_alone(text: str) -> None:
    assert unsafe(ast.parse(text)) == []
