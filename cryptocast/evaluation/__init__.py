"""Forecasts and what happened -> scores, tests and answers; the walk forward through history.

In: a matrix and learners, or forecasts on identical origins. Out: forecasts each made by a model that was fitted before
them, and scores against the three random walks with what they answer. It never reads or writes a file, never looks at
a label before it was known, and never chooses a model.
"""

from cryptocast.evaluation.records import HoldOut, HorizonScore, IntervalCoverage

__all__ = ["HoldOut", "HorizonScore", "IntervalCoverage"]
