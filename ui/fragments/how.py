"""Step 4: how it will be trained. The defaults with their reasons; the expert's knobs folded away."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from backend.api import Draft
from ui.forms import Field, grid
from ui.fragments import plan
from ui.fragments.html import join
from ui.fragments.parts import fold, heading
from ui.words import Words


def view(words: Words, draft: Draft, shown: Sequence[Field]) -> Markup:
    text = words.text
    main = [f for f in shown if not f.expert]
    expert = [f for f in shown if f.expert]
    changed = any(f.given not in (None, "") or f.problem for f in expert)
    return join(
        heading(text("how.title"), text("how.lead")),
        plan.problem_list(words, draft),
        grid(text, main),
        fold(text("how.expert", count=len(expert)), grid(text, expert), open_=changed),
        fold(text("how.command"), plan.command(text, draft.command)),
    )
