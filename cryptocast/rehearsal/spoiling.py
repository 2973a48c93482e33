"""Faults that change what an answer says; those of the connection are in `wire`."""

from cryptocast.rehearsal.faults import Rule
from cryptocast.rehearsal.messages import Reply, html_page, json_reply, refusal, retry_after


def spoiled(reply: Reply, rule: Rule, *, now_s: float) -> Reply:
    """The answer as the rule would have it; itself, for a fault of another kind."""
    match rule.fault:
        case "error":
            return refusal(rule.status, rule.message or _text(rule.status), shape=rule.shape, code=rule.code).reply
        case "too_many":
            shape = "status" if rule.shape == "error" else rule.shape
            headers = retry_after(rule.retry_after, rule.duration_s, now_s)
            message = rule.message or "You've exceeded the Rate Limit."
            return refusal(429, message, shape=shape, code=rule.code, headers=headers).reply
        case "not_json":
            return Reply(200, html_page(200, "Just a moment..."), {"content-type": "text/html; charset=UTF-8"})
        case "empty":
            return Reply(200, b"", reply.headers)
        case "wrong_shape":
            return json_reply({"prices": "soon", "status": "ok"})
        case "cut_json":
            return Reply(reply.status, reply.body[: len(reply.body) // 2], reply.headers)
        case "huge":
            return Reply(reply.status, reply.body.ljust(rule.size), reply.headers)
        case _:
            return reply


def _text(status: int) -> str:
    texts = {400: "Bad HttpRequest", 404: "coin not found", 408: "HttpRequest Timeout", 503: "Service Unavailable"}
    return texts.get(status, "Internal Server Error")
