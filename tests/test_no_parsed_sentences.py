"""No sentence of our own is taken apart again: facts are values, and a sentence is made where it is shown."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cryptocast"
# Records of earlier releases, whose verdicts were sentences, are read there and nowhere else.
OLD_FORMS = PACKAGE / "evaluation" / "stored.py"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != OLD_FORMS)

# What holds or makes text for people.
SENTENCES = {
    "ab_sentence",
    "caption",
    "comparison_sentence",
    "decision",
    "degraded",
    "detail",
    "fallback",
    "fallback_reason",
    "headline",
    "notice",
    "notices",
    "reason",
    "reasons",
    "sentence",
    "summary",
    "answer_numbers",
    "answer_sentence",
    "answer_words",
    "over_horizons",
    "verdict",
    "verdicts",
    "why",
    "why_not",
    "words",
}
TAKE_APART = {
    "endswith",
    "find",
    "index",
    "partition",
    "removeprefix",
    "removesuffix",
    "rfind",
    "rindex",
    "rpartition",
    "rsplit",
    "split",
    "splitlines",
    "startswith",
}
PATTERNS = {"findall", "finditer", "fullmatch", "match", "search", "sub"}


def parsed_sentences(tree: ast.AST) -> Iterator[int]:
    """The lines where a sentence is split, searched or looked into."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=of, attr=attr)) if attr in TAKE_APART and is_sentence(of):
                yield node.lineno
            case ast.Call(func=ast.Attribute(attr=attr), args=args) if attr in PATTERNS and any(map(is_sentence, args)):
                yield node.lineno
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[other]) if (
                is_text(left) and name_of(other) in SENTENCES
            ):
                yield node.lineno
            case ast.Subscript(value=of, slice=ast.Slice()) if is_one_sentence(of):
                yield node.lineno


def is_sentence(node: ast.expr) -> bool:
    """Whether any name in the expression is that of a sentence."""
    return any(name_of(part) in SENTENCES for part in ast.walk(node))


def is_one_sentence(node: ast.expr) -> bool:
    """Whether the expression itself is one, and no tuple of several."""
    name = name_of(node)
    return name in SENTENCES and not name.endswith("s")


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def name_of(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case ast.Call(func=func):
            return name_of(func)
        case _:
            return ""


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).as_posix()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_sentence_is_taken_apart(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    assert [f"{relative(path)}:{line}" for line in parsed_sentences(tree)] == []


@pytest.mark.parametrize(
    "text",
    [
        'score.verdict.startswith("better")',
        "P.search(score.verdict)",
        're.sub("p = ", "", row.why_not)',
        'horizon.verdict.partition(" (")[0]',
        'document["verdict"].split(" (")',
        'event.why.split("; ")',
        '"baseline" in forecast.fallback_reason.detail',
        'f"{name} is" not in why',
        "headline(answer).removeprefix(answer.answer)",
        "answer_sentence(answer)[:6]",
        'caption.partition(".")[0]',
    ],
)
def test_a_sentence_that_is_taken_apart_is_found(text: str) -> None:
    assert list(parsed_sentences(ast.parse(text))) == [1]


@pytest.mark.parametrize(
    "text",
    [
        'score.verdict.word == "better"',
        'name.startswith("rw_")',
        '"yes" in {answer.answer for answer in answers}',
        "decision.reasons[1:]",
        'raw.split(",")',
        "question in score.answers",
    ],
)
def test_values_may_be_looked_at(text: str) -> None:
    assert list(parsed_sentences(ast.parse(text))) == []
