"""`/login` and `/logout`: a form in which a browser is given a token once, and shows a cookie from then on."""

import logging
import re
from html import escape
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cryptocast.serving.access import Headers, address_of
from cryptocast.serving.login_cookie import cookie_value, keeps_login, names_own_origin, set_cookies
from cryptocast.serving.page_shell import HTML, document, page_headers
from cryptocast.serving.paths import Paths
from cryptocast.serving.problems import ProblemError, ProblemKind
from cryptocast.serving.responses import SECURITY_HEADERS, respond
from cryptocast.serving.wiring import Server

log = logging.getLogger(__name__)

# Of an address of this server: no sign in it that a browser could take for the start of another one.
ADDRESS: Final = re.compile(r"(/[A-Za-z0-9._~-]*)+(\?[A-Za-z0-9._~=&%,:+-]*)?")
MAX_ADDRESS: Final = 2000
MOST_FIELDS: Final = 10  # the form has three
NOT_KEPT: Final = (
    "This connection is not encrypted, and the browser is not on the machine of the server: it will not keep the login."
    " Use https, or a tunnel such as <code>ssh -L 8000:localhost:8000 HOST</code>."
)


async def login(server: Server, request: Request, _: None) -> Response:
    """The form, or with a token from it the cookie and the way to the page that was asked for."""
    if not server.keys.asks:
        return _leads_to("/")
    address = address_of(request.scope)
    if (wait_s := server.forms.wait_s(address)) > 0.0:
        return _too_often(request, "/", wait_s)
    if request.method != "POST":
        return login_form(request, "/", status=200)
    headers = _checked(request)
    fields = await _fields(request)
    target = own_address(server.paths, fields.get("next", [""])[0])
    key = server.keys.of_token(fields.get("token", [""])[0].strip().encode())
    if key is None:
        server.telemetry.count("login_refused")
        # Only wrong tokens count: behind a proxy that is not trusted all have one address, and one of them could keep
        # the others out.
        if (wait_s := server.logins.wait_s(address)) > 0.0:
            return _too_often(request, target, wait_s)
        log.warning("a login from %s was refused: its token is not one of this server", address)
        return login_form(request, target, "This is not a token of this server.")
    return _leads_to(target, set_cookies(request.scope, headers, cookie_value(key, server.now_s())))


def _too_often(request: Request, target: str, wait_s: float) -> Response:
    seconds = int(wait_s) + 1
    text = f"Too many attempts. Try again in {seconds} s."
    return login_form(request, target, text, status=429, retry_after_s=seconds)


async def logout(_server: Server, request: Request, _: None) -> Response:
    """The end of the cookie in this browser."""
    return _leads_to("/", set_cookies(request.scope, _checked(request), ""))


def login_form(
    request: Request, target: str, text: str = "", *, status: int = 401, retry_after_s: int | None = None
) -> Response:
    """The form. target: the address to go to after it; text: why it comes again."""
    headers: Headers = dict(request.scope["headers"])
    hint = "" if keeps_login(request.scope, headers) else f'<p class="note">{NOT_KEPT}</p>'
    if headers.get(b"sec-fetch-site") == b"cross-site":  # from where a browser sends no cookie
        hint += f'<p>Logged in already? <a href="{escape(target)}">Open the page</a>.</p>'
    complaint = f'<p class="fail" role="alert">{escape(text)}</p>' if text else ""
    body = (
        '<main class="login"><h1>cryptocast</h1><form method="post" action="/login">'
        '<input type="text" name="user" autocomplete="username" value="reader" hidden>'  # for password managers
        f"{complaint}<label>Token of this server"
        '<input type="password" name="token" autocomplete="current-password" required autofocus></label>'
        f'<input type="hidden" name="next" value="{escape(target)}"><button>Log in</button></form>{hint}'
        '<p class="soft">The token is in <code>CRYPTOCAST_SERVE_TOKEN</code> of whoever runs the server. '
        "A login lasts 12 hours and can only read.</p></main>"
    )
    answer = {**page_headers(), "WWW-Authenticate": "Bearer"} if status == 401 else dict(page_headers())
    if retry_after_s is not None:
        answer["Retry-After"] = str(retry_after_s)
    return respond(document("Log in - cryptocast", body), status=status, media_type=HTML, headers=answer)


def asks_for_form(error: ProblemError, request: Request) -> bool:
    """Whether a person at a browser is refused for lack of a key, who can be asked for one."""
    is_page = request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")
    return is_page and error.problem.type == ProblemKind.UNAUTHORIZED.uri


def own_address(paths: Paths, address: str) -> str:
    """The address if it is one of this server that can be opened, else that of the page at `/`."""
    path = address.partition("?")[0]
    if len(address) > MAX_ADDRESS or path.startswith("//") or not ADDRESS.fullmatch(address):
        return "/"
    endpoint = paths.find(path)[1]
    return address if endpoint is not None and endpoint.access == "read" and "GET" in endpoint.methods else "/"


def _checked(request: Request) -> Headers:
    """The headers of a form that one of our own pages has sent."""
    headers: Headers = dict(request.scope["headers"])
    if not names_own_origin(headers):
        detail = "Only the form of this server may be sent here: the headers Origin and Host do not name the same host."
        raise ProblemError(ProblemKind.CROSS_ORIGIN, detail)
    return headers


async def _fields(request: Request) -> dict[str, list[str]]:
    """What the form says. What is no form of ours is a problem of the client and none of the server's."""
    try:
        return parse_qs((await request.body()).decode("latin-1"), max_num_fields=MOST_FIELDS)
    except (ValueError, ClientDisconnect):
        raise ProblemError(ProblemKind.BAD_REQUEST, f"A form of at most {MOST_FIELDS} fields is read here.") from None


def _leads_to(address: str, cookies: list[tuple[bytes, bytes]] | None = None) -> Response:
    response = Response(status_code=303, headers={"Location": address, "Cache-Control": "no-store", **SECURITY_HEADERS})
    response.raw_headers += cookies or []
    return response
