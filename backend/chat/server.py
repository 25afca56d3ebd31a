"""The HTTP side of the chat engine: loopback only, a bearer token, Host and Origin checked, one thread a
request.

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from backend.chat import protocol
from backend.chat.ticket import Accepted, Ended, Event, Failed, Piece, Ticket
from studio.errors import StudioError

log = logging.getLogger("studio.chat")
BODY_LIMIT = 8 * 2**20
_LOOK_SECONDS = 0.2  # how often a waiting request looks whether its client is still there


@dataclass(frozen=True)
class Backend:
    """What the server needs of the engine."""

    token: str
    submit: Callable[[Ticket], None]
    models: Callable[[], list[str]]
    shutdown: Callable[[], None]


class ChatServer(ThreadingHTTPServer):
    """Listens on 127.0.0.1. `port` 0: any free one."""

    daemon_threads = True
    # A second process on the same port would get the first one's requests.
    allow_reuse_port = False

    def __init__(self, backend: Backend, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.backend = backend
        self.started = int(time.time())
        self._open = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def open_requests(self) -> int:
        """Requests whose answer is not written out yet."""
        return self._open

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

    def do_GET(self) -> None:
        self._answer({"/v1/models": self._models})

    def do_POST(self) -> None:
        self._answer({"/v1/chat/completions": self._chat, "/shutdown": self._shutdown})

    def log_message(self, format: str, *args: Any) -> None:
        log.info("%s", format % args)

    @property
    def _backend(self) -> Backend:
        return cast(ChatServer, self.server).backend

    def _answer(self, paths: dict[str, Callable[[bytes], None]]) -> None:
        server = cast(ChatServer, self.server)
        server.count(1)
        try:
            body = self._read_body()
            self._check_sender()
            action = paths.get(self.path.partition("?")[0])
            if action is None:
                raise StudioError("chat_path_unknown", path=self.path)
            action(body)
        except StudioError as error:
            status, answer = protocol.error_body(error)
            self._send_json(status, answer)
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the client is gone: nobody to tell
        finally:
            server.count(-1)

    def _read_body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if self.headers.get("Transfer-Encoding") or not length.isdecimal():
            self.close_connection = True
            raise StudioError("chat_body_broken", detail="Content-Length is missing")
        if int(length) > BODY_LIMIT:
            self.close_connection = True
            raise StudioError("chat_body_too_large", limit_bytes=BODY_LIMIT)
        return self.rfile.read(int(length))

    def _check_sender(self) -> None:
        """Refuse pages of other sites (Host rebinding, cross-origin requests) and whoever lacks the token."""
        port = cast(ChatServer, self.server).server_port
        hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        host = self.headers.get("Host", "")
        if host not in hosts:
            raise StudioError("chat_host_refused", host=host)
        origin = self.headers.get("Origin")
        if origin is not None and origin not in {f"http://{own}" for own in hosts}:
            raise StudioError("chat_origin_refused", origin=origin)
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self._backend.token.encode())
        if scheme.lower() != "bearer" or not same:
            raise StudioError("chat_token_wrong")

    def _models(self, _body: bytes) -> None:
        started = cast(ChatServer, self.server).started
        self._send_json(200, protocol.model_list(self._backend.models(), started))

    def _shutdown(self, _body: bytes) -> None:
        self._backend.shutdown()
        self._send_json(200, {"state": "ending"})

    def _chat(self, body: bytes) -> None:
        order = protocol.parse_order(body)
        ticket = Ticket(order)
        self._backend.submit(ticket)
        try:
            events = self._events(ticket)
            # Nothing is sent before the prompt is accepted, so that a refusal can still be an HTTP status.
            accepted = next(events)
            assert isinstance(accepted, Accepted)
            if order.stream:
                self._stream(ticket, accepted, events)
            else:
                self._whole(ticket, accepted, events)
        finally:
            ticket.cancelled.set()

    def _events(self, ticket: Ticket) -> Iterator[Event]:
        """The ticket's events to the end. Raises what failed, ConnectionError if the client left."""
        looked = time.monotonic()
        while True:
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
            if isinstance(event, Ended):
                return

    def _whole(self, ticket: Ticket, accepted: Accepted, events: Iterator[Event]) -> None:
        text: list[str] = []
        for event in events:
            if isinstance(event, Piece):
                text.append(event.text)
            elif isinstance(event, Ended):
                usage = protocol.usage(accepted.prompt_tokens, event.tokens)
                reply = protocol.Reply(ticket.order)
                body = reply.whole("".join(text), event.finish, usage, event.timings, accepted.proof)
                self._send_json(200, body)

    def _stream(self, ticket: Ticket, accepted: Accepted, events: Iterator[Event]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        reply = protocol.Reply(ticket.order)
        self._send_event(reply.chunk("", first=True))
        try:
            for event in events:
                if isinstance(event, Piece):
                    self._send_event(reply.chunk(event.text))
                elif isinstance(event, Ended):
                    self._send_event(reply.chunk(None, event.finish))
                    if ticket.order.include_usage:
                        usage = protocol.usage(accepted.prompt_tokens, event.tokens)
                        self._send_event(reply.usage_chunk(usage, event.timings, accepted.proof))
        except StudioError as error:
            self._send_event(protocol.error_body(error)[1])
        self._send_chunk(b"data: [DONE]\n\n")
        self._send_chunk(b"")

    def _send_event(self, body: dict[str, Any]) -> None:
        self._send_chunk(b"data: " + json.dumps(body, allow_nan=False).encode() + b"\n\n")

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _send_json(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
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
