"""HTML built from values: whatever is not already `Html` is escaped, so that no text can become a tag."""

import html
import re
from collections.abc import Iterable

# Controls that no document may hold, lone surrogates that no file can, and marks that turn the direction of text.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_VOID = frozenset({"meta", "br", "hr", "link", "col"})


class Html(str):
    """A text that is HTML already: escaped where it came from outside."""

    __slots__ = ()


def clean(value: str) -> str:
    """The text with a replacement character for whatever a document cannot hold or a reader cannot see."""
    return _UNFIT.sub("\ufffd", value)


def text(value: str) -> Html:
    """The text as HTML: escaped, unless it is HTML already."""
    return value if isinstance(value, Html) else Html(html.escape(clean(value), quote=True))


def join(parts: Iterable[str]) -> Html:
    """The parts one after the other, each escaped if it is not HTML."""
    return Html("".join(text(part) for part in parts))


def tag(element: str, /, *children: str, **attributes: str | None) -> Html:
    """An element. Attributes: `class_` is class and `aria_label` aria-label; None leaves one out, "" writes it bare."""
    pairs = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + (f'="{text(value)}"' if value else "")
        for key, value in attributes.items()
        if value is not None
    )
    if element in _VOID:
        return Html(f"<{element}{pairs}>")
    return Html(f"<{element}{pairs}>{join(children)}</{element}>")
