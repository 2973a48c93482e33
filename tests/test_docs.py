"""The docs: every page is on the site, every exported name is described, links are checked, the notebook runs."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cryptocast

DOCS = Path(__file__).resolve().parents[1] / "docs"


def script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(notebook: dict[str, Any]) -> list[list[tuple[str, list[str]]]]:
    """The kinds of a notebook's outputs and the words of those that are text. Numbers may differ between processors."""
    return [
        [
            (output["output_type"], re.findall(r"[A-Za-z]+", "".join(data.get("text/plain", output.get("text", "")))))
            for output in cell.get("outputs", ())
            for data in (output.get("data", {}),)
        ]
        for cell in notebook["cells"]
    ]


def test_the_notebook_still_runs_and_says_what_it_says() -> None:
    notebook = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))
    again = script("make_notebook").run(notebook)
    assert sum(len(cell) for cell in words(notebook)) >= 7
    assert words(again) == words(notebook), "python docs/make_notebook.py writes it anew"


def test_every_page_is_in_the_navigation() -> None:
    nav = tomllib.loads((DOCS / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    linked = set(re.findall(r"'([\w/.]+)\.md'", str(nav)))
    assert linked == {page.stem for page in DOCS.glob("*.md")} | {"notebook", "sources/config.toml"}


def test_every_exported_name_is_in_the_reference() -> None:
    described = re.findall(r"^::: cryptocast\.(\w+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(described) == sorted(set(cryptocast.__all__) - {"__version__"})


PAGE = '<h1 id="top">x</h1>'


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('<a href="other.html#part">x</a><a href="https://example.org">x</a><a href="#top">x</a>', None),
        ('<a href="gone.html">x</a>', "gone.html leads nowhere"),
        ('<a href="other.html#gone">x</a>', "other.html#gone names no heading there"),
        ('<a href="#gone">x</a>', "#gone names no heading there"),
        ('<img src="gone.png">', "gone.png leads nowhere"),
        ('<script src="https://cdn.example.org/x.js"></script>', "fetches https://cdn.example.org/x.js"),
        ('<link rel="stylesheet" href="//fonts.example.org/x.css">', "fetches //fonts.example.org/x.css"),
    ],
)
def test_a_link_that_leads_nowhere_and_a_foreign_request_are_faults(
    page: str, fault: str | None, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text(PAGE + page)
    (tmp_path / "other.html").write_text('<h2 id="part">x</h2>')
    found = list(script("make_site").faults(tmp_path))
    assert len(found) == (fault is not None)
    assert fault is None or found[0].endswith(fault)
