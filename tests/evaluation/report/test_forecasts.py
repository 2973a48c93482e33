"""The sections on forecasts: each is left out where its records are, and says what they say."""

from dataclasses import replace

import msgspec
import pytest

from cryptocast.evaluation.report import forecasts
from cryptocast.evaluation.report.report_data import ReportPage
from tests.evaluation.report.demo import demo_page


@pytest.fixture(scope="module")
def page() -> ReportPage:
    return demo_page(coins=2, origins=8)


def test_sections_without_records_are_left_out(page: ReportPage) -> None:
    bare = replace(page, honesty=(), fans=(), rows=page.pooled)
    assert [forecasts.skill(bare), forecasts.calibration(bare), forecasts.fans(bare), forecasts.coins(bare)] == [
        None
    ] * 4
    assert forecasts.answers(bare) is not None


def test_the_answers_of_the_best_model_stand_first_and_those_of_others_are_folded(page: ReportPage) -> None:
    section = forecasts.answers(page)
    assert section is not None
    first, rest = section.body.split("<details>")
    assert first.index("<bdi>mix</bdi>") < first.index("<bdi>baseline</bdi>")
    assert "lightgbm" not in first
    assert "<bdi>Other models</bdi>" in rest


def test_the_skill_of_each_model_stands_by_reference(page: ReportPage) -> None:
    by_reference = forecasts.skills(page)
    assert set(by_reference) == {"rw_empirical", "rw_gaussian", "baseline"}
    assert {point.model for point in by_reference["rw_gaussian"]} == {"baseline", "lightgbm", "mix"}
    assert {point.model for point in by_reference["baseline"]} == {"lightgbm", "mix"}


def test_coverage_far_from_its_nominal_value_is_marked_with_a_word(page: ReportPage) -> None:
    score = page.rows[0].scores[0]
    coverage = tuple(
        msgspec.structs.replace(one, share=one.percent / 100 + shift, se=0.01)
        for one, shift in zip(score.coverage, (-0.05, 0.0, 0.03), strict=True)
    )
    row = msgspec.structs.replace(page.rows[0], scores=(msgspec.structs.replace(score, coverage=coverage),))
    section = forecasts.coverage(replace(page, rows=(row,), honesty=()))
    assert section is not None
    assert '<span class="off">75.0 ± 1.0 low</span>' in section.body
    assert "<td>90.0 ± 1.0</td>" in section.body
    assert '<span class="off">98.0 ± 1.0 high</span>' in section.body


def test_the_hits_of_each_band_are_counted(page: ReportPage) -> None:
    section = forecasts.fans(page)
    assert section is not None
    assert "Inside 95/80/60%: " in section.body
    assert section.body.count("<details") == len(page.fans) - 1
