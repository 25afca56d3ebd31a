"""The screen over a facade that lives in memory: its page, its words, its tabs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from tests.fake_facade import FakeFacade
from ui import forms
from ui.page import Page
from ui.words import Words


@pytest.fixture
def facade(tmp_path: Path) -> FakeFacade:
    return FakeFacade(tmp_path, chat_seconds=0.0)


@pytest.fixture
def words(facade: FakeFacade) -> Words:
    """The screen's, as `create_app` makes them."""
    return Words("en", labels=forms.labels(facade))


@pytest.fixture
def page(facade: FakeFacade, words: Words) -> Iterator[Page]:
    """Components made in the test belong to one app, as they do in `create_app`."""
    with gr.Blocks():
        yield Page(facade, words, gr.HTML(), gr.Textbox())
