"""A backtest as one page: its records -> one self-contained HTML text, or one picture.

In: a `Page`. Out: text or bytes. It never reads or writes a file, asks a clock or the network, or computes a score:
what it shows was computed before. The drawing libraries are imported when the first page is rendered.
"""

from cryptocast.evaluation.report.render import picture, render
from cryptocast.evaluation.report.report_data import Fan, FoldLosses, Importance, Page

__all__ = ["Fan", "FoldLosses", "Importance", "Page", "picture", "render"]
