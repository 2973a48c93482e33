import json
from typing import Any

import pytest

from cryptocast.data.sources.coingecko.refusals import explain, upstream_error
from cryptocast.data.sources.errors import QuotaSpent, RateLimited, UnknownCoin, UnknownCurrency
from cryptocast.errors import ConfigError, CryptocastError, UpstreamError
from cryptocast.net import Answer


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"error": "coin not found"}', None, "coin not found"),
        (b'{"status": {"error_code": 429, "error_message": "Rate Limit"}}', 429, "Rate Limit"),
        (b'{"error": {"status": {"timestamp": "x", "error_code": 10012, "error_message": "m"}}}', 10012, "m"),
        (b'{"timestamp": "x", "error_code": 10012, "status": {"error_message": "m"}}', 10012, "m"),
        (b"<html>blocked</html>", None, ""),
        (b"", None, ""),
        (b"[1, 2]", None, ""),
        (b'{"error": {"error": {"error": {"error": 1}}}}', None, ""),
        (b'{"error": "a\\u001b[31m\\nb"}', None, "a [31m b"),
    ],
)
def test_all_shapes_of_errors_are_read(body: bytes, code: int | None, message: str) -> None:
    assert upstream_error(body) == (code, message)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (404, b'{"error": "coin not found"}', UnknownCoin, "has no coin 'bitcion'. Did you mean bitcoin"),
        (404, b"<html>", UpstreamError, "failed .status 404"),
        (400, b'{"error": "invalid vs_currency"}', UnknownCurrency, "no prices in 'usd'"),
        (401, b'{"error": {"status": {"error_code": 10012}}}', UpstreamError, "at most 365 days"),
        (
            401,
            b'{"status": {"error_code": 10002, "error_message": "API Key Missing"}}',
            UpstreamError,
            "API Key Missing",
        ),
        (400, b'{"status": {"error_code": 10010}}', ConfigError, "another plan"),
        (400, b'{"status": {"error_code": 10011}}', ConfigError, "another plan"),
        (403, b"<html>", UpstreamError, "refused .status 403"),
        (429, b"<html>", RateLimited, "rate limit"),
        (500, b"", UpstreamError, "failed .status 500"),
        (302, b"", UpstreamError, "another address .status 302.*base_url"),
    ],
)
def test_each_refusal_says_what_to_do(status: int, body: bytes, kind: type[CryptocastError], words: str) -> None:
    error = explain(Answer(status, body, {}), "bitcion", "usd", "keyless")
    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error


@pytest.mark.parametrize(
    ("plan", "status", "code", "kind", "words"),
    [
        ("keyless", 401, 10002, UpstreamError, 'get a free demo key .* plan = "demo"'),
        ("demo", 401, 10002, ConfigError, "rejected the demo key .* Copy it again"),
        ("demo", 401, 10010, ConfigError, "plan = 'pro', whose host is pro-api.coingecko.com"),
        ("pro", 401, 10011, ConfigError, "plan = 'demo', whose host is api.coingecko.com"),
        ("pro", 401, 10012, UpstreamError, "a later --since"),
        ("demo", 401, 10005, UpstreamError, "does not offer this to the plan 'demo'"),
        ("demo", 429, 429, QuotaSpent, "monthly credits"),
    ],
)
@pytest.mark.parametrize("shape", range(3))
def test_codes_mean_the_same_in_every_shape(
    plan: Any, status: int, code: int, kind: type[CryptocastError], words: str, shape: int
) -> None:
    message = "You've exceeded your monthly call credits." if code == 429 else "No."
    fields: dict[str, Any] = {"error_code": code, "error_message": message}
    shapes: list[Any] = [
        {"status": fields},
        {"error": {"status": {"timestamp": "x", **fields}}},
        {"timestamp": "x", "error_code": code, "status": {"error_message": message}},
    ]
    error = explain(Answer(status, json.dumps(shapes[shape]).encode(), {}), "bitcoin", "usd", plan)
    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error
