"""Conversations as files: Markdown to read, rows to train on, tables to count with. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from backend.api.chat import Conversation, Export, Turn
from backend.conversations.dialogue import leaves, path_to, training_messages
from backend.datasets import slug
from studio.errors import StudioError

_SHORT = 12  # characters of a hash that a person compares


def export(conversation: Conversation, form: str, name: str) -> Export:
    """One file of a conversation; `name` is its stem, behind which rows have the model that answered.

    Raises StudioError `export_unknown` (form, known).
    """
    panes = max((len(turn.answers) for turn in conversation.turns), default=0)
    if form == "markdown":
        return Export(f"{name}.md", "text/markdown", _markdown(conversation))
    if form == "csv":
        return Export(f"{name}.csv", "text/csv", _csv(conversation.turns))
    if form == "jsonl":
        return Export(f"{name}.jsonl", "application/x-ndjson", _lines(_table(conversation.turns)))
    if form in {f"rows-{pane}" for pane in range(panes)}:
        pane = int(form.removeprefix("rows-"))
        rows = _rows(conversation.turns, pane)
        models = [turn.setup.panes[pane] for turn in conversation.turns if pane < len(turn.setup.panes)]
        return Export(f"{name}-{_short_name(models[-1])}.jsonl", "application/x-ndjson", _lines(rows))
    known = ["markdown", "csv", "jsonl", *(f"rows-{pane}" for pane in range(panes))]
    raise StudioError("export_unknown", form=form, known=known)


def _short_name(model: str) -> str:
    """What tells a model from another in the name of a file: the last part of its own name."""
    return "mix" if model.startswith("mix:") else slug(model.rpartition(":")[2].rpartition("/")[2])


def _rows(turns: Sequence[Turn], pane: int) -> Iterator[dict[str, Any]]:
    """A row per branch whose last question this pane has answered."""
    for leaf in leaves(turns):
        if pane < len(leaf.answers) and leaf.answers[pane].text:
            yield {"messages": training_messages(path_to(turns, leaf.id), pane)}


def _table(turns: Sequence[Turn]) -> Iterator[dict[str, Any]]:
    for turn in turns:
        answers = zip(turn.setup.panes, turn.answers, strict=True)
        yield {
            "prompt": turn.prompt,
            "answers": [
                {
                    "model": model,
                    "text": answer.text,
                    "finish_reason": answer.finish_reason,
                    "tokens": answer.tokens,
                    "tokens_per_second": answer.tokens_per_second,
                    "seconds_to_first": answer.seconds_to_first,
                    "base": answer.proof and answer.proof.base,
                    "adapter": answer.proof and answer.proof.adapter,
                    "template": answer.proof and answer.proof.template,
                    "error": answer.error,
                }
                for model, answer in answers
            ],
            "seed": turn.setup.sampling.seed,
            "vote": turn.vote
            if turn.vote is None or not turn.vote.isdecimal()
            else turn.setup.panes[int(turn.vote)],
        }


def _csv(turns: Sequence[Turn]) -> str:
    """A prompt a row, a column per model: the panes of all turns, in the order in which they first stood. A
    model that stood in two panes has two."""
    columns = list(dict.fromkeys(column for turn in turns for column in _columns(turn)))
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["prompt", *(model for model, _ in columns), "vote"])
    for turn, row in zip(turns, _table(turns), strict=True):
        said = dict(zip(_columns(turn), (answer.text for answer in turn.answers), strict=True))
        table.writerow([turn.prompt, *(said.get(column, "") for column in columns), row["vote"] or ""])
    return out.getvalue()


def _columns(turn: Turn) -> list[tuple[str, int]]:
    """Of each pane its model, and how many panes before it have the same."""
    panes = turn.setup.panes
    return [(model, panes[:place].count(model)) for place, model in enumerate(panes)]


def _lines(rows: Iterator[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _markdown(conversation: Conversation) -> str:
    parts = [f"# {conversation.title}"]
    for number, turn in _numbered(conversation.turns):
        parts.append(f"## {number}\n\n{_quoted(turn.prompt)}")
        if turn.setup.system.strip():
            parts.append(f"System prompt:\n\n{_quoted(turn.setup.system.strip())}")
        for pane, (model, answer) in enumerate(zip(turn.setup.panes, turn.answers, strict=True)):
            better = " (voted best)" if turn.vote == str(pane) else ""
            parts.append(f"### {model}{better}\n\n{answer.text}\n\n{_facts(turn, pane)}")
    return "\n\n".join(parts) + "\n"


def _facts(turn: Turn, pane: int) -> str:
    """One small line: what answered, how it was drawn, how long it took."""
    answer, sampling = turn.answers[pane], turn.setup.sampling
    facts = [f"seed {sampling.seed}", f"temperature {sampling.temperature:g}"]
    if answer.tokens is not None:
        facts.append(f"{answer.tokens} tokens")
    if answer.tokens_per_second is not None:
        facts.append(f"{answer.tokens_per_second:.0f} a second")
    if (proof := answer.proof) is not None:
        named = {"base": proof.base, "adapter": proof.adapter, "template": proof.template}
        facts += [f"{name} `{hash[:_SHORT]}`" for name, hash in named.items() if hash]
    if answer.error is not None:
        facts.append(f"no answer, or not all of it: `{answer.error['code']}`")
    return f"<sub>{' · '.join(facts)}</sub>"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def _numbered(turns: Sequence[Turn]) -> Iterator[tuple[str, Turn]]:
    """Branch after branch, the number of a question and, of several in one place, its letter."""

    def below(parent: int | None, depth: int) -> Iterator[tuple[str, Turn]]:
        here = [turn for turn in turns if turn.parent == parent]
        for index, turn in enumerate(here):
            many = len(here) > 1 and not prompts
            yield f"{index + 1 if prompts else depth}{_letter(index) if many else ''}", turn
            yield from below(turn.id, depth + 1)

    prompts = all(turn.parent is None for turn in turns) and len(turns) > 1
    return below(None, 1)


def _letter(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else f".{index + 1}"
