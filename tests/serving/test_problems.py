import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.data.sources.coingecko.refusals import CreditsKept
from cryptocast.errors import DataError, UpstreamError
from cryptocast.serving.problems import not_one, without_folders


def test_a_refusal_says_when_to_come_back_and_what_may_pass_sooner_comes_first() -> None:
    kept = CreditsKept("Later.", bound="client", retry_after_s=41.2)
    sooner = CreditsKept("Soon.", bound="minute", retry_after_s=3.0)
    unknown, down = DataError("Unknown."), UpstreamError("Down.")
    seen = []
    for failures in ([kept, sooner, unknown], [kept, down], [unknown, unknown]):
        answer = not_one([(f"coin-{number}", error) for number, error in enumerate(failures)])
        problem, headers = answer.problem, answer.headers
        assert [one.error for one in problem.errors] == [str(error) for error in failures]
        seen.append((problem.status, problem.detail, headers))
    assert seen == [(429, "Soon.", {"Retry-After": "3"}), (503, "Down.", {"Retry-After": "5"}), (404, "Unknown.", {})]


segments = st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters=" .-_"), min_size=1).map(
    lambda text: text.strip(" .") or "x"
)


@given(st.lists(segments.filter(lambda one: " " not in one), min_size=2, max_size=6), st.sampled_from(["", "'", '"']))
def test_of_an_absolute_path_the_last_part_is_left(parts: list[str], quote: str) -> None:
    path = "/" + "/".join(parts)
    assert without_folders(f"The file {quote}{path}{quote} is damaged.") == (
        f"The file {quote}{parts[-1]}{quote} is damaged."
    )


@pytest.mark.parametrize(
    "text",
    [
        "There is nothing at /forecast. Served: /forecasts, /prices.",
        "CoinGecko is at https://api.coingecko.com/api/v3 and bitcoin/lightgbm:3 answers 7/14.",
        "23 and/or 42",
    ],
)
def test_addresses_and_names_stay(text: str) -> None:
    assert without_folders(text) == text


def test_paths_of_windows_are_paths_too() -> None:
    assert without_folders(r"C:\data\registry\registry.db is damaged") == "registry.db is damaged"
