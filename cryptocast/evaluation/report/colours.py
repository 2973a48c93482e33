"""Colours by name: a stand-in to draw with, and what it becomes in light and in dark.

A chart is drawn once, in colours that stand for a role. In the page each becomes a variable of the style sheet, so that
one drawing serves both schemes. The series are those of Okabe and Ito, which people with any
common colour blindness can tell apart, darkened or lightened to at least 3:1 on their ground; shapes and dashes tell
them apart as well.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Colour:
    """One role: its stand-in in a drawing, and its value in each scheme."""

    role: str
    stand_in: str
    light: str
    dark: str


def _numbered(*roles: tuple[str, str, str]) -> dict[str, Colour]:
    # No chart would draw in these by chance: almost black, and each of its own.
    return {role: Colour(role, f"#010f{i:02x}", light, dark) for i, (role, light, dark) in enumerate(roles)}


COLOURS = _numbered(
    ("ink", "#1b1f24", "#e6e9ed"),
    ("muted", "#57606a", "#9aa4af"),
    ("line", "#d9dee4", "#30373f"),
    ("paper", "#ffffff", "#14181d"),
    ("accent", "#0a5fb4", "#6cb6ff"),
    ("band-wide", "#dbe8f5", "#1c3147"),
    ("band-middle", "#b3d0ec", "#28507a"),
    ("band-narrow", "#84b2df", "#3a73ad"),
    ("miss", "#b84300", "#ff9a57"),
    ("series-0", "#0a5fb4", "#6cb6ff"),
    ("series-1", "#b84300", "#ff9a57"),
    ("series-2", "#00795a", "#3ecf9f"),
    ("series-3", "#a03c78", "#eb9bcb"),
    ("series-4", "#8a6a00", "#e6c229"),
    ("series-5", "#41708f", "#9fd3f0"),
    ("series-6", "#57606a", "#9aa4af"),
)
SERIES = tuple(colour for role, colour in COLOURS.items() if role.startswith("series-"))
_IN_PAGE = {colour.stand_in: f"var(--{colour.role})" for colour in COLOURS.values()}
_LIGHT = {colour.stand_in: colour.light for colour in COLOURS.values()}


def in_page(text: str) -> str:
    """What stands in the page for a colour in a drawing; any other text as it is."""
    return _IN_PAGE.get(text.lower(), text)


def in_light(spec: Any) -> Any:
    """A chart's JSON with the light colours in place of the stand-ins: for a picture, which has one scheme."""
    if isinstance(spec, dict):
        return {key: in_light(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [in_light(value) for value in spec]
    return _LIGHT.get(spec, spec) if isinstance(spec, str) else spec


def variables(scheme: str) -> str:
    """The variables of a scheme, as declarations: `--ink:#1b1f24;...`."""
    return "".join(f"--{c.role}:{c.light if scheme == 'light' else c.dark};" for c in COLOURS.values())
