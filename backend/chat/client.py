"""A client of the chat engine that any thread can cancel. Standard library only, no proxies."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from backend.chat.announcement import Announcement
from studio.errors import StudioError

_CONNECT_SECONDS = 10.0


class EngineGone(Exception):
    """The connection broke before the answer was complete."""


class Call:
    """One request to an engine."""

    def __init__(self, engine: Announcement) -> None:
        self._engine = engine
        self._socket: socket.socket | None = None
        self._cancelled = False

    def json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON answer.

        Raises:
            StudioError: what the engine refused with.
            EngineGone: it does not answer.
        """
        with self._open(method, path, body) as response:
            answer: dict[str, Any] = json.loads(response.read())
            return answer

    def stream(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The chunks of a streamed chat completion; ends early, without an error, once cancelled.

        Raises:
            StudioError, EngineGone: as `json`.
        """
        try:
            with self._open("POST", "/v1/chat/completions", {**body, "stream": True}) as response:
                yield from _server_sent(response)
        except EngineGone:
            if not self._cancelled:
                raise

    def cancel(self) -> None:
        """Break the connection, from any thread: the engine then stops answering."""
        self._cancelled = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # closed already
                self._socket.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def _open(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> Iterator[http.client.HTTPResponse]:
        address = urlsplit(self._engine.url)
        assert address.hostname is not None
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=_CONNECT_SECONDS)
        headers = {"Authorization": f"Bearer {self._engine.token}", "Content-Type": "application/json"}
        try:
            connection.connect()
            self._socket = connection.sock
            if self._cancelled:
                raise EngineGone
            # A model that still loads, or a long prompt, may take minutes; a dead engine closes the
            # connection.
            connection.sock.settimeout(None)
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise _refusal(response)
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise EngineGone from error
        finally:
            connection.close()


def _server_sent(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    while line := response.readline():
        if not line.startswith(b"data: "):
            continue
        data = line.removeprefix(b"data: ").strip()
        if data == b"[DONE]":
            # To the end of the body: closing before it would reset the connection.
            with contextlib.suppress(OSError, http.client.HTTPException):
                response.read()
            return
        chunk: dict[str, Any] = json.loads(data)
        if "error" in chunk:
            raise _error(chunk["error"])
        yield chunk
    raise EngineGone


def _refusal(response: http.client.HTTPResponse) -> StudioError:
    return _error(json.loads(response.read())["error"])


def _error(body: Mapping[str, Any]) -> StudioError:
    return StudioError(body["code"], **body["facts"])
