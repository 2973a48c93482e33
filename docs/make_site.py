"""Builds the site of the docs and checks its links: python docs/make_site.py [FOLDER]. Needs the extra `docs`.

Pages are built from a copy, in which the notebook is Markdown, and files of the repository that a page links to are
pages too. The finished pages are checked: each link leads to a page and a heading that exist, and nothing is fetched
from elsewhere.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

DOCS: Final = Path(__file__).resolve().parent
ROOT: Final = DOCS.parent
OUTWARD: Final = re.compile(r"\]\(\.\./([^)#]+)\)")
FETCHING: Final = frozenset({"img", "script", "iframe", "source", "video", "audio", "embed", "object"})
FETCHING_RELATIONS: Final = frozenset({"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "manifest"})
NOTEBOOK_PICTURE: Final = "image/svg+xml"
LANGUAGES: Final = {".py": "python", ".toml": "toml", ".yml": "yaml", ".json": "json"}


def stage(folder: Path) -> None:
    """Lay out what the builder reads: its settings, the pages, and the package for the docstrings."""
    pages = folder / "pages"
    pages.mkdir()
    shutil.copy(DOCS / "zensical.toml", folder)
    (folder / "cryptocast").symlink_to(ROOT / "cryptocast", target_is_directory=True)
    for picture in (*DOCS.glob("*.png"), *DOCS.glob("*.svg")):
        shutil.copy(picture, pages)
    texts = {page.name: page.read_text(encoding="utf-8") for page in DOCS.glob("*.md")}
    texts["notebook.md"] = notebook_page(json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8")), pages)
    for name, text in texts.items():
        (pages / name).write_text(OUTWARD.sub(r"](sources/\1.md)", text), encoding="utf-8")
    for path in {path.rstrip("/") for text in texts.values() for path in OUTWARD.findall(text)}:
        target = pages / "sources" / f"{path}.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source_page(path), encoding="utf-8")


def source_page(path: str) -> str:
    """A file of the repository as a page, or all files of a folder on one."""
    place = ROOT / path
    files = [place] if place.is_file() else sorted(file for file in place.iterdir() if file.is_file())
    blocks = [
        f"## {file.name}\n\n````{LANGUAGES.get(file.suffix, 'text')}\n{file.read_text(encoding='utf-8')}````\n"
        for file in files
    ]
    return f"# {path}\n\n" + "\n".join(blocks)


def notebook_page(notebook: Mapping[str, Any], pages: Path) -> str:
    """A notebook with its outputs as Markdown; its pictures become files beside the pages."""
    parts = []
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [_output(output, f"notebook-{number}.svg", pages) for output in cell["outputs"]]
    return "\n\n".join(parts) + "\n"


def _output(output: Mapping[str, Any], picture: str, pages: Path) -> str:
    data = output.get("data", {})
    if NOTEBOOK_PICTURE in data:
        (pages / picture).write_text("".join(data[NOTEBOOK_PICTURE]), encoding="utf-8")
        return f"![Chart]({picture})"
    return "```text\n" + "".join(data.get("text/plain", output.get("text", ""))).rstrip("\n") + "\n```"


class Page(HTMLParser):
    """The links, the fetched addresses and the anchors of a finished page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = {"__top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and FETCHING_RELATIONS & set(values.get("rel", "").split()):
            self.fetched.append(values.get("href", ""))
        if tag in FETCHING:
            self.fetched += [values[name] for name in ("src", "data") if name in values]


def faults(site: Path) -> Iterator[str]:
    """What is wrong with the links of a finished site, a line each."""
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        name = file.relative_to(site)
        for address in page.fetched:
            if urlsplit(address).netloc:
                yield f"{name} fetches {address}"
        for address in (*page.links, *page.fetched):
            if (fault := _link_fault(address, file, pages, site)) is not None:
                yield f"{name}: {fault}"
    for sheet in site.rglob("*.css"):
        yield from (
            f"{sheet.relative_to(site)} fetches {address}"
            for address in re.findall(r"url\([\"']?((?:https?:)?//[^)\"']+)", sheet.read_text(encoding="utf-8"))
        )


def _link_fault(address: str, file: Path, pages: Mapping[Path, Page], site: Path) -> str | None:
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    base = site if parts.path.startswith("/") else file.parent
    target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else file
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return f"{address} leads nowhere"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return f"{address} names no heading there"
    return None


def build(out: Path) -> list[str]:
    """Make the site in `out`; what is wrong with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        stage(folder)
        # Not --strict: it knows neither the anchors of the docstrings nor the errors of their renderer.
        run = subprocess.run(
            [sys.executable, "-m", "zensical", "build", "--clean"], cwd=folder, capture_output=True, text=True
        )
        print(run.stdout, run.stderr, sep="")
        wrong = [line for line in (run.stdout + run.stderr).splitlines() if re.search(r"error|warning", line, re.I)]
        if run.returncode:
            return [*wrong, f"zensical ended with {run.returncode}"]
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(folder / "site", out)
    return [*wrong, *faults(out.resolve())]


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "site")
    wrong = build(folder)
    print(*wrong, f"{folder}: {len(wrong)} faults", sep="\n")
    raise SystemExit(bool(wrong))
