"""The HTTP side of an endpoint: a bearer token, Host and Origin checked, one thread a request.

Every request becomes a ticket; a client that goes away cancels its ticket.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import queue
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import unquote

from backend.chat import protocol, replies
from backend.chat.protocol import Limits, Order
from backend.chat.replies import Choice, Facts, Reply
from backend.chat.ticket import Accepted, Ended, Event, Failed, Piece, Ticket
from backend.hosts import address, host_allowed, origin_allowed
from studio.errors import StudioError
from studio.sentences import Sentences

log = logging.getLogger("studio.chat")
_ONE_MODEL = "/v1/models/"
_LOOK_SECONDS = 0.2  # how often a waiting request looks whether its client is still there


@dataclass(frozen=True)
class Backend:
    """What the server needs of the engine. `shutdown` None: nobody may end it by a request."""

    token: str
    submit: Callable[[Ticket], None]
    models: Callable[[], list[str]]
    shutdown: Callable[[], None] | None = None
    limits: Limits = field(default_factory=Limits)
    sentences: Sentences = field(default_factory=lambda: Sentences({}))


class ChatServer(ThreadingHTTPServer):
    """Answers on a socket that listens already, bound to `host`."""

    daemon_threads = True

    def __init__(self, backend: Backend, listening: socket.socket, host: str = "127.0.0.1") -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_port = listening.getsockname()[1]
        self.backend = backend
        self.host = host
        self.started = int(time.time())
        self._open = 0
        self._choices = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return address(self.host, self.server_port)

    @property
    def open_requests(self) -> int:
        """Requests whose answer is not written out yet."""
        return self._open

    @contextlib.contextmanager
    def room(self, choices: int) -> Iterator[None]:
        """Room for so many more answers; StudioError `chat_queue_full` (limit) where there is none."""
        limits = self.backend.limits
        with self._lock:
            if self._choices + choices > limits.rows + limits.waiting:
                raise StudioError("chat_queue_full", limit=limits.waiting)
            self._choices += choices
        try:
            yield
        finally:
            with self._lock:
                self._choices -= choices

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left between two requests is no error; anything else goes into the log."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            log.exception("request %s of %s", request, client_address)

    def count(self, change: int) -> None:
        """Note that a request began (1) or ended (-1)."""
        with self._lock:
            self._open += change


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "finetune-studio"
    sys_version = ""
    timeout = 60  # seconds for a client to send its request, or to keep an idle connection

    def log_message(self, format: str, *args: Any) -> None:
        log.info("%s", format % args)

    @property
    def _backend(self) -> Backend:
        return cast(ChatServer, self.server).backend

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the base class refuses (no HTTP, a method that nobody knows) is told as all errors are."""
        self.close_connection = True
        error = StudioError("chat_body_broken", detail=message or HTTPStatus(code).phrase)
        self._send_json(code, replies.error_body(error, self._backend.sentences)[1])

    def _answer(self) -> None:
        server = cast(ChatServer, self.server)
        server.count(1)
        try:
            body = self._read_body()
            self._check_sender()
            self._action()(body)
        except StudioError as error:
            self._refuse(error)
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the client is gone: nobody to tell
        finally:
            server.count(-1)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer

    def _action(self) -> Callable[[bytes], None]:
        """What answers this path; takes the request's body.

        Raises:
            StudioError: `chat_path_unknown` (path), `chat_method_wrong` (path, method, allowed).
        """
        path = self.path.partition("?")[0]
        routes: dict[str, tuple[str, Callable[[bytes], None]]] = {
            "/v1/models": ("GET", self._models),
            "/v1/chat/completions": ("POST", self._chat),
            "/v1/completions": ("POST", self._complete),
        }
        if path.startswith(_ONE_MODEL):
            routes[path] = ("GET", self._model)
        if self._backend.shutdown is not None:
            routes["/shutdown"] = ("POST", self._shutdown)
        if path not in routes:
            raise StudioError("chat_path_unknown", path=path)
        allowed, action = routes[path]
        if self.command != allowed:
            raise StudioError("chat_method_wrong", path=path, method=self.command, allowed=allowed)
        return action

    def _read_body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if self.headers.get("Transfer-Encoding") or not length.isdecimal():
            self.close_connection = True
            raise StudioError("chat_body_broken", detail="Content-Length is missing")
        if int(length) > (limit := self._backend.limits.body_bytes):
            self.close_connection = True
            raise StudioError("chat_body_too_large", limit_bytes=limit)
        return self.rfile.read(int(length))

    def _check_sender(self) -> None:
        """Refuse pages of other sites (Host rebinding, cross-origin requests) and whoever lacks the token."""
        host = self.headers.get("Host", "")
        if not host_allowed(host, cast(ChatServer, self.server).host):
            raise StudioError("chat_host_refused", host=host)
        origin = self.headers.get("Origin")
        if not origin_allowed(origin, host):
            raise StudioError("chat_origin_refused", origin=origin)
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self._backend.token.encode())
        if scheme.lower() != "bearer" or not same:
            raise StudioError("chat_token_wrong")

    def _models(self, _body: bytes) -> None:
        started = cast(ChatServer, self.server).started
        self._send_json(200, replies.model_list(self._backend.models(), started))

    def _model(self, _body: bytes) -> None:
        name, models = unquote(self.path.partition("?")[0].removeprefix(_ONE_MODEL)), self._backend.models()
        if name not in models:
            raise StudioError("serve_model_unknown", model=name, models=models)
        self._send_json(200, replies.model_body(name, cast(ChatServer, self.server).started))

    def _shutdown(self, _body: bytes) -> None:
        assert self._backend.shutdown is not None
        self._backend.shutdown()
        self._send_json(200, {"state": "ending"})

    def _chat(self, body: bytes) -> None:
        self._take(protocol.parse_chat(body, self._backend.limits))

    def _complete(self, body: bytes) -> None:
        self._take(protocol.parse_completion(body, self._backend.limits))

    def _take(self, order: Order) -> None:
        ticket = Ticket(order)
        with cast(ChatServer, self.server).room(order.choices):
            self._backend.submit(ticket)
            try:
                events = self._events(ticket)
                # Nothing is sent before the prompt is accepted, so that a refusal can still be a status.
                accepted = next(events)
                assert isinstance(accepted, Accepted)
                if order.stream:
                    self._stream(order, accepted, events)
                else:
                    self._whole(order, accepted, events)
            finally:
                ticket.cancelled.set()

    def _events(self, ticket: Ticket) -> Iterator[Event]:
        """The ticket's events to the end. Raises what failed, ConnectionError if the client left."""
        looked, waiting = time.monotonic(), ticket.order.choices
        while waiting:
            event = None
            with contextlib.suppress(queue.Empty):
                event = ticket.events.get(timeout=_LOOK_SECONDS)
            if time.monotonic() - looked > _LOOK_SECONDS:
                looked = time.monotonic()
                if _has_left(self.connection):
                    raise ConnectionAbortedError
            if isinstance(event, Failed):
                raise event.error
            if event is not None:
                yield event
            waiting -= isinstance(event, Ended)

    def _whole(self, order: Order, accepted: Accepted, events: Iterator[Event]) -> None:
        pieces: list[Piece] = []
        ended: list[Ended] = []
        for event in events:
            if isinstance(event, Piece):
                pieces.append(event)
            elif isinstance(event, Ended):
                ended.append(event)
        choices = []
        for end in sorted(ended, key=lambda end: end.index):
            own = [piece for piece in pieces if piece.index == end.index]
            said = tuple(entry for piece in own for entry in piece.said)
            choices.append(Choice(end.index, "".join(piece.text for piece in own), end.finish, said))
        self._send_json(200, Reply(order).whole(choices, _facts(accepted, ended)))

    def _stream(self, order: Order, accepted: Accepted, events: Iterator[Event]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        reply = Reply(order)
        for opening in reply.opening(accepted.step):
            self._send_event(opening)
        ended: list[Ended] = []
        try:
            for event in events:
                if isinstance(event, Piece):
                    self._send_event(reply.chunk(event.index, event.text, event.said))
                elif isinstance(event, Ended):
                    ended.append(event)
                    self._send_event(reply.closing(event.index, event.finish))
            if order.include_usage:
                self._send_event(reply.usage_chunk(_facts(accepted, ended)))
        except StudioError as error:
            self._send_event(replies.error_body(error, self._backend.sentences)[1])
        self._send_chunk(b"data: [DONE]\n\n")
        self._send_chunk(b"")

    def _send_event(self, body: dict[str, Any]) -> None:
        self._send_chunk(b"data: " + json.dumps(body, allow_nan=False).encode() + b"\n\n")

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _refuse(self, error: StudioError) -> None:
        status, body = replies.error_body(error, self._backend.sentences)
        self._send_json(status, body, allow=error.facts["allowed"] if status == 405 else None)

    def _send_json(self, status: int, body: dict[str, Any], allow: str | None = None) -> None:
        data = json.dumps(body, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        if allow is not None:
            self.send_header("Allow", allow)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _has_left(connection: socket.socket) -> bool:
    """Whether the other side has closed the connection, without reading from it."""
    readable, _, _ = select.select([connection], [], [], 0)
    if not readable:
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def _facts(accepted: Accepted, ended: Sequence[Ended]) -> Facts:
    """What is told of all choices of a request together."""
    proof = accepted.proof
    if trained := next((end.adapter for end in ended if end.adapter is not None), None):
        proof = replace(proof, adapter=trained)
    return Facts(
        accepted.prompt_tokens,
        sum(end.tokens for end in ended),
        replies.together([end.timings for end in ended]),
        proof,
        replies.span([end.steps for end in ended]),
    )
