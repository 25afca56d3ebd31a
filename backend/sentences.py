"""The sentences of errors, for programs that ask an endpoint: nobody draws a code for them.

Words live in `ui`, so whoever opens the studio there hands them on. They are kept in the home, where all that
answers on an address finds them: `serve`, the chat engine, a run that can be asked while it trains.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from backend.home import Home
from studio.sentences import Sentences


def keep(home: Home, entries: Mapping[str, str]) -> None:
    """Keep these entries of `ui/i18n`, in place of those that were kept before."""
    text = json.dumps(entries, ensure_ascii=False)
    file = _file(home)
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


def kept(home: Home) -> Sentences:
    """What was kept; none where the studio was only ever used as a library."""
    file = _file(home)
    return Sentences(json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {})


def _file(home: Home) -> Path:
    return home.cache / "sentences.json"
