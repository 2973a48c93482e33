"""Where notices go, and the JSON that it takes: our own, or that of Telegram, Slack or ntfy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

import msgspec

from cryptocast.addresses import HIDDEN
from cryptocast.config import NotifyConfig
from cryptocast.errors import ConfigError
from cryptocast.registry import Notice
from cryptocast.workflows.notices.wording import notice_sentence

VARIABLE: Final = "CRYPTOCAST_NOTIFY_URL"
KEY_HEADER: Final = "idempotency-key"

# Of an address and a notice: where to post, and what.
Template: TypeAlias = Callable[[SplitResult, Notice], tuple[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Receiver:
    """An address, which is a secret as a whole, and the template for it. As a text it is its host."""

    url: str = field(repr=False)
    template: str

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/{HIDDEN}"

    def post(self, notice: Notice) -> tuple[str, bytes, dict[str, str]]:
        """Where to post a notice: address, body and headers. The key is the same however often it is sent."""
        url, body = TEMPLATES[self.template](urlsplit(self.url), notice)
        return url, msgspec.json.encode(body), {"content-type": "application/json", KEY_HEADER: notice.id}


def receiver_of(url: str, config: NotifyConfig) -> Receiver:
    """That of an address. ConfigError, without a word of the address, for one that cannot be posted to."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigError(f"{VARIABLE} is not an address, such as https://example.org/hook.") from None
    if parts.scheme not in ("http", "https") or not host or port == 0 or not url.isprintable() or " " in url:
        raise ConfigError(f"{VARIABLE} must be an address that starts with https:// (or http://) and names a host.")
    template = _by_host(host) if config.template == "auto" else config.template
    if template == "telegram" and not parse_qs(parts.query).get("chat_id"):
        raise ConfigError(
            f"{VARIABLE} lacks the chat: for Telegram it is https://api.telegram.org/botTOKEN/sendMessage?chat_id=NUMBER."
        )
    if template == "ntfy" and not parts.path.strip("/"):
        raise ConfigError(f"{VARIABLE} lacks the topic: for ntfy it is https://ntfy.sh/TOPIC.")
    return Receiver(url, template)


def _by_host(host: str) -> str:
    if host == "api.telegram.org":
        return "telegram"
    if host == "hooks.slack.com":
        return "slack"
    return "ntfy" if host == "ntfy.sh" or host.startswith("ntfy.") else "json"


def _json(url: SplitResult, notice: Notice) -> tuple[str, dict[str, Any]]:
    return urlunsplit(url), {**msgspec.to_builtins(notice), "text": notice_sentence(notice)}


def _telegram(url: SplitResult, notice: Notice) -> tuple[str, dict[str, Any]]:
    (chat, *_) = parse_qs(url.query)["chat_id"]
    return urlunsplit(url), {"chat_id": chat, "text": notice_sentence(notice)}


def _slack(url: SplitResult, notice: Notice) -> tuple[str, dict[str, Any]]:
    """With the three signs escaped by which links and calls to everybody begin and end there."""
    return urlunsplit(url), {"text": escape(notice_sentence(notice), quote=False)}


def _ntfy(url: SplitResult, notice: Notice) -> tuple[str, dict[str, Any]]:
    """JSON is taken at the root only, with the topic inside."""
    above, _, topic = url.path.rstrip("/").rpartition("/")
    body = {"topic": topic, "title": "cryptocast", "tags": [notice.code], "message": notice_sentence(notice)}
    return urlunsplit(url._replace(path=f"{above}/")), body


TEMPLATES: Final[Mapping[str, Template]] = {"json": _json, "telegram": _telegram, "slack": _slack, "ntfy": _ntfy}
