import base64
import re
from hashlib import sha256

from cryptocast.serving.page_shell import document, page_headers


def sources(text: str, element: str) -> set[str]:
    """What the policy must name for the element of a page to count."""
    parts = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    return {f"'sha256-{base64.b64encode(sha256(part.encode()).digest()).decode()}'" for part in parts}


def test_the_policy_names_the_style_and_the_script_of_the_page_and_lets_nothing_else_in() -> None:
    script = "document.title = 'Ω';"
    text, policy = document("A & B", "<p>x</p>", script).decode(), page_headers(script)["Content-Security-Policy"]

    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    assert {parts["style-src"]} == sources(text, "style")
    assert {parts["script-src"]} == sources(text, "script")
    assert (parts["default-src"], parts["connect-src"]) == ("'none'", "'self'")
    assert "unsafe" not in policy
    assert "<title>A &amp; B</title>" in text


def test_a_page_without_a_script_may_run_none_and_ask_for_nothing() -> None:
    policy = page_headers()["Content-Security-Policy"]
    assert "script-src" not in policy
    assert "connect-src" not in policy
    assert "<script" not in document("x", "").decode()


def test_forms_say_where_they_come_from() -> None:
    # Under no-referrer, which answers have, browsers send the Origin null with a form.
    assert page_headers()["Referrer-Policy"] == "same-origin"
