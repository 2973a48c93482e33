from cryptocast.data.sources.coingecko.refusals import CreditsKept
from cryptocast.errors import DataError, UpstreamError
from cryptocast.serving.problems import not_one


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
