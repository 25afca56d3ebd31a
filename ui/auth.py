"""Who may use the screen: a token from the first start on, and no page of another origin.

`Guard` wraps the whole server, Gradio's queue, upload and file routes included. A browser shows the token
once, in the address that the launcher opens; from then on it has a cookie that scripts can't read. Bound to
another host than loopback, a password may stand in for the token.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from backend.hosts import host_allowed, origin_allowed
from ui.fragments.text import Text
from ui.running import write_private

Scope = Mapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
App = Callable[[Any, Any, Any], Awaitable[None]]

MANIFEST = "/manifest.json"  # a browser asks for it without its cookies; it holds a name and no more
LOGIN = "/studio/enter"
MAX_FORM_BYTES = 4096
TOKEN_LENGTH = 32  # characters of six bits each
# Gradio's own doors that the studio has no use for: they fetch, record or describe what nobody here needs.
CLOSED = (
    "/gradio_api/proxy=",
    "/gradio_api/vibe-edit",
    "/gradio_api/process_recording",
    "/gradio_api/run-history",
    "/gradio_api/runs",
    "/gradio_api/info",
    "/gradio_api/openapi.json",
    "/gradio_api/deep_link",
    "/proxy=",
    "/monitoring",
)
# The page may talk to the server it came from and to nobody else. Gradio needs inline code and `Function`.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)


def token_of(home: Path) -> str:
    """The home's token, made at the first start and kept (0600), so that an open page outlives the screen."""
    path = home / "token"
    token = path.read_text(encoding="ascii").strip() if path.exists() else ""
    if len(token) < TOKEN_LENGTH:  # none yet, or emptied: a token that can be guessed is none
        token = secrets.token_urlsafe(TOKEN_LENGTH * 3 // 4)
        write_private(path, token)
    return token


@dataclass(frozen=True)
class Guard:
    """ASGI middleware around the whole screen."""

    app: App
    token: str
    bound: str
    password: str | None
    text: Text
    page: Callable[..., str]  # draws the page for who isn't in yet; see ui.fragments.enter

    @property
    def cookie(self) -> str:
        """Its own name per token: cookies are shared by all ports of a host, and so by all studios on it."""
        return "studio-" + hashlib.sha256(self.token.encode()).hexdigest()[:10]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # Gradio's page uses none
            return await send({"type": "websocket.close", "code": 1008})
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        host, path = headers.get("host", ""), scope["path"]
        if not host_allowed(host, self.bound):
            return await _answer(send, 403, self.text("enter.host"))
        if not origin_allowed(headers.get("origin"), host):
            return await _answer(send, 403, self.text("enter.origin"))
        if path == LOGIN and scope["method"] == "POST" and self.password:
            return await self._enter(receive, send)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if "token" in query and scope["method"] == "GET" and _same(query["token"][0], self.token):
            rest = urlencode({k: v for k, v in query.items() if k != "token"}, doseq=True)
            return await self._welcome(send, path + (f"?{rest}" if rest else ""))
        if not self._known(headers) and path != MANIFEST:
            return await self._refuse(scope, headers, send)
        if path.startswith(CLOSED):
            return await _answer(send, 404, "")
        await self.app(scope, receive, _with_headers(send))

    def _known(self, headers: Mapping[str, str]) -> bool:
        # Cut by hand: the standard library's parser gives up on all cookies where another program on this
        # host has set one that it can't read.
        pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        return any(name == self.cookie and _same(value, self.token) for name, _, value in pairs)

    async def _welcome(self, send: Send, where: str) -> None:
        """The cookie, and on to the same address without the token, so that it stays out of the history."""
        cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000"
        await _answer(
            send,
            303,
            "",
            location=where if where.startswith("/") and where[1:2] != "/" else "/",
            set_cookie=cookie,
        )

    async def _refuse(self, scope: Scope, headers: Mapping[str, str], send: Send) -> None:
        if "text/html" in headers.get("accept", "") or scope["path"] == "/":
            body = self.page(self.text, password=bool(self.password), wrong=False)
            return await _answer(send, 401, body, kind="text/html")
        await _answer(send, 401, json.dumps({"error": {"code": "no_token"}}), kind="application/json")

    async def _enter(self, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more and len(body) <= MAX_FORM_BYTES:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        given = parse_qs(body[:MAX_FORM_BYTES].decode("utf-8", "replace")).get("password", [""])[0]
        if _same(given, self.password or ""):
            return await self._welcome(send, "/")
        await _answer(send, 401, self.page(self.text, password=True, wrong=True), kind="text/html")


def _same(given: str, wanted: str) -> bool:
    """Compared in a time that doesn't tell how much of it was right."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def _safe_headers() -> list[tuple[bytes, bytes]]:
    values = {
        "content-security-policy": POLICY,
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
    }
    return [(k.encode(), v.encode()) for k, v in values.items()]


def _with_headers(send: Send) -> Send:
    async def wrapped(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_safe_headers()]}
        await send(message)

    return wrapped


async def _answer(
    send: Send, status: int, body: str, *, kind: str = "text/plain", location: str = "", set_cookie: str = ""
) -> None:
    data = body.encode()
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"content-length", str(len(data)).encode()),
        (b"cache-control", b"no-store"),
        *_safe_headers(),
    ]
    if location:
        headers.append((b"location", location.encode()))
    if set_cookie:
        headers.append((b"set-cookie", set_cookie.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
