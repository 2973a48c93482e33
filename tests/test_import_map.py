"""Which room may import which, as a table, and every import of the package held against it.

The text of each module is read with `ast`, so imports inside functions and under TYPE_CHECKING count like any other.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cryptocast"

# `kinds` is the table of the kinds of models without the models: settings, options and parameters are made of it.
BELOW = {
    "own_code",
    "errors",
    "choices",
    "arrays",
    "config",
    "market",
    "files",
    "addresses",
    "extras",
    "kinds",
    "times",
    "number_format",
    "spread",
}
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "arrays": set(),
    "choices": set(),
    "files": set(),
    "number_format": set(),
    "spread": set(),
    "addresses": set(),
    "times": set(),
    "allowed": {"addresses"},
    "extras": {"errors"},
    "kinds": {"extras"},
    "own_code": {"errors"},
    "config": {"choices", "errors", "allowed", "kinds"},
    "config_text": {"config"},
    "market": {"choices"},
    "folds": {"errors", "arrays"},
    "scoring": {"errors", "arrays", "times"},
    "net": BELOW,
    "data": BELOW | {"net"},
    "features": BELOW | {"data", "folds"},
    "models": BELOW | {"folds", "scoring", "features"},
    "evaluation": BELOW | {"folds", "scoring", "features", "models"},
    "registry": BELOW | {"scoring", "models", "evaluation"},
    "workflows": BELOW | {"folds", "scoring", "net", "data", "features", "models", "evaluation", "registry"},
    "serving": BELOW | {"net", "data", "models", "registry", "workflows"},
    "rehearsal": BELOW | {"data"},
    "notebook": {"evaluation", "workflows"},
    "library": BELOW | {"data", "evaluation", "workflows", "notebook"},
    "cli": BELOW | {"config_text", "registry", "workflows", "serving", "rehearsal"},
    "__main__": {"cli"},
}
# The rooms inside `workflows`, with its single modules: each may import of the others what stands beside it.
GROUND = {
    "cluster",
    "context",
    "engines",
    "environment",
    "fallbacks",
    "feature_sets",
    "online_calibration",
    "own_models",
    "pretrained",
    "progress",
    "recipes",
}
BARS = GROUND | {"clean_candles", "coin_pool", "market_data", "reports"}
WORKFLOW_ROOMS: dict[str, set[str]] = {
    **{name: set[str]() for name in sorted(GROUND - {"cluster", "engines", "feature_sets", "own_models", "recipes"})},
    "cluster": {"context", "environment"},
    "engines": {"cluster", "context"},
    "own_models": {"pretrained"},
    "feature_sets": {"own_models"},
    "recipes": {"context", "own_models", "pretrained"},
    "reports": {"fallbacks"},
    "market_data": {"context", "reports"},
    "notices": {"context", "fallbacks"},
    "clean_candles": {"market_data"},
    "coin_pool": {"clean_candles", "context", "market_data", "reports"},
    "doctor": {"context", "feature_sets", "market_data", "notices", "pretrained"},
    "long_form": set(),
    "picture_files": set(),
    "export": {"long_form", "reports"},
    "fan_edges": {"reports"},
    "forecast_pictures": {"coin_pool", "context", "fan_edges", "picture_files", "reports"},
    "late_bars": {"market_data"},
    "audits": BARS,
    "auxiliary_history": BARS,
    "feature_parts": BARS,
    "forecast": BARS | {"late_bars"},
    "store_parts": BARS,
    "forecast_all": BARS | {"export", "forecast", "store_parts"},
    "ladder": BARS | {"forecast"},
    "sample_paths": BARS | {"forecast"},
    "explanation": BARS | {"forecast"},
    "features": BARS | {"audits", "explanation", "feature_parts"},
    "tuning": BARS | {"audits", "auxiliary_history"},
    "backtesting": BARS | {"audits", "auxiliary_history", "forecast", "long_form", "picture_files", "tuning"},
    "training": BARS | {"audits", "auxiliary_history", "forecast", "tuning"},
    "lifecycle": BARS | {"backtesting", "forecast", "notices", "picture_files"},
}
# Of these rooms, only the named modules may be imported.
ONLY_MODULES = {("features", "data"): {"cryptocast.data.schema"}}

# Where a foreign package may be imported, and in how many modules or folders of a room at most.
ANY = sys.maxsize
THIRD_PARTY: dict[str, tuple[set[str], int]] = {
    "httpx": ({"net"}, ANY),
    "stamina": ({"net"}, ANY),
    "talib": ({"features"}, 1),
    "lightgbm": ({"models"}, 1),
    "torch": ({"models"}, 1),
    "safetensors": ({"models"}, ANY),
    "altair": ({"evaluation"}, ANY),
    "vl_convert": ({"evaluation"}, 1),
    "sqlite3": ({"registry"}, ANY),
    "optuna": ({"workflows"}, ANY),
    "joblib": ({"workflows"}, ANY),
    "dask": ({"workflows"}, ANY),
    "distributed": ({"workflows"}, ANY),
    "starlette": ({"serving", "rehearsal"}, ANY),
    "uvicorn": ({"serving"}, 1),
    "prometheus_client": ({"serving"}, ANY),
    "sentry_sdk": ({"serving"}, ANY),
    "typer": ({"cli"}, ANY),
    "rich": ({"cli"}, ANY),
}
PARQUET_ROOM = "data"
PARQUET_CALLS = {
    "read_parquet",
    "read_parquet_schema",
    "read_parquet_metadata",
    "scan_parquet",
    "write_parquet",
    "sink_parquet",
}
# The rooms of pure arithmetic: nothing foreign but these.
ARRAYS_ONLY = {"errors": set[str](), "arrays": {"numpy"}, "folds": {"numpy"}, "scoring": {"numpy", "scipy"}}


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the package: its dotted name, whether it is a package, and its syntax tree."""

    name: str
    is_package: bool
    tree: ast.Module

    @property
    def room(self) -> str:
        """The second part of the name; empty for the root package, which exports lazily from every room."""
        return self.name.partition(".")[2].partition(".")[0]


