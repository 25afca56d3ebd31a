"""A small Hugging Face hub on loopback: the routes that the real client calls, over repositories in memory.

Large files (safetensors) are served as the hub does: the file's address redirects, with the hash and the size
in the headers, to another host that answers range requests. A transfer can be set to break off once.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

GOOD_TOKEN = "hf_let_me_in"
POOR_TOKEN = "hf_terms_not_accepted"


@dataclass
class Repo:
    """A repository: its files at one commit; `gated` repositories want GOOD_TOKEN."""

    files: dict[str, bytes]
    gated: bool = False
    private: bool = False
    revisions: tuple[str, ...] = ("main",)

    @property
    def commit(self) -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        for name, body in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + body)
        return digest.hexdigest()


@dataclass
class Hub:
    """The running server's state. `breaks` holds, per file, after how many bytes its next transfer ends."""

    url: str
    repos: dict[str, Repo] = field(default_factory=dict)
    breaks: dict[str, int] = field(default_factory=dict)
    fail_with: int | None = None
    large: dict[str, bytes] = field(default_factory=dict)  # uploaded, by hash
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def ranges(self, file: str) -> list[str | None]:
        """The Range headers of all GET requests for the content of a file, in order."""
        return [
            h.get("Range") for method, path, h in self.requests if method == "GET" and path.endswith(file)
        ]


@contextmanager
def running() -> Iterator[Hub]:
    """A server for the length of a `with` block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.hub  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".gguf"))


def _blob(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._take()

    def do_PUT(self) -> None:
        self._take()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        path = unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, dict(self.headers)))
        if hub.fail_with is not None:
            return self._error(hub.fail_with, "", "the hub is down")
        for pattern, handle in (
            (r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", self._info),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            (r"/cdn/([^/]+/[^/]+)/(.+)", self._content),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
        ):
            if match := re.fullmatch(pattern, path):
                return handle(hub, *match.groups())
        return self._error(404, "EntryNotFound", "no such route")

    def _repo(self, hub: Hub, name: str, revision: str | None) -> Repo | None:
        """The repository if the caller may see it; otherwise the refusal is sent."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", GOOD_TOKEN, POOR_TOKEN):
            return self._error(401, "", "Invalid credentials in Authorization header")
        repo = hub.repos.get(name)
        if repo is None:
            # The hub does not tell strangers whether a repository exists.
            return self._error(401 if not token else 404, "RepoNotFound", "Repository not found")
        if revision not in (None, repo.commit, *repo.revisions):
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo

    def _locked(self, repo: Repo) -> bool:
        return repo.gated and self.headers.get("Authorization") != f"Bearer {GOOD_TOKEN}"

    def _info(self, hub: Hub, name: str, revision: str | None) -> None:
        repo = self._repo(hub, name, revision)
        if repo is None:
            return
        siblings = []
        for file, body in repo.files.items():
            entry: dict[str, object] = {"rfilename": file, "size": len(body), "blobId": _blob(body)}
            if _is_large(file):
                entry["lfs"] = {
                    "sha256": hashlib.sha256(body).hexdigest(),
                    "size": len(body),
                    "pointerSize": 134,
                }
            siblings.append(entry)
        gated = "manual" if repo.gated else False
        card = {"license": "apache-2.0"}
        body = {"id": name, "sha": repo.commit, "gated": gated, "cardData": card, "siblings": siblings}
        self._json(body)

    def _tree(self, hub: Hub, name: str, revision: str) -> None:
        repo = self._repo(hub, name, revision)
        if repo is None:
            return
        entries = []
        for file, body in repo.files.items():
            entry: dict[str, object] = {"type": "file", "path": file, "size": len(body), "oid": _blob(body)}
            if _is_large(file):
                entry["lfs"] = {
                    "oid": hashlib.sha256(body).hexdigest(),
                    "size": len(body),
                    "pointerSize": 134,
                }
            entries.append(entry)
        self._json(entries)

    def _resolve(self, hub: Hub, name: str, revision: str, file: str) -> None:
        repo = self._repo(hub, name, revision)
        if repo is None:
            return
        if self._locked(repo):
            status = 403 if self.headers.get("Authorization") else 401
            return self._error(status, "GatedRepo", f"Access to model {name} is restricted")
        if file not in repo.files:
            return self._error(404, "EntryNotFound", f"no {file}")
        body = repo.files[file]
        if not _is_large(file):
            headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{_blob(body)}"'}
            return self._bytes(hub, file, body, headers)
        self.send_response(302)
        self.send_header("Location", f"{hub.url.replace('127.0.0.1', 'localhost')}/cdn/{name}/{file}")
        self.send_header("X-Repo-Commit", repo.commit)
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(body)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _content(self, hub: Hub, name: str, file: str) -> None:
        self._bytes(hub, file, hub.repos[name].files[file], {"ETag": '"cdn"'})

    def _bytes(self, hub: Hub, file: str, body: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        end = hub.breaks.pop(file, None)
        self.wfile.write(body[start:end])
        if end is not None:
            self.close_connection = True

    # -- uploads: who comes with GOOD_TOKEN may write

    def _take(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        path = unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, dict(self.headers)))
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if hub.fail_with is not None:
            return self._error(hub.fail_with, "", "the hub is down")
        if match := re.fullmatch(r"/lfs/([0-9a-f]{64})", path):  # its address was the key
            hub.large[match[1]] = body
            return self._json({})
        if self.headers.get("Authorization") != f"Bearer {GOOD_TOKEN}":
            return self._error(401, "", "Invalid credentials in Authorization header")
        for pattern, handle in (
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", lambda _: {"errors": [], "warnings": []}),
            (r"/api/models/([^/]+/[^/]+)/preupload/main", self._modes),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"/api/models/([^/]+/[^/]+)/commit/main", self._commit),
        ):
            if match := re.fullmatch(pattern, path):
                return self._json(handle(body, *match.groups()))
        return self._error(404, "EntryNotFound", "no such route")

    def _create(self, body: bytes) -> object:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        hub.repos.setdefault(name, Repo({}, private=asked.get("visibility") == "private"))
        return {"url": f"{hub.url}/{name}"}

    def _modes(self, body: bytes, name: str) -> object:
        del name
        return {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if _is_large(file["path"]) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
        }

    def _batch(self, body: bytes, name: str) -> object:
        del name
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        asked = json.loads(body)["objects"]
        there = [{"upload": {"href": f"{hub.url}/lfs/{o['oid']}"}} for o in asked]
        return {
            "transfer": "basic",
            "objects": [{**o, "actions": a} for o, a in zip(asked, there, strict=True)],
        }

    def _commit(self, body: bytes, name: str) -> object:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        repo = hub.repos[name]
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repo.files[value["path"]] = hub.large[value["oid"]]
        return {"commitUrl": f"{hub.url}/{name}/commit/{repo.commit}", "commitOid": repo.commit}

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()
