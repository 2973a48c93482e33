"""Whether a text is a LightGBM model that can be loaded safely. Pure Python: LightGBM itself is not asked.

LightGBM trusts the text: counts and indices that do not fit make it abort or read past its arrays, which ends the whole
process, where no exception can be caught. What comes from elsewhere is therefore checked here first.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

MAX_BYTES: Final = 256 * 2**20
MAX_FEATURES: Final = 10_000
MAX_LEAVES: Final = 1024  # what the settings allow
MAX_TREES: Final = 100_000
WHOLES: Final = re.compile(r"-?[0-9]{1,10}(?: -?[0-9]{1,10})*\Z")
BRANCHES: Final = ("split_gain", "threshold", "internal_value", "internal_weight", "internal_count")
# A split of the missing values from all others stands at infinity, and may gain without bound.
UNBOUNDED: Final = frozenset({"split_gain", "threshold"})
LEAVES: Final = ("leaf_value", "leaf_weight", "leaf_count")
DECISIONS: Final = frozenset(range(0, 16, 2))
INDICES: Final = ("split_feature", "decision_type", "left_child", "right_child")
# What no answer rests on. Of these it is enough that there are as many words of a number's signs.
ASIDE: Final = frozenset({"split_gain", "internal_value", "internal_weight", "internal_count", *LEAVES[1:]})
SIGNS: Final = str.maketrans("", "", "0123456789.+-e ")
KNOWN: Final = frozenset({"num_leaves", "num_cat", "is_linear", "shrinkage", *BRANCHES, *LEAVES, *INDICES})


def check_booster(data: bytes) -> int:
    """The number of trees of a model as `Booster.model_to_string` writes it.

    One output, no categories, no linear leaves. Raises ValueError that says which count, index or number does not fit.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has {len(data):,} bytes, more than {MAX_BYTES:,}")
    if not data.isascii():
        raise ValueError("it is no ASCII text")
    top = data.partition(b"\n\n")[0]
    if not top.startswith(b"tree\nversion=v4\n"):
        raise ValueError("it does not begin as version 4 of the format does")
    header = _fields(top.decode().split("\n")[1:], "the header")
    features = _check_header(header)
    sizes = _wholes(header, "tree_sizes") if header.get("tree_sizes") else []
    if len(sizes) > MAX_TREES:
        raise ValueError(f"it has {len(sizes)} trees, more than {MAX_TREES:,}")
    at = len(top) + 2
    for number, size in enumerate(sizes):
        if size <= 0 or at + size > len(data):
            raise ValueError(f"tree {number} has {size} bytes, more than are there")
        _check_tree(data[at : at + size].decode(), number, features)
        at += size
    if not data.startswith(b"end of trees\n", at) or b"\nTree=" in data[at:]:
        raise ValueError("its trees do not end where their sizes say")
    return len(sizes)


def _check_header(header: Mapping[str, str]) -> int:
    """The number of features."""
    for name, expected in (("num_class", 1), ("num_tree_per_iteration", 1), ("label_index", 0)):
        if _whole(header, name) != expected:
            raise ValueError(f"{name} is not {expected}")
    features = _whole(header, "max_feature_idx") + 1
    if not 1 <= features <= MAX_FEATURES:
        raise ValueError(f"it names {features} features, expected 1 to {MAX_FEATURES:,}")
    for name in ("feature_names", "feature_infos"):
        if len(header.get(name, "").split(" ")) != features:
            raise ValueError(f"{name} does not list {features} features")
    return features


def _check_tree(text: str, number: int, features: int) -> None:
    lines = text.rstrip("\n").split("\n")
    where = f"tree {number}"
    if lines[0] != f"Tree={number}":
        raise ValueError(f"{where} does not begin where the sizes say")
    fields = _fields(lines[1:], where)
    if not fields.keys() <= KNOWN:
        raise ValueError(f"{where} has an unknown line {min(fields.keys() - KNOWN)[:40]!a}")
    leaves = _whole(fields, "num_leaves")
    if not 1 <= leaves <= MAX_LEAVES:
        raise ValueError(f"{where} has {leaves} leaves, expected 1 to {MAX_LEAVES}")
    if _whole(fields, "num_cat") != 0 or _whole(fields, "is_linear") != 0:
        raise ValueError(f"{where} has categories or linear leaves, which ours never do")
    _numbers(fields, "shrinkage", 1, where)
    _numbers(fields, "leaf_value", leaves, where)
    if leaves > 1:
        _check_branches(fields, leaves, features, where)
        return
    for name in (*BRANCHES, *INDICES, *LEAVES[1:]):  # a tree of one leaf may leave out everything but its value
        if len(fields.get(name, "").split()) > 1:
            raise ValueError(f"{where}: {name} is too long for one leaf")


def _check_branches(fields: Mapping[str, str], leaves: int, features: int, where: str) -> None:
    for name in BRANCHES:
        _numbers(fields, name, leaves - 1, where, infinite=name in UNBOUNDED)
    for name in LEAVES[1:]:
        _numbers(fields, name, leaves, where)
    indices = {name: _wholes(fields, name) for name in INDICES}
    if any(len(values) != leaves - 1 for values in indices.values()):
        raise ValueError(f"{where} does not have {leaves - 1} branches")
    if min(indices["split_feature"]) < 0 or max(indices["split_feature"]) >= features:
        raise ValueError(f"{where} asks for a feature beyond the {features} there are")
    if not DECISIONS.issuperset(indices["decision_type"]):
        raise ValueError(f"{where} decides in a way that ours never do")
    _check_children(indices["left_child"], indices["right_child"], leaves, where)


def _check_children(left: Sequence[int], right: Sequence[int], leaves: int, where: str) -> None:
    """Each branch but the first, and each leaf (~index), hangs below exactly one earlier branch: so it is a tree."""
    is_each_once = sorted((*left, *right)) == [*range(-leaves, 0), *range(1, leaves - 1)]
    if not is_each_once or any(0 <= child <= parent for side in (left, right) for parent, child in enumerate(side)):
        raise ValueError(f"{where}: its branches make no tree")


def _fields(lines: Sequence[str], where: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition("=")
        if name in fields:
            raise ValueError(f"{where} says {name[:40]!a} twice")
        fields[name] = value
    return fields


def _whole(fields: Mapping[str, str], name: str) -> int:
    values = _wholes(fields, name)
    if len(values) != 1:
        raise ValueError(f"{name} is not one number")
    return values[0]


def _wholes(fields: Mapping[str, str], name: str) -> list[int]:
    text = fields.get(name, "")
    if not WHOLES.match(text):
        raise ValueError(f"{name} is missing or holds what is no whole number")
    return list(map(int, text.split(" ")))


def _numbers(fields: Mapping[str, str], name: str, count: int, where: str, *, infinite: bool = False) -> None:
    text = fields.get(name, "")
    words = text.split(" ")
    if name in ASIDE and len(words) == count and all(words) and not text.translate(SIGNS):
        return
    try:
        numbers = list(map(float, words))
        are_fine = not any(map(math.isnan, numbers)) if infinite else all(map(math.isfinite, numbers))
        sound = len(words) == count and are_fine
    except ValueError:
        sound = False
    if not sound:
        raise ValueError(f"{where}: {name} is not {count} {'' if infinite else 'finite '}numbers")
