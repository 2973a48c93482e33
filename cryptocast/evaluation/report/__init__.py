"""A backtest as one page: its records -> one self-contained HTML text, or one `Picture`.

In: a `ReportPage`. Out: text or bytes. It never reads or writes a file, uses a clock or the network, or computes a
score: what it shows was computed before. The drawing libraries are imported when the first page is rendered.
"""

from cryptocast.evaluation.report.pictures import Chart, Picture
from cryptocast.evaluation.report.render import picture, render
from cryptocast.evaluation.report.report_data import FeatureShares, FoldLosses, ForecastFan, ReportPage

__all__ = ["Chart", "FeatureShares", "FoldLosses", "ForecastFan", "Picture", "ReportPage", "picture", "render"]
