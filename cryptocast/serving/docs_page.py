"""The page at `/docs`: the description of `/openapi.json` for people, without a script or a request to anybody."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from html import escape
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from cryptocast.serving.openapi import SCHEMAS, description
from cryptocast.serving.page_shell import document
from cryptocast.serving.paths import Paths

HOST: Final = "http://localhost:8000"
Described = Mapping[str, Any]


@lru_cache(maxsize=4)
def docs_page(paths: Paths, *, max_ids: int, has_token: bool) -> bytes:
    """The whole document in UTF-8."""
    described = description(paths, max_ids=max_ids, has_token=has_token)
    body = (
        '<header><a class="brand" href="/">cryptocast</a>'
        '<nav aria-label="More"><a href="/openapi.json">openapi.json</a></nav></header>'
        f"<main><section><h1>API</h1><p>{escape(described['info']['description'])}</p>{_login(has_token)}"
        f"{''.join(_contents(described))}</section>{''.join(_operations(described))}"
        f"<section><h2>Types</h2>{''.join(_types(described))}</section></main>"
    )
    return document("API - cryptocast", body)


def _login(has_token: bool) -> str:
    if not has_token:
        return "<p>This server asks for no token.</p>"
    return (
        "<p>Programs send the server's token: <code>Authorization: Bearer TOKEN</code>. A browser that has logged in"
        " may open everything that can be read.</p>"
    )


def _each(described: Described) -> Iterator[tuple[str, str, Described]]:
    """Path, method and operation, by tag."""
    for tag in described["tags"]:
        for path, methods in described["paths"].items():
            for method, operation in methods.items():
                if operation["tags"] == [tag["name"]]:
                    yield path, method.upper(), operation


def _contents(described: Described) -> Iterator[str]:
    for tag in described["tags"]:
        links = "".join(
            f'<a href="#{operation["operationId"]}">{escape(path)}</a>'
            for path, _, operation in _each(described)
            if operation["tags"] == [tag["name"]]
        )
        yield f'<nav class="chips" aria-label="{tag["name"]}"><span>{tag["name"]}</span>{links}</nav>'


def _operations(described: Described) -> Iterator[str]:
    for path, method, operation in _each(described):
        content = operation["responses"]["200"]["content"]
        media_type, answer = next(iter(content.items()))
        schema = answer["schema"]
        kind = f"<p>Answers with {_type(schema)} as <code>{media_type}</code>.</p>" if schema else ""
        yield (
            f'<section id="{operation["operationId"]}"><h2><code>{method} {escape(path)}</code> '
            f"{escape(operation['summary'])}</h2><p>{escape(operation['description'])}</p>"
            f"{_parameters(operation['parameters'])}{_asked(path, method, operation)}{kind}{_example(answer)}</section>"
        )


def _parameters(rows: Sequence[Described]) -> str:
    if not rows:
        return ""
    cells = "".join(
        f"<tr><td><code>{one['name']}</code>{' (needed)' if one['required'] else ''}</td>"
        f'<td class="text">{escape(one["description"])}</td>'
        f'<td class="text"><code>{escape(_plain(one.get("example")))}</code></td></tr>'
        for one in rows
    )
    return (
        '<table><thead><tr><th>parameter</th><th class="text">what it may be</th><th class="text">example</th></tr>'
        f"</thead><tbody>{cells}</tbody></table>"
    )


def _asked(path: str, method: str, operation: Described) -> str:
    """How to ask it in a terminal, and in a browser what is safe to ask there."""
    examples = {one["name"]: _plain(one["example"]) for one in operation["parameters"]}
    address = path.replace("{name}", examples.get("name", ""))
    chosen = {name: examples[name] for name in ("ids", "horizons") if name in examples}
    if method == "POST":
        chosen = examples
    query = f"?{urlencode(chosen, safe=',')}" if chosen else ""
    token = " -H 'Authorization: Bearer TOKEN'" if "security" in operation else ""
    verb = " -X POST" if method == "POST" else ""
    line = f"curl{verb}{token} '{HOST}{address}{query}'"
    link = f' <a href="{escape(address + query)}">Open</a>' if method == "GET" else ""
    return f"<p><code>{escape(line)}</code>{link}</p>"


def _example(answer: Described) -> str:
    if "example" not in answer:
        return ""
    text = msgspec.json.format(msgspec.json.encode(answer["example"]), indent=2).decode()
    return f"<details><summary>Example</summary><pre>{escape(text)}</pre></details>"


def _types(described: Described) -> Iterator[str]:
    for name, schema in described["components"]["schemas"].items():
        about = escape(schema.get("description", ""))
        if "enum" in schema:
            values = ", ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
            yield f'<details id="{name}"><summary>{name}</summary><p>{about} One of {values}.</p></details>'
            continue
        rows = "".join(
            f'<tr><td><code>{escape(field)}</code></td><td class="text">{_type(one)}</td>'
            f'<td class="text">{escape(one.get("description", ""))}</td></tr>'
            for field, one in schema["properties"].items()
        )
        head = '<tr><th>field</th><th class="text">type</th><th class="text">what it is</th></tr>'
        yield (
            f'<details id="{name}"><summary>{name}</summary><p>{about}</p>'
            f"<table><thead>{head}</thead><tbody>{rows}</tbody></table></details>"
        )


def _type(schema: Described) -> str:
    """A schema in a word or two, with a link where it is described."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(SCHEMAS)
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"{_type(schema['additionalProperties'])} by name"
    return escape(str(schema.get("format", schema.get("type", "anything"))))


def _plain(example: Any) -> str:
    return ",".join(map(str, example)) if isinstance(example, list) else "" if example is None else str(example)
