"""The text of config.toml: every setting with its default and its comment, made from the structs of `config`.

`python -m cryptocast.config_text FILE` writes it; the file in the repository is this text, which a test holds.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import fields

from cryptocast.config import Config, Section, section_type

HEAD: Final = """\
# Every setting of cryptocast, with its default. Delete what you do not change: a missing key keeps its default.
# Relative paths start at the folder of this file. CRYPTOCAST_SECTION__KEY=value in the environment overrides a setting.
# Secrets do not belong here: CRYPTOCAST_COINGECKO_API_KEY, CRYPTOCAST_SERVE_TOKEN and CRYPTOCAST_NOTIFY_URL are read
# from the environment.
"""


def config_text(config: Config | None = None) -> str:
    """The settings as TOML, the defaults unless others are given."""
    sections = ((name, getattr(config or Config(), name)) for name in Config.__struct_fields__)
    blocks = (lines for name, section in sections for lines in _blocks(name, section))
    return "\n".join([HEAD, *("".join(f"{line}\n" for line in lines) for lines in blocks)])


def _blocks(name: str, section: Section | dict[str, Section]) -> Iterator[Iterator[str]]:
    """The lines of a section; of one that there may be any number of those of each, or a commented example."""
    if isinstance(section, Section):
        yield _section(name, section)
    elif section:
        yield from (_section(f"{name}.{own}", one) for own, one in section.items())
    else:
        kind = section_type(name)
        yield (f"# {line}" for line in _lines(f"{name}.NAME", kind, {f.name: f.default for f in fields(kind)}))


def _section(name: str, section: Section) -> Iterator[str]:
    return _lines(name, type(section), msgspec.structs.asdict(section))


def _lines(name: str, kind: type[Section], values: Mapping[str, Any]) -> Iterator[str]:
    yield f"[{name}]"
    for field in fields(kind):
        comment, *below = kind.comments[field.name].split("\n")
        yield f"{field.name} = {toml_value(values[field.name])}  # {comment}"
        yield from (f"# {line}" for line in below)


def toml_value(value: Any) -> str:
    """A value as TOML writes it. JSON's notation is the same for strings, numbers, booleans and lists of them."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {toml_value(item)}' for key, item in value.items())} }}" if value else "{}"
    if isinstance(value, tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    return json.dumps(str(value) if isinstance(value, Path | date) else value, ensure_ascii=False)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(config_text(), encoding="utf-8")
