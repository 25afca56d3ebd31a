"""The screen process: `python -m ui.serve --home DIR [--port N] [--host H] [--no-browser]`.

Binds loopback on the next free port (or on --port, or not at all), lets in who has the token, writes
`<home>/screen.json` once it answers, keeps watching the runs so that a dead worker is noticed even while no
page is open, and ends within ten seconds of Ctrl-C or SIGTERM. Holds no model and never imports torch.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from backend.hosts import address, is_loopback, listen
from studio.errors import StudioError
from ui import running
from ui.words import Words

FIRST_PORT = 7860
GRACE_SECONDS = 2  # how long open connections (every page holds an event stream) may take to close
MAX_UPLOAD = "2gb"


def main(argv: list[str] | None = None) -> int:
    """Run the screen until it is told to end. 0: ended as asked; 1: refused, the reason on standard error."""
    args = _arguments().parse_args(argv)
    words = Words("en")
    try:
        serve(args.home.expanduser().resolve(), args.port, args.host, words, browser=not args.no_browser)
    except StudioError as error:
        cause, remedy = words.error(error)
        sys.stderr.write(f"{cause}\n{remedy}\n")
        return 1
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ui.serve", description="Open the studio's screen.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--no-browser", action="store_true")
    return parser


def serve(home: Path, port: int | None, host: str, words: Words, *, browser: bool) -> None:
    """Serve until a signal. StudioError `password_needed` and those of `open_home` and `listen` before it
    starts.
    """
    from backend.home import open_home

    password = os.environ.get("STUDIO_PASSWORD") or None
    if not is_loopback(host):
        if password is None:
            raise StudioError("password_needed", host=host)
        sys.stderr.write(words.text("serve.open_warning", host=host) + "\n")
    open_home(home)
    claimed = running.claim(home)
    if claimed is None:
        _show_other(home, words, browser)
        return
    with claimed, listen(host, port, FIRST_PORT) as listening:
        _log_to(home / "screen.log")
        try:
            _run(home, listening, host, password, words, browser)
        finally:
            running.forget(home)


def _show_other(home: Path, words: Words, browser: bool) -> None:
    """This home has a screen already: open that one. StudioError `screen_silent` if it does not answer."""
    screen = running.other(home)
    if screen is None:
        raise StudioError("screen_silent", home=str(home))
    sys.stderr.write(words.text("serve.open_already") + "\n")
    sys.stdout.write(json.dumps({"url": screen.url}) + "\n")
    if browser:
        running.open_browser(home, screen.url)


def _run(
    home: Path, listening: socket.socket, host: str, password: str | None, words: Words, browser: bool
) -> None:
    import uvicorn

    from backend.facade import StudioFacade
    from ui.auth import token_of

    facade = StudioFacade(home, watch=True, sentences=words.of_errors())
    token = token_of(home)
    url = f"{address(host, listening.getsockname()[1])}/?token={token}"
    app = guarded(facade, token, host, password, words)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    ended = threading.Event()
    threading.Thread(target=_announce, args=(home, url, server, ended, browser), daemon=True).start()
    # uvicorn ends on these two and then raises them once more: by then there is a record to remove.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        server.run(sockets=[listening])
    finally:
        ended.set()
        facade.close()


def guarded(facade: Any, token: str, host: str, password: str | None, words: Words) -> Any:
    """The ASGI application: Gradio's app, the page's own files, all of it behind the guard."""
    import gradio as gr
    from fastapi import FastAPI, Response

    from ui.acts import UPLOADS
    from ui.app import create_app
    from ui.auth import Guard
    from ui.downloads import router
    from ui.fragments.enter import page
    from ui.look.css import script, stylesheet
    from ui.look.theme import theme

    os.environ["GRADIO_TEMP_DIR"] = str(facade.home / UPLOADS)
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @outer.get("/studio/alive")
    def alive() -> dict[str, bool]:
        return {"alive": True}

    @outer.get("/studio/studio.css")
    def css() -> Response:
        return Response(stylesheet(), media_type="text/css", headers={"cache-control": "no-cache"})

    @outer.get("/studio/studio.js")
    def js() -> Response:
        return Response(script(), media_type="text/javascript", headers={"cache-control": "no-cache"})

    @outer.get("/studio/conversation/{id}/{form}")
    def conversation(id: int, form: str) -> Response:
        try:
            made = facade.export_conversation(id, form)
        except StudioError as error:
            return Response(" ".join(words.error(error)), 404, media_type="text/plain")
        named = {"content-disposition": f'attachment; filename="{made.name}"', "cache-control": "no-store"}
        return Response(made.text, media_type=made.media, headers=named)

    outer.include_router(router(facade, words))
    gr.mount_gradio_app(
        outer,
        create_app(facade),
        path="/",
        theme=theme(),
        head='<link rel="stylesheet" href="studio/studio.css"><script src="studio/studio.js"></script>',
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        max_file_size=MAX_UPLOAD,
        show_error=False,
        ssr_mode=False,
        pwa=False,
    )
    return Guard(outer, token, host, password, words.text, page)


def _announce(home: Path, url: str, server: Any, ended: threading.Event, browser: bool) -> None:
    """Once the server answers: write screen.json, say the address, open the browser."""
    while not server.started:
        if ended.wait(0.02):
            return
    running.record(home, url)
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()
    if browser:
        running.open_browser(home, url)


def _log_to(path: Path) -> None:
    logging.basicConfig(
        filename=path, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


if __name__ == "__main__":
    raise SystemExit(main())
