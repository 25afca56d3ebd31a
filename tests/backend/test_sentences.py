"""The sentences that whoever opens the studio hands on, and what an endpoint says without them."""

from __future__ import annotations

from pathlib import Path

from backend.chat.replies import error_body
from backend.facade import StudioFacade
from backend.home import open_home
from backend.sentences import kept
from studio.errors import StudioError
from tests.backend.launchers import Notes
from ui.words import Words

FULL = StudioError("chat_queue_full", limit=64)


def test_the_newest_sentences_are_kept_until_others_come(home: Path) -> None:
    entries = {f"error.chat_queue_full.{end}": f"{end} {{limit}}" for end in ("message", "remedy")}
    for handed, said in (
        (None, "chat_queue_full(limit=64)"),
        (entries, "message 64 remedy 64"),
        (None, "message 64 remedy 64"),
        (
            Words("en").of_errors(),
            "64 requests are waiting already. Try again when some of them are answered.",
        ),
    ):
        StudioFacade(home, launcher=Notes(), sentences=handed).close()
        status, body = error_body(FULL, kept(open_home(home)))
        assert (status, body["error"]["message"]) == (429, said)
        assert (body["error"]["code"], body["error"]["facts"]) == ("chat_queue_full", {"limit": 64})


def test_a_plugins_own_error_is_told_by_its_code(home: Path) -> None:
    StudioFacade(home, launcher=Notes(), sentences=Words("en").of_errors()).close()
    _, body = error_body(StudioError("of_a_plugin", size=3), kept(open_home(home)))
    assert body["error"]["message"] == "of_a_plugin(size=3)"
