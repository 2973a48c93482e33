"""Spans of time: half open to the left, (start, end], as bars are. Which parts of one are not covered by others."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypeAlias

Span: TypeAlias = tuple[datetime, datetime]


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same time in as few spans as possible, in order. Empty and reversed spans count for nothing."""
    joint: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if joint and start <= joint[-1][1]:
            joint[-1] = (joint[-1][0], max(joint[-1][1], end))
        else:
            joint.append((start, end))
    return tuple(joint)


def missing(span: Span, covered: Iterable[Span]) -> tuple[Span, ...]:
    """The parts of a span that no other covers, in order."""
    at, last = span
    edges = [(start, end) for start, end in merged(covered) if start < last and end > at]
    starts, ends = [at, *(end for _, end in edges)], [*(start for start, _ in edges), last]
    return tuple((start, end) for start, end in zip(starts, ends, strict=True) if start < end)
