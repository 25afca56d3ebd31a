"""Every usual shape of training data becomes the same internal rows, and says why it was recognised."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from studio.data.read import Dataset, read_dataset
from studio.data.rows import Row, Stream

ASK, TELL = ("user", "What is 2 + 2?"), ("assistant", "4")


def turns(stream: Stream) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in stream.messages]


def only(dataset: Dataset) -> Row:
    assert not dataset.problems
    (row,) = dataset.rows
    return row


SFT = {
    "alpaca": ("alpaca", {"instruction": ASK[1], "input": "", "output": "4"}, [ASK, TELL]),
    "alpaca with input": (
        "alpaca",
        {"instruction": "Add.", "input": "2, 2", "output": "4"},
        [("user", "Add.\n2, 2"), TELL],
    ),
    "alpaca with system and history": (
        "alpaca",
        {"instruction": ASK[1], "output": "4", "system": "Be brief.", "history": [["Hi", "Hello"]]},
        [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ASK, TELL],
    ),
    "dolly": (
        "alpaca",
        {"instruction": "Add.", "context": "2, 2", "response": "4"},
        [("user", "Add.\n2, 2"), TELL],
    ),
    "capital letters": ("alpaca", {"Instruction": ASK[1], "Output": "4"}, [ASK, TELL]),
    "openai": (
        "messages",
        {"messages": [{"role": "user", "content": ASK[1]}, {"role": "assistant", "content": "4"}]},
        [ASK, TELL],
    ),
    "openai parts and developer": (
        "messages",
        {
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "2 + 2?"}],
                },
                {"role": "assistant", "content": "4"},
            ]
        },
        [("system", "Be brief."), ASK, TELL],
    ),
    "openai tool calls": (
        "messages",
        {
            "messages": [
                {"role": "user", "content": ASK[1]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"function": {"name": "add", "arguments": '{"a": 2, "b": 2}'}}],
                },
                {"role": "tool", "content": "4"},
                {"role": "assistant", "content": "4"},
            ]
        },
        [ASK, ("assistant", '{"name": "add", "arguments": {"a": 2, "b": 2}}'), ("tool", "4"), TELL],
    ),
    "messages as json text": (
        "messages",
        {
            "messages": json.dumps(
                [{"role": "user", "content": ASK[1]}, {"role": "assistant", "content": "4"}]
            )
        },
        [ASK, TELL],
    ),
    "sharegpt": (
        "sharegpt",
        {"conversations": [{"from": "human", "value": ASK[1]}, {"from": "gpt", "value": "4"}]},
        [ASK, TELL],
    ),
    "sharegpt with system column": (
        "sharegpt",
        {
            "system": "Be brief.",
            "conversations": [{"from": "human", "value": ASK[1]}, {"from": "gpt", "value": "4"}],
        },
        [("system", "Be brief."), ASK, TELL],
    ),
    "prompt and completion": ("prompt_completion", {"prompt": ASK[1], "completion": "4"}, [ASK, TELL]),
    "question and answer": ("prompt_completion", {"question": ASK[1], "answer": "4"}, [ASK, TELL]),
    "numbers": ("prompt_completion", {"question": ASK[1], "answer": 4}, [ASK, TELL]),
    "messages as prompt": (
        "prompt_completion",
        {
            "prompt": [{"role": "user", "content": ASK[1]}],
            "completion": [{"role": "assistant", "content": "4"}],
        },
        [ASK, TELL],
    ),
    "classification": (
        "prompt_completion",
        {"text": "Great!", "label": "good"},
        [("user", "Great!"), ("assistant", "good")],
    ),
    "text": ("text", {"text": "Once upon a time."}, [("text", "Once upon a time.")]),
}


@pytest.mark.parametrize("case", SFT)
def test_row_becomes_messages_with_its_answers_learned(jsonl, case: str) -> None:
    name, record, expected = SFT[case]
    dataset = read_dataset(jsonl(record))
    assert dataset.format == name
    assert dataset.reason.code == f"format_{name}"
    row = only(dataset)
    assert list(row.streams) == ["text"]
    assert turns(row.streams["text"]) == expected
    assert row.streams["text"].learned == tuple(role in ("assistant", "text") for role, _ in expected)
    assert row.source == "data.jsonl:1"


def test_the_reason_names_the_columns(jsonl) -> None:
    dataset = read_dataset(jsonl({"instruction": "a", "input": "", "output": "b", "id": 7}))
    assert dataset.reason.facts == {"columns": "instruction, input, output"}


def test_weight_zero_keeps_an_answer_out_of_the_loss(jsonl) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "weight": 0},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d", "weight": 1},
    ]
    assert only(read_dataset(jsonl({"messages": messages}))).streams["text"].learned == (
        False,
        False,
        False,
        True,
    )


def test_tools_become_part_of_the_system_text(jsonl) -> None:
    record = {
        "conversations": [
            {"from": "human", "value": "a"},
            {"from": "function_call", "value": '{"name": "add"}'},
            {"from": "observation", "value": "4"},
            {"from": "gpt", "value": "b"},
        ],
        "tools": '[{"name": "add"}]',
    }
    dataset = read_dataset(jsonl(record, {**record, "tools": "[]"}, record))
    first, second, _ = dataset.rows
    assert turns(first.streams["text"])[0][0] == "system"
    assert turns(first.streams["text"])[0][1].endswith('\n[{"name": "add"}]')
    assert [m.role for m in second.streams["text"].messages] == ["user", "assistant", "tool", "assistant"]
    assert second.streams["text"].learned == (False, True, False, True)
    noted = [p for p in dataset.problems if p.code == "tools_as_text"]
    assert [(p.row, p.column, p.facts["count"]) for p in noted] == [(None, "tools", 2)]


USER = {"role": "user", "content": "q"}
GOOD, BAD = {"role": "assistant", "content": "yes"}, {"role": "assistant", "content": "no"}
PAIRS: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "q", "chosen": "yes", "rejected": "no"},
    "question column": {"question": "q", "chosen": "yes", "rejected": "no"},
    "answers as messages": {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    "whole conversations": {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "prompt told twice": {"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "yes"},
        "rejected": {"from": "gpt", "value": "no"},
    },
}


@pytest.mark.parametrize("case", PAIRS)
def test_pairs_become_two_streams_with_one_prompt(jsonl, case: str) -> None:
    dataset = read_dataset(jsonl(PAIRS[case]))
    assert dataset.format == "preference"
    row = only(dataset)
    assert turns(row.streams["chosen"]) == [("user", "q"), ("assistant", "yes")]
    assert turns(row.streams["rejected"]) == [("user", "q"), ("assistant", "no")]
    assert row.streams["chosen"].learned == row.streams["rejected"].learned == (False, True)


def test_earlier_answers_of_a_pair_are_not_learned(jsonl) -> None:
    before = [USER, {"role": "assistant", "content": "hm"}, USER]
    row = only(read_dataset(jsonl({"chosen": [*before, GOOD], "rejected": [*before, BAD]})))
    assert row.streams["chosen"].learned == row.streams["rejected"].learned == (False, False, False, True)


def test_equal_pairs_are_left_out(jsonl) -> None:
    dataset = read_dataset(jsonl(PAIRS["texts"], {"prompt": "q", "chosen": "yes", "rejected": "yes"}))
    assert [(p.row, p.column, p.code, p.skipped) for p in dataset.problems] == [
        (2, "rejected", "pair_equal", True)
    ]


@pytest.mark.parametrize(
    ("record", "good"),
    [
        ({"messages": [USER, GOOD], "label": True}, True),
        ({"prompt": "q", "completion": "yes", "label": False}, False),
        ({"prompt": "q", "completion": "yes", "label": "true"}, True),
        ({"messages": [USER, GOOD], "kto_tag": 0}, False),
    ],
)
def test_kto_rows_carry_their_verdict_as_a_label(jsonl, record: dict[str, Any], good: bool) -> None:
    dataset = read_dataset(jsonl(record))
    assert dataset.format == "kto"
    row = only(dataset)
    assert row.labels == {"desirable": good}
    assert turns(row.streams["completion"]) == [("user", "q"), ("assistant", "yes")]
    assert row.streams["completion"].learned == (False, True)


def test_kto_row_without_verdict_is_left_out(jsonl) -> None:
    good = {"messages": [USER, GOOD], "label": True}
    dataset = read_dataset(jsonl(good, good | {"label": None}))
    assert [(p.row, p.code) for p in dataset.problems] == [(2, "label_missing")]


RECORDS = [{"prompt": f'q{n}, "x"\nnew line', "completion": f"é{n}"} for n in range(5)]


def write_json(path: Path) -> None:
    path.write_text(json.dumps(RECORDS, indent=2))


def write_wrapped(path: Path) -> None:
    path.write_text(json.dumps({"version": 1, "data": RECORDS}))


def write_lines(path: Path) -> None:
    path.write_text(
        "\n\n".join(json.dumps(record, ensure_ascii=False) for record in RECORDS), encoding="utf-8"
    )


def write_table(path: Path, delimiter: str = ",", encoding: str = "utf-8") -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "completion"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(RECORDS)


def write_parquet(path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), path)


def write_arrow_stream(path: Path) -> None:
    import pyarrow

    table = pyarrow.Table.from_pylist(RECORDS)
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as out:
        out.write_table(table)


def write_arrow_file(path: Path) -> None:
    import pyarrow

    table = pyarrow.Table.from_pylist(RECORDS)
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_file(file, table.schema) as out:
        out.write_table(table)


FILES = {
    "data.json": write_json,
    "wrapped.json": write_wrapped,
    "data.jsonl": write_lines,
    "lines called.json": write_lines,
    "data": write_lines,
    "data.csv": write_table,
    "semicolons.csv": lambda path: write_table(path, ";"),
    "tabs.tsv": lambda path: write_table(path, "\t"),
    "excel.csv": lambda path: write_table(path, ";", "utf-8-sig"),
    "notepad.csv": lambda path: write_table(path, "\t", "utf-16"),
    "data.parquet": write_parquet,
    "parquet without name": write_parquet,
    "stream.arrow": write_arrow_stream,
    "file.arrow": write_arrow_file,
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    FILES[name](path)
    dataset = read_dataset(path)
    assert not dataset.problems
    assert [turns(row.streams["text"]) for row in dataset.rows] == [
        [("user", record["prompt"]), ("assistant", record["completion"])] for record in RECORDS
    ]


def test_nested_parquet_columns_are_read(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"messages": messages}]), tmp_path / "x.parquet")
    assert turns(only(read_dataset(tmp_path / "x.parquet")).streams["text"]) == [
        ("user", "a"),
        ("assistant", "b"),
    ]


def test_a_folder_brings_its_own_heldout_part(jsonl, tmp_path: Path) -> None:
    jsonl({"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}, name="set/train.jsonl")
    jsonl({"prompt": "e", "completion": "f"}, name="set/heldout.jsonl")
    (tmp_path / "set" / "sample.json").write_text('{"title": "A set"}')
    (tmp_path / "set" / "README.md").write_text("About it.")
    dataset = read_dataset(tmp_path / "set")
    assert [len(dataset.rows), len(dataset.heldout or [])] == [2, 1]
    assert dataset.heldout is not None
    assert dataset.heldout[0].source == "heldout.jsonl:1"


def test_heldout_rows_that_are_also_trained_on_are_told(jsonl, tmp_path: Path) -> None:
    jsonl({"prompt": "a", "completion": "b"}, name="set/train.jsonl")
    jsonl({"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}, name="set/test.jsonl")
    (problem,) = read_dataset(tmp_path / "set").problems
    assert (problem.code, problem.facts) == ("heldout_overlap", {"count": 1, "first": "test.jsonl:1"})


def test_shards_of_a_folder_are_read_in_order(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    for shard in range(3):
        table = pyarrow.Table.from_pylist([{"text": f"shard {shard}"}])
        pyarrow.parquet.write_table(table, tmp_path / f"train-0000{shard}-of-00003.parquet")
    dataset = read_dataset(tmp_path)
    assert [row.streams["text"].messages[0].text for row in dataset.rows] == ["shard 0", "shard 1", "shard 2"]


def test_text_is_cut_into_paragraphs_and_long_ones_at_sentence_ends(tmp_path: Path) -> None:
    sentence = "This is a sentence of the long paragraph. "
    long = (sentence * 100).strip()
    (tmp_path / "book.txt").write_text(f"One.\nStill one.\n\n\n{long}\n", encoding="utf-8")
    dataset = read_dataset(tmp_path / "book.txt")
    texts = [row.streams["text"].messages[0].text for row in dataset.rows]
    assert texts[0] == "One.\nStill one."
    assert " ".join(texts[1:]) == long
    assert all(len(text) <= 2000 and text.endswith("paragraph.") for text in texts[1:])
    assert [row.source for row in dataset.rows[:2]] == ["book.txt:1", "book.txt:5"]


def test_text_without_empty_lines_is_read_by_lines(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("first\nsecond\nthird", encoding="utf-8")
    dataset = read_dataset(tmp_path / "lines.txt")
    assert [(row.source, row.streams["text"].messages[0].text) for row in dataset.rows] == [
        ("lines.txt:1", "first"),
        ("lines.txt:2", "second"),
        ("lines.txt:3", "third"),
    ]


def test_row_ids_follow_the_content_not_the_place(jsonl) -> None:
    one, two = {"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}
    forward = read_dataset(jsonl(one, two, name="x.jsonl"))
    backward = read_dataset(jsonl(two, one, name="y.jsonl"))
    assert [row.id for row in forward.rows] == [row.id for row in reversed(backward.rows)]
