"""fake-upstream: what it cannot play is refused."""

from tests.cli.commands import Run


def test_faults_of_no_such_name_are_refused(run: Run) -> None:
    ended = run("fake-upstream", "--faults", "earthquake")
    assert ended.code == 2
    assert "earthquake" in ended.err
