"""The end of the page: folds, features, conventions and how to repeat the run."""

from dataclasses import replace

import pytest

from cryptocast.evaluation.report import appendix
from cryptocast.evaluation.report.report_data import FeatureShares, ReportPage
from tests.evaluation.report.demo import demo_page


@pytest.fixture(scope="module")
def page() -> ReportPage:
    return demo_page(coins=1, origins=4)


def test_every_refit_is_a_row_with_its_losses(page: ReportPage) -> None:
    section = appendix.folds(page)
    assert section is not None
    assert section.body.count('scope="row"') == len(page.folds)
    assert "2020-01-02 to " in section.body or "2020-01-01 to " in section.body


def test_many_features_are_drawn_in_part_and_listed_whole(page: ReportPage) -> None:
    section = appendix.importance(page)
    assert section is not None
    assert "the first 15 of 40" in section.body
    assert section.body.count('scope="row"') == 40
    few = appendix.importance(replace(page, importance=(FeatureShares("trees", (("ret_1", 1.0),)),)))
    assert few is not None
    assert "<table" not in few.body


def test_the_command_and_the_manifest_repeat_the_run(page: ReportPage) -> None:
    section = appendix.repeat(page)
    assert section is not None
    assert page.command in section.body
    assert "data hash" in section.body


def test_what_there_is_nothing_of_is_left_out(page: ReportPage) -> None:
    bare = replace(page, folds=(), importance=(FeatureShares("trees", ()),), conventions=(), command="", manifest=())
    sections = (appendix.folds, appendix.importance, appendix.conventions, appendix.repeat)
    assert [section(bare) for section in sections] == [None] * 4
