import asyncio
from datetime import datetime
from functools import partial

import pytest

from cryptocast.data.sources.upstream import History, Page, Upstream, decoded
from cryptocast.errors import DataError, UpstreamError
from cryptocast.net import Priority


class Plain(Upstream):
    """A connection that fetches nothing."""

    async def page(
        self, page: Page, now: datetime, *, priority: Priority = Priority.USER, patient: bool = False
    ) -> History:
        raise DataError(f"nothing of {page.key.coin} at {now}, {priority}, {patient}")


def test_work_is_done_side_by_side_and_each_result_comes_with_what_it_is_about() -> None:
    under_way, most = 0, 0

    async def work(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001 * (number % 3))
        under_way -= 1
        if number % 5 == 0:
            raise DataError(f"no {number}")
        return number * number

    with Plain() as upstream:
        found = dict(upstream.each(((n, partial(work, n)) for n in range(20)), at_once=4))
    assert most == 4
    assert {n: result for n, result in found.items() if isinstance(result, int)} == {
        n: n * n for n in range(20) if n % 5
    }
    assert str(found[10]) == "no 10"


def test_whoever_leaves_takes_the_rest_of_the_work_with_them() -> None:
    begun: list[int] = []

    async def work(number: int) -> int:
        begun.append(number)
        await asyncio.sleep(0.0 if number == 0 else 30.0)
        return number

    with Plain() as upstream:
        results = upstream.each(((n, partial(work, n)) for n in range(9)), at_once=3)
        assert next(results) == (0, 0)
        results.close()
    assert begun == [0, 1, 2]


@pytest.mark.parametrize(
    ("body", "words"), [(b'{"a": "x"}', "could not be parsed"), (b'{"a": ', "not whole JSON"), (b"", "not whole JSON")]
)
def test_an_answer_of_another_shape_says_what_it_should_have_been(body: bytes, words: str) -> None:
    assert decoded(b'{"a": 1}', dict[str, int], "The list") == {"a": 1}
    with pytest.raises(UpstreamError, match=f"^The list .*{words}"):
        decoded(body, dict[str, int], "The list")
