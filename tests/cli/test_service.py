"""serve and doctor: what they refuse before anything is opened."""

from tests.cli.commands import Run


def test_a_server_for_others_needs_a_token(run: Run) -> None:
    ended = run("serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 it is refused
    assert ended.code == 2
    assert "CRYPTOCAST_SERVE_TOKEN" in ended.err
