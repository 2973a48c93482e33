"""Spans of time: half open to the left, (start, end], as bars are. Which parts of one are not covered by others."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypeAlias

__all__ = ["Span", "merged", "missing"]

Span: TypeAlias = tuple[datetime, datetime]


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same time in as few spans as possible, in order. Empty and reversed spans count for nothing."""
    found: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)


def missing(wanted: Span, covered: Iterable[Span]) -> tuple[Span, ...]:
    """The parts of `wanted` that no span covers, in order."""
    found: list[Span] = []
    at, last = wanted
    for start, end in merged(covered):
        if start >= last:
            break
        if start > at:
            found.append((at, start))
        at = max(at, end)
    if at < last:
        found.append((at, last))
    return tuple(found)
