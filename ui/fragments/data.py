"""Step 3: the rows to learn from (a sample, a file, or typed ones), and what of them will be learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from backend.api import CheckReport, PreviewRow, SampleInfo
from ui.fragments import message
from ui.fragments.format import count_text
from ui.fragments.html import classes, h, join
from ui.fragments.icons import icon
from ui.fragments.parts import badge, button, data_table, heading, numbers
from ui.fragments.text import Text
from ui.wizard import MIN_ROWS, SOURCES
from ui.words import Words

PROBLEMS_SHOWN = 8


def view(
    text: Text,
    source: str,
    goal: str | None,
    samples: Sequence[SampleInfo],
    dataset: str | None,
    typed: Sequence[Mapping[str, str]],
    learned: Markup | None,
) -> Markup:
    """The three ways to bring rows, then what was found in them (`learned`, from `found`)."""
    inner = {
        "samples": lambda: sample_cards(text, samples, goal, dataset),
        "file": lambda: drop_zone(text),
        "rows": lambda: row_table(text, typed),
    }[source]()
    return join(
        heading(text("data.title"), text("data.lead")),
        h(
            "div",
            [
                h(
                    "button",
                    text(f"data.source.{s}"),
                    type="button",
                    role="tab",
                    aria_selected="true" if s == source else "false",
                    data_act="source",
                    data_source=s,
                )
                for s in SOURCES
            ],
            class_="segments",
            role="tablist",
        ),
        h("div", inner, class_="source"),
        h("div", learned, class_="found") if learned else None,
    )


def sample_cards(text: Text, samples: Sequence[SampleInfo], goal: str | None, dataset: str | None) -> Markup:
    """The samples, those of the chosen goal first."""
    ordered = sorted(samples, key=lambda s: s.goal != goal)
    return h("div", [_sample(text, s, goal, s.name == dataset) for s in ordered], class_="cards three")


def _sample(text: Text, sample: SampleInfo, goal: str | None, chosen: bool) -> Markup:
    return h(
        "button",
        h("span", icon(sample.goal), class_="card-icon small"),
        h("span", sample.title, class_="card-title"),
        h("span", sample.summary, class_="card-line"),
        h(
            "span",
            h(
                "span",
                text("data.rows", rows=count_text(sample.rows), heldout=count_text(sample.heldout_rows)),
            ),
            badge("accent", None, text("data.suits")) if sample.goal == goal else None,
            class_="facts line",
        ),
        class_=classes("card pick", chosen and "chosen"),
        type="button",
        data_act="dataset",
        data_name=sample.name,
        aria_pressed="true" if chosen else "false",
    )


def drop_zone(text: Text) -> Markup:
    return h(
        "div",
        h("span", icon("upload", 28), class_="empty-mark"),
        h("p", text("data.drop"), class_="strong"),
        h("p", text("data.kinds"), class_="quiet"),
        button(text("data.pick"), None, data_do="pick"),
        h(
            "input",
            type="file",
            hidden=True,
            aria_label=text("data.pick"),
            accept=".json,.jsonl,.csv,.tsv,.parquet,.arrow,.txt",
        ),
        h("p", text("data.uploading"), class_="busy-note"),
        class_="drop",
        data_drop=True,
    )


def row_table(text: Text, typed: Sequence[Mapping[str, str]]) -> Markup:
    """A question and its answer per line; tab-separated text pastes into several lines at once."""
    lines = list(typed) + [{"prompt": "", "answer": ""}] * max(1, MIN_ROWS - len(typed))
    filled = sum(bool(r["prompt"].strip() and r["answer"].strip()) for r in lines)
    head = (text("data.prompt"), text("data.answer"), h("span", text("data.remove"), class_="unseen"))
    return h(
        "div",
        h("p", text("data.typed.line"), class_="quiet"),
        h(
            "table",
            h("thead", h("tr", [h("th", name) for name in head])),
            h("tbody", [_typed_row(text, row, number) for number, row in enumerate(lines, 1)]),
            data_rows=True,
            class_="rows",
        ),
        h(
            "div",
            button(text("data.add"), kind="quiet", symbol="plus", data_row="add"),
            h("span", class_="grow"),
            h("span", h("span", filled, data_count=True), " ", text("data.filled"), class_="quiet"),
            button(text("data.use"), "rows-save", data_busy="", disabled=filled == 0),
            class_="line",
        ),
        class_="typed",
    )


def _typed_row(text: Text, row: Mapping[str, str], number: int) -> Markup:
    cells = [
        h(
            "textarea",
            row[kind],
            rows="1",
            data_cell=kind,
            aria_label=text(f"data.cell.{kind}", number=number),
            placeholder=text(f"data.cell.{kind}.example") if number == 1 else None,
        )
        for kind in ("prompt", "answer")
    ]
    remove = h(
        "button",
        icon("close", 16),
        type="button",
        class_="icon-button",
        data_row="remove",
        aria_label=text("data.remove"),
    )
    return h("tr", [h("td", cell) for cell in (*cells, remove)])


def found(words: Words, report: CheckReport, rows: Sequence[PreviewRow], name: str) -> Markup:
    """What is in the rows: how many, of which form, what is wrong, and what of them will be learned."""
    text, tokens = words.text, report.tokens or {}
    heldout = count_text(report.heldout_rows) if report.heldout_rows else text("data.heldout.none")
    return join(
        h("h2", text("data.found", name=name), class_="section"),
        numbers(
            [
                (text("data.number.rows"), count_text(report.rows), text(f"format.{report.format}")),
                (text("data.number.heldout"), heldout, text("data.number.heldout.line")),
                (
                    text("data.number.learned"),
                    count_text(tokens.get("learned")),
                    text("data.number.learned.line", total=count_text(tokens.get("total"))),
                ),
                (
                    text("data.number.longest"),
                    count_text(tokens.get("max")),
                    text("data.number.longest.line"),
                ),
            ]
        ),
        problems(words, report),
        preview(text, rows)
        if rows
        else message.card("plain", text("data.later.title"), text("data.later.line")),
    )


def preview(text: Text, rows: Sequence[PreviewRow]) -> Markup:
    return h(
        "div",
        h("p", h("mark", text("data.legend.learned")), " ", text("data.legend.line"), class_="quiet legend"),
        [
            h(
                "div",
                h("span", row.row, class_="row-number"),
                h("p", [h("mark", piece) if learned else h("span", piece) for piece, learned in row.pieces]),
                h("span", text("data.row.tokens", learned=row.learned, tokens=row.tokens), class_="quiet"),
                class_="token-row",
            )
            for row in rows
        ],
        class_="card tokens",
    )


def problems(words: Words, report: CheckReport) -> Markup | None:
    if not report.problems:
        return None
    text = words.text
    shown = report.problems[:PROBLEMS_SHOWN]
    more = sum(report.problem_counts.values()) - len(shown)
    rows, left_out = (_count(report, mark) for mark in ("row", "skipped"))
    title = text("data.problems", count=rows) if rows else text("data.problems.file")
    line = text("data.problems.left_out", count=left_out) if left_out else text("data.problems.used")
    return join(
        message.card("wait", title, line),
        data_table(
            title,
            [text("data.problem.where"), text("data.problem.what"), text("data.problem.fix")],
            [(_place(words, problem), *words.problem(problem)) for problem in shown],
        ),
        h("p", text("data.problems.more", count=more), class_="quiet") if more > 0 else None,
    )


def _count(report: CheckReport, mark: str) -> int:
    """How many problems there are of the codes that carry this mark: `row` or `skipped`."""
    codes = {problem["code"] for problem in report.problems if problem[mark]}
    return sum(report.problem_counts[code] for code in codes)


def _place(words: Words, problem: Mapping[str, Any]) -> str:
    if problem["row"] is None:
        return words.text("data.problem.file")
    if problem["column"]:
        return words.text("data.problem.place", row=problem["row"], column=problem["column"])
    return words.text("data.problem.row", row=problem["row"])


def broken(cause: str, remedy: str) -> Markup:
    """In place of what was found: the file can't be read; what was chosen before is kept."""
    return message.card("bad", cause, remedy)
