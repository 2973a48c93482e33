"""The hashes of the catalogue's columns as they were computed when this release was made, so that no process has to.

They hold for what they were computed with: this folder's text and the releases of the libraries that it calls. Where
any of it is another, it is computed, so that a release of Polars that gives other values does not go unnoticed.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from cryptocast.features.builder import feature_hash
from cryptocast.features.catalogue import Feature
from cryptocast.features.expressions import TALIB_RELEASE

FILE: Final = Path(__file__).with_name("catalogue_hashes.json")


def catalogue_hash(features: Sequence[Feature]) -> str:
    """As `feature_hash`, of features of the catalogue: taken from the file where that holds."""
    return _stored().get(name_of(features)) or feature_hash(features)


def name_of(features: Sequence[Feature]) -> str:
    """By which the file has the hash of these features of the catalogue."""
    return hashlib.sha256("\n".join(feature.name for feature in features).encode()).hexdigest()[:16]


def basis() -> str:
    """Hash of all that the values depend on, beside the features' names."""
    releases = "\n".join(
        f"{name} {release}"
        for name, release in (("numpy", np.__version__), ("polars", pl.__version__), ("talib", TALIB_RELEASE))
    )
    texts = [path.read_bytes() for path in sorted(FILE.parent.glob("*.py"))]
    return hashlib.sha256(b"\0".join([releases.encode(), *texts])).hexdigest()


@lru_cache(maxsize=1)
def _stored() -> dict[str, str]:
    """The hashes by name; none where they were computed with something else."""
    try:
        content = json.loads(FILE.read_bytes())
        return dict(content["hashes"]) if content["basis"] == basis() else {}
    except (OSError, ValueError, KeyError, TypeError):  # as in an archive, or where somebody has edited it
        return {}
