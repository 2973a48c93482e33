"""What every page has: its head, its one style sheet, and the policy under which a browser may do next to nothing.

The style sheet and the script stand inside the page and are named by their hashes, so nothing is loaded from anywhere
and nothing else runs, whatever text of others a page shows.
"""

import base64
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Final

FOLDER: Final = Path(__file__).parent
HTML: Final = "text/html; charset=utf-8"
STYLE: Final = (FOLDER / "pages.css").read_text(encoding="utf-8")
ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath d='M1 9l5-1 9-7v14L6 10z' fill='%234c9aff'/%3E%3C/svg%3E"
)


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def page_headers(script: str = "") -> Mapping[str, str]:
    """The headers of a page. Its forms are sent to this server alone, and say that they come from it."""
    runs = f" script-src {_source(script)}; connect-src 'self';" if script else ""
    policy = (
        f"default-src 'none'; style-src {_source(STYLE)};{runs} img-src data:; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    return MappingProxyType({"Content-Security-Policy": policy, "Referrer-Policy": "same-origin"})


def document(title: str, body: str, script: str = "") -> bytes:
    """The whole page in UTF-8. title: text; body: HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="{ICON}"><style>{STYLE}</style></head>'
        f"<body>{body}{f'<script>{script}</script>' if script else ''}</body></html>"
    ).encode()
