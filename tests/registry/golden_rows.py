"""The rows that the golden artefacts were asked about: a Matrix as plain arrays, written once and read ever after."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cryptocast.features.matrix import Matrix, Panel

__all__ = ["GOLDEN", "KINDS", "read_rows", "write_arrays", "write_rows"]

GOLDEN: Final = Path(__file__).parent / "golden"
KINDS: Final = ("lightgbm", "lstm", "ml_ensemble")


def write_rows(path: Path, matrix: Matrix) -> None:
    """Every field of the matrix and of its panel, the latter under "panel." and its name."""
    own = {field.name: getattr(matrix, field.name) for field in fields(Matrix) if field.name != "panel"}
    own = {name: value for name, value in own.items() if value is not None}
    behind = {f"panel.{field.name}": getattr(matrix.panel, field.name) for field in fields(Panel)}
    write_arrays(path, {name: np.asarray(value) for name, value in {**own, **behind}.items()})


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """By name, compressed."""
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_rows(path: Path) -> Matrix:
    """What `write_rows` wrote; nothing in it is ever unpickled."""
    with np.load(path, allow_pickle=False) as stored:
        found = {name: stored[name] for name in stored.files}
    names = {field.name for field in fields(Panel)}
    panel = {name: found[f"panel.{name}"] for name in names}
    own = {name: value for name, value in found.items() if not name.startswith("panel.")}
    return Matrix(
        **{
            **own,
            "panel": Panel(**{**panel, "coins": tuple(panel["coins"].tolist())}),
            "feature_names": tuple(own["feature_names"].tolist()),
            "bar_us": int(own["bar_us"]),
        }
    )
