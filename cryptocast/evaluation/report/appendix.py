"""The sections at the end: folds, features, conventions, and how to repeat the run."""

from cryptocast.evaluation.report import charts, parts
from cryptocast.evaluation.report.markup import Html, join, tag
from cryptocast.evaluation.report.parts import PageSection
from cryptocast.evaluation.report.report_data import FeatureShares, FoldLosses, ReportPage
from cryptocast.evaluation.report.words import date, number, percent

MOST_BARS = 15


def folds(page: ReportPage) -> PageSection | None:
    """Every refit: its training and test rows, and its losses."""
    if not page.folds:
        return None
    names = list(dict.fromkeys(name for fold in page.folds for name in fold.losses))
    head = ["Fold", "Train", "Test", "Train rows", "Test rows", *names]
    about = "Model columns: mean CRPS of its test block over all horizons."
    title = "The models of each fold are fitted before the first bar they forecast"
    rows = [_fold(fold, names) for fold in page.folds]
    table = parts.table(title, head, rows, about=about)
    return PageSection("folds", "Folds", parts.folded(f"{len(rows)} refits", "rows and losses of each", table))


def _fold(fold: FoldLosses, names: list[str]) -> list[str]:
    return [
        str(fold.number),
        f"{date(fold.train_start)} to {date(fold.train_end)}",
        f"{date(fold.test_start)} to {date(fold.test_end)}",
        f"{fold.train_rows:,}",
        f"{fold.test_rows:,}",
        *(number(fold.losses.get(name)) for name in names),
    ]


def importance(page: ReportPage) -> PageSection | None:
    """What each model looks at."""
    models = [model for model in page.importance if model.features]
    if not models:
        return None
    how = (
        "the longer the bar, the more the model relies on the feature. This describes the model, not what moves "
        "prices; correlated features share their importance."
    )
    return PageSection("features", "Feature importance", join([parts.read(how), *map(_shares, models)]))


def _shares(model: FeatureShares) -> Html:
    """The largest as bars, and all as a table where they are more."""
    most, count = min(MOST_BARS, len(model.features)), len(model.features)
    bars = parts.figure(
        charts.importance(model, MOST_BARS),
        title=model.model,
        note=model.method + (f"; the first {most} of {count}" if most < count else ""),
        height=56 + max(24 * most, 60),
    )
    rows = [[parts.name(name), percent(share, 2)] for name, share in model.features]
    table = [parts.table(f"{model.model}: {model.method}", ["Feature", "Share"], rows)] if most < count else []
    return parts.folded(model.model, f"{count} features", parts.grid([bars, *table]))


def conventions(page: ReportPage) -> PageSection | None:
    """How things were counted."""
    if not page.conventions:
        return None
    lines = tag("ul", *(tag("li", line) for line in page.conventions), class_="plain")
    return PageSection("conventions", "Conventions", parts.folded("How everything was counted", "", lines))


def repeat(page: ReportPage) -> PageSection | None:
    """The command and the manifest: the same data and settings give the same numbers."""
    if not page.command and not page.manifest:
        return None
    body = []
    if page.command:
        body.append(tag("pre", tag("code", page.command), tabindex="0"))
    if page.manifest:
        rows = [[key, value] for key, value in page.manifest]
        about = "The same data hash and settings give the same numbers."
        table = parts.table("The run manifest", ["Key", "Value"], rows, about=about, left=2, wrap=True)
        body.append(parts.folded("The run manifest", "", table))
    return PageSection("repeat", "Reproduce", join(body))
