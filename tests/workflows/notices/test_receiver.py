"""The form that each receiver takes, and addresses that are secrets."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from cryptocast.config import NotifyConfig
from cryptocast.errors import ConfigError
from cryptocast.registry import NoticeCode
from cryptocast.registry.notices import new_notice
from cryptocast.workflows.notices.receiver import receiver_of
from cryptocast.workflows.notices.wording import notice_sentence
from tests.registry.registry_fits import NOW

NOTICE = new_notice(NoticeCode.TEST, "", {"host": "here"}, NOW)
TELEGRAM = "https://api.telegram.org/bot12:s3cret/sendMessage?chat_id=-100"
SLACK = "https://hooks.slack.com/services/T0/B0/s3cret"
NTFY = "https://ntfy.sh/s3cret"


def posted(url: str, template: Any = "auto") -> tuple[str, dict[str, Any]]:
    address, body, headers = receiver_of(url, NotifyConfig(template=template)).post(NOTICE)
    assert headers == {"content-type": "application/json", "idempotency-key": NOTICE.id}
    return address, json.loads(body)


def test_our_own_form_has_the_facts_and_the_sentence() -> None:
    address, body = posted("https://example.org/hook?a=b")
    assert address == "https://example.org/hook?a=b"
    assert body == {
        "schema": "cryptocast.notice/1",
        "id": NOTICE.id,
        "code": "test",
        "at": "2025-06-01T12:00:00Z",
        "facts": {"host": "here"},
        "text": notice_sentence(NOTICE),
    }


def test_known_hosts_have_their_own_forms() -> None:
    text = notice_sentence(NOTICE)
    assert posted(TELEGRAM) == (TELEGRAM, {"chat_id": "-100", "text": text})
    assert posted(SLACK) == (SLACK, {"text": text})
    body = {"topic": "s3cret", "title": "cryptocast", "tags": ["test"], "message": text}
    assert posted(NTFY) == ("https://ntfy.sh/", body)


def test_no_reason_that_somebody_wrote_calls_the_whole_channel() -> None:
    notice = new_notice(NoticeCode.TEST, "", {"host": "<!channel> & co"}, NOW)
    for url, text in ((SLACK, "&lt;!channel&gt; &amp; co"), (TELEGRAM, "<!channel> & co")):
        _, body, _ = receiver_of(url, NotifyConfig()).post(notice)
        assert text in json.loads(body)["text"]


def test_the_setting_goes_before_the_host() -> None:
    assert posted("https://chat.example.org/hook", "slack") == (
        "https://chat.example.org/hook",
        {"text": notice_sentence(NOTICE)},
    )
    address, body = posted("https://ann:pw@push.example.org/below/topic/?auth=x", "ntfy")
    assert (address, body["topic"]) == ("https://ann:pw@push.example.org/below/?auth=x", "topic")
    assert posted(SLACK, "json")[1]["code"] == "test"


@pytest.mark.parametrize("url", [TELEGRAM, SLACK, NTFY, "https://ann:s3cret@example.org:8443/s3cret?key=s3cret#s3cret"])
def test_an_address_is_shown_as_its_host(url: str) -> None:
    receiver = receiver_of(url, NotifyConfig())
    assert "s3cret" not in f"{receiver} {receiver!r}"
    assert (urlsplit(url).hostname or "-") in str(receiver)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("s3cret", "https://"),
        ("", "https://"),
        ("ftp://example.org/s3cret", "https://"),
        ("https:///s3cret", "https://"),
        ("https://example.org:s3cret/", "address"),
        ("https://exa mple.org/s3cret", "https://"),
        ("https://example.org/s3\ncret", "https://"),
        ("https://api.telegram.org/bots3cret/sendMessage", "chat_id"),
        ("https://ntfy.sh/", "TOPIC"),
    ],
)
def test_what_cannot_be_posted_to_is_refused_without_a_word_of_it(url: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        receiver_of(url, NotifyConfig())
    assert "s3" not in str(caught.value)