def read(path: Path) -> Module:
    parts = ("cryptocast", *path.relative_to(PACKAGE).with_suffix("").parts)
    is_package = parts[-1] == "__init__"
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return Module(".".join(parts[:-1] if is_package else parts), is_package, tree)


def module(name: str, text: str) -> Module:
    return Module(name, is_package=False, tree=ast.parse(text))


MODULES = [read(path) for path in sorted(PACKAGE.rglob("*.py"))]


def imports(of: Module) -> Iterator[str]:
    """Every name that the module imports, in full: `from a.b import c` gives `a.b.c`, which may be a module or not."""
    for node in ast.walk(of.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(of, node)
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"} and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def absolute(of: Module, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts = of.name.split(".")
    kept = parts[: len(parts) - node.level + (1 if of.is_package else 0)]
    return ".".join([*kept, node.module] if node.module else kept)


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def forbidden_rooms(of: Module) -> list[str]:
    if not of.room:
        return []
    wrong = []
    for name in imports(of):
        if name != "cryptocast" and not name.startswith("cryptocast."):
            continue
        room = name.partition(".")[2].partition(".")[0]
        if room in {"", "*", "__version__"} or room == of.room:
            continue
        only = ONLY_MODULES.get((of.room, room))
        outside = only is not None and not any(name == m or name.startswith(m + ".") for m in only)
        if room not in ROOMS[of.room] or outside:
            wrong.append(f"{of.name} imports {name}")
    return wrong


def forbidden_workflows(of: Module) -> list[str]:
    """Imports of a workflow's module from a part of `workflows` that its own part may not use."""
    inside = "cryptocast.workflows."
    own = of.name.removeprefix(inside).partition(".")[0]
    if not of.name.startswith(inside) or own not in WORKFLOW_ROOMS:
        return []
    others = {name.removeprefix(inside).partition(".")[0] for name in imports(of) if name.startswith(inside)}
    return sorted(others - {own} - WORKFLOW_ROOMS[own])


def forbidden_packages(of: Module) -> list[str]:
    wrong = []
    for name in imports(of):
        package = name.partition(".")[0]
        if package in THIRD_PARTY and of.room not in THIRD_PARTY[package][0]:
            wrong.append(f"{of.name} imports {package}")
    return wrong


def parquet_access(of: Module) -> list[str]:
    if of.room == PARQUET_ROOM:
        return []
    wrong = [f"{of.name} imports {name}" for name in imports(of) if name.startswith("pyarrow.parquet")]
    for node in ast.walk(of.tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in PARQUET_CALLS:
            wrong.append(f"{of.name} uses {name}")
    return wrong


def test_the_package_was_found() -> None:
    assert {"cryptocast", "cryptocast.errors", "cryptocast.scoring"} <= {of.name for of in MODULES}


@pytest.mark.parametrize("of", MODULES, ids=lambda of: of.name)
def test_each_module_imports_only_the_rooms_below_its_own(of: Module) -> None:
    assert not of.room or of.room in ROOMS, f"{of.name}: the room {of.room} is not in the map"
    assert forbidden_rooms(of) == []


@pytest.mark.parametrize(
    "of", [of for of in MODULES if of.room == "workflows" and of.name.count(".") > 1], ids=lambda of: of.name
)
def test_each_workflow_imports_only_the_parts_below_its_own(of: Module) -> None:
    assert of.name.split(".")[2] in WORKFLOW_ROOMS, f"{of.name} is not in the map"
    assert forbidden_workflows(of) == []


@pytest.mark.parametrize("of", MODULES, ids=lambda of: of.name)
def test_each_foreign_package_stays_in_its_room(of: Module) -> None:
    assert forbidden_packages(of) == []


@pytest.mark.parametrize("of", MODULES, ids=lambda of: of.name)
def test_parquet_files_are_read_and_written_in_data_only(of: Module) -> None:
    assert parquet_access(of) == []


@pytest.mark.parametrize(
    "package", [name for name, (_, most) in THIRD_PARTY.items() if most != ANY], ids=lambda name: name
)
def test_the_heavy_packages_live_in_one_place_each(package: str) -> None:
    # A model of several modules is a folder: network, training and forecaster are one place.
    using = [of.name for of in MODULES if any(name.partition(".")[0] == package for name in imports(of))]
    users = {".".join(name.split(".")[:3]) for name in using}
    assert len(users) <= THIRD_PARTY[package][1], f"{package} is imported by {sorted(users)}"


@pytest.mark.parametrize("of", [of for of in MODULES if of.room in ARRAYS_ONLY], ids=lambda of: of.name)
def test_the_rooms_of_arithmetic_know_arrays_only(of: Module) -> None:
    foreign = {name.partition(".")[0] for name in imports(of)} - set(sys.stdlib_module_names) - {"cryptocast"}
    assert foreign <= ARRAYS_ONLY[of.room]


@pytest.mark.parametrize("rooms", [ROOMS, WORKFLOW_ROOMS], ids=["package", "workflows"])
def test_the_map_has_no_circle(rooms: dict[str, set[str]]) -> None:
    # Each room stands in the map below all that it may import.
    seen: set[str] = set()
    for room, may in rooms.items():
        assert may <= seen, f"{room} may import {may - seen}, which the map lists after it"
        seen.add(room)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cryptocast.scoring.x", "from cryptocast.config import Config"),
        ("cryptocast.scoring.x", "import cryptocast.data.schema"),
        ("cryptocast.scoring.x", "from cryptocast import models"),
        ("cryptocast.scoring.x", "from ..models import base"),
        ("cryptocast.scoring.x", "from .. import models"),
        ("cryptocast.models.x", "def f():\n    from cryptocast.evaluation import walk"),
        ("cryptocast.models.x", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cryptocast.registry"),
        ("cryptocast.models.x", "import importlib\nimportlib.import_module('cryptocast.registry.store')"),
        ("cryptocast.features.x", "from cryptocast.data import store"),
        ("cryptocast.features.x", "from cryptocast.data.store import Store"),
        ("cryptocast.features.x", "import cryptocast.data"),
        ("cryptocast.cli.x", "from cryptocast.models import Forecast"),
        ("cryptocast.net.x", "from cryptocast.data.schema import Candles"),
    ],
)
def test_an_import_against_the_arrow_is_found(name: str, text: str) -> None:
    assert len(forbidden_rooms(module(name, text))) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cryptocast.features.x", "from cryptocast.data.schema import Candles"),
        ("cryptocast.features.x", "from cryptocast.data import schema"),
        ("cryptocast.features.x", "from . import targets\nfrom .targets import target\nfrom ..folds import purged"),
        ("cryptocast.workflows.x", "from cryptocast.net import Client\nfrom cryptocast.data.store import Store"),
        ("cryptocast.cli.x", "from cryptocast import __version__"),
        ("cryptocast", "from cryptocast.models import Forecast"),
    ],
)
def test_an_import_along_the_arrow_is_left_alone(name: str, text: str) -> None:
    assert forbidden_rooms(module(name, text)) == []


def test_a_workflow_that_imports_upwards_is_found() -> None:
    text = (
        "from cryptocast.workflows.lifecycle.promote import promote\nfrom cryptocast.workflows.context import Context"
    )
    assert forbidden_workflows(module("cryptocast.workflows.market_data.fetch", text)) == ["lifecycle"]


@pytest.mark.parametrize("text", ["import httpx", "from httpx import Client", "def f():\n    import torch.nn as nn"])
def test_a_foreign_package_outside_its_room_is_found(text: str) -> None:
    assert len(forbidden_packages(module("cryptocast.workflows.x", text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import pyarrow.parquet as pq",
        "from pyarrow import parquet",
        "from pyarrow.parquet import ParquetFile",
        "frame.write_parquet(path)",
        "from polars import scan_parquet\nscan_parquet(path)",
    ],
)
def test_parquet_outside_data_is_found(text: str) -> None:
    assert parquet_access(module("cryptocast.workflows.x", text)) != []
    assert parquet_access(module("cryptocast.data.x", text)) == []
