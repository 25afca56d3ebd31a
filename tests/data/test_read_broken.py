"""Broken, empty and foreign files: a sentence's worth of facts, never a crash, and never a good row lost."""

from __future__ import annotations

import json
import os
import random
import struct
import zlib
from pathlib import Path

import pytest

from studio.data.prompts import read_prompts
from studio.data.read import read_dataset
from studio.errors import StudioError


def png(width: int, height: int) -> bytes:
    """A real picture: noise in RGB."""
    noise = random.Random(0)
    lines = b"".join(b"\0" + noise.randbytes(3 * width) for _ in range(height))
    made = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        made += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return made


GOOD = {"prompt": "a", "completion": "b"}


def failure(path: Path) -> StudioError:
    with pytest.raises(StudioError) as caught:
        read_dataset(path)
    return caught.value


def chat(*turns: tuple[str, str]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    assert failure(tmp_path / "none.jsonl").code == "data_missing"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jsonl")
    assert failure(tmp_path / "x.jsonl").code == "data_unreadable"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b""),
        ("a.json", b"   \n"),
        ("a.json", b"[]"),
        ("a.jsonl", b"\xef\xbb\xbf\r\n"),
        ("a.csv", b"prompt,completion\n"),
        ("a.csv", b"\n\n"),
        ("a.txt", b"\n \n"),
        ("a.json", b'{"data": []}'),
    ],
)
def test_empty_files_are_called_empty(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert failure(tmp_path / name).code == "data_empty"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PK\x03\x04rest", "zip"),
        (b"\x1f\x8brest", "gzip"),
        (b"\x80\x04rest", "pickle"),
        (b"%PDF-1.7", "pdf"),
    ],
)
def test_files_that_are_no_data_are_refused_by_kind(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    error = failure(tmp_path / "x.jsonl")
    assert (error.code, error.facts["kind"]) == ("data_kind_refused", kind)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.parquet", b"PAR1 not really"),
        ("x.arrow", b"ARROW1 not really"),
    ],
)
def test_unreadable_bytes_are_said_so(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert failure(tmp_path / name).code == "data_unreadable"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.png", png(64, 48)),
        ("x.png", png(1, 1)),
        ("x.csv", png(64, 48)),
        ("x.jsonl", bytes(range(256)) * 40),
        ("x.txt", b"\x01\x02\x03"),
        ("x.bin", struct.pack("<4h", 1, 2, 3, 4)),
        ("x.bin", struct.pack("<4i", 1, 2, 3, 4)),
        ("x.bin", struct.pack("<40d", *(random.Random(i).random() for i in range(40)))),
        ("x", random.Random(1).randbytes(500)),
        ("x.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"),
    ],
)
def test_what_is_no_text_is_refused_as_such(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    error = failure(tmp_path / name)
    assert (error.code, error.facts) == ("data_binary", {"path": str(tmp_path / name)})
    with pytest.raises(StudioError, match="data_binary"):
        read_prompts(tmp_path / name)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\xef\xbb\xbfcaf\xe9"])
def test_text_that_breaks_off_is_said_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    assert failure(tmp_path / "x.txt").code == "data_encoding_broken"


@pytest.mark.parametrize(
    "text",
    [
        "one page\x0cand the next",
        "\x1b[1mbold\x1b[0m",
        "the end of an old file\x1a",
        "a long line that was scraped, with one stray character in all of it\x02",
        "\u4f60\u597d\uff0c\u4e16\u754c",
        "\u0645\u0631\u062d\u0628\u0627",
    ],
)
def test_text_with_an_odd_character_is_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    assert read_dataset(tmp_path / "x.txt").rows[0].streams["text"].messages[0].text == text


def test_unknown_columns_are_listed(jsonl) -> None:
    error = failure(jsonl({"alpha": "x", "beta": "y"}))
    assert (error.code, error.facts["columns"]) == ("data_format_unknown", "alpha, beta")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_marks_line_ends_and_encodings_do_not_matter(tmp_path: Path, encoding: str, line_end: str) -> None:
    rows = [
        {"prompt": f"question {n}", "completion": "crème brûlée, with a long enough text"} for n in range(3)
    ]
    text = line_end.join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "x.jsonl").write_bytes(text.encode(encoding))
    dataset = read_dataset(tmp_path / "x.jsonl")
    assert [row.streams["text"].messages[1].text for row in dataset.rows] == [rows[0]["completion"]] * 3
    assert not [p for p in dataset.problems if p.code != "encoding_guessed"]


def test_a_guessed_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("prompt,completion\nCafé,5 €\n".encode("cp1252"))
    dataset = read_dataset(tmp_path / "x.csv")
    assert dataset.rows[0].streams["text"].messages[1].text == "5 €"
    assert [(p.code, p.facts["encoding"]) for p in dataset.problems] == [("encoding_guessed", "cp1252")]


def test_a_broken_line_names_row_and_place_and_costs_only_itself(jsonl) -> None:
    dataset = read_dataset(jsonl(GOOD, '{"prompt": "a" "completion": "b"}', GOOD | {"prompt": "c"}))
    assert len(dataset.rows) == 2
    (problem,) = dataset.problems
    assert (problem.row, problem.code, problem.skipped) == (2, "row_not_json", True)
    assert (problem.facts["line"], problem.facts["position"]) == (2, 16)
    assert dataset.rows_read == 3


def test_a_broken_array_names_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(
        '[{"prompt": "a", "completion": "b"},\n {"prompt": "c" "completion": "d"}]'
    )
    error = failure(tmp_path / "x.json")
    assert error.code == "data_broken"
    assert (error.facts["row"], error.facts["line"], error.facts["column"]) == (2, 2, 17)


def test_a_broken_element_of_an_indented_array_costs_only_itself(tmp_path: Path) -> None:
    text = json.dumps([GOOD | {"prompt": str(n)} for n in range(4)], indent=2)
    (tmp_path / "x.json").write_text(text.replace('"prompt": "2",', '"prompt": "2"'))
    dataset = read_dataset(tmp_path / "x.json")
    assert [row.streams["text"].messages[0].text for row in dataset.rows] == ["0", "1", "3"]
    (problem,) = dataset.problems
    assert (problem.row, problem.code, problem.facts["line"]) == (3, "row_not_json", 12)


def test_a_cut_off_array_names_the_place_where_it_ends(tmp_path: Path) -> None:
    text = json.dumps([GOOD] * 4, indent=2)
    (tmp_path / "x.json").write_text(text[: len(text) * 7 // 8])
    error = failure(tmp_path / "x.json")
    assert (error.code, error.facts["row"]) == ("data_broken", 4)


def test_a_comma_after_the_last_element_is_forgiven(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"prompt": "a", "completion": "b"},\n]')
    assert len(read_dataset(tmp_path / "x.json").rows) == 1


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, '[{"prompt": ' + "9" * 10_000 + "}]", "{", "nul"]
)
def test_hostile_json_is_broken_data_not_a_crash(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    assert failure(tmp_path / "x.json").code == "data_broken"


BAD_ROWS = {
    "answer_empty": ({"prompt": "a", "completion": "  "}, "completion"),
    "column_missing": ({"prompt": "a"}, "completion"),
    "wrong_type": ({"prompt": "a", "completion": {"x": 1}}, "completion"),
    "row_not_object": (["a", "b"], None),
}


@pytest.mark.parametrize("code", BAD_ROWS)
def test_a_bad_row_among_good_ones_is_named_and_left_out(jsonl, code: str) -> None:
    record, column = BAD_ROWS[code]
    if code == "wrong_type":
        record = {"prompt": "a", "completion": [1, 2]}
    dataset = read_dataset(jsonl(GOOD, GOOD | {"prompt": "c"}, record, GOOD | {"prompt": "d"}))
    assert len(dataset.rows) == 3
    assert [(p.row, p.column, p.code, p.skipped) for p in dataset.problems] == [(3, column, code, True)]


BAD_CHATS = {
    "role_unknown": [("user", "a"), ("narrator", "b")],
    "role_order": [("user", "a"), ("user", "b"), ("assistant", "c")],
    "role_order ": [("assistant", "a"), ("user", "b"), ("assistant", "c")],
    "role_order  ": [("user", "a"), ("system", "b"), ("assistant", "c")],
    "answer_missing": [("user", "a")],
    "answer_empty": [("user", "a"), ("assistant", ""), ("user", "b"), ("assistant", "c")],
}


@pytest.mark.parametrize("code", BAD_CHATS)
def test_a_chat_in_the_wrong_order_is_named_and_left_out(jsonl, code: str) -> None:
    good = chat(("user", "a"), ("assistant", "b"))
    dataset = read_dataset(jsonl(good, chat(*BAD_CHATS[code])))
    assert len(dataset.rows) == 1
    assert [(p.row, p.column, p.code, p.skipped) for p in dataset.problems] == [
        (2, "messages", code.strip(), True)
    ]


def test_an_image_in_a_message_is_named(jsonl) -> None:
    bad = {
        "messages": [
            {"role": "user", "content": [{"type": "image_url"}]},
            {"role": "assistant", "content": "b"},
        ]
    }
    dataset = read_dataset(jsonl(chat(("user", "a"), ("assistant", "b")), bad))
    assert [(p.code, p.facts["kind"]) for p in dataset.problems] == [("part_not_text", "image_url")]


def test_a_question_left_open_at_the_end_is_dropped_and_told(jsonl) -> None:
    dataset = read_dataset(jsonl(chat(("user", "a"), ("assistant", "b"), ("user", "c"))))
    assert [m.text for m in dataset.rows[0].streams["text"].messages] == ["a", "b"]
    assert [(p.code, p.skipped) for p in dataset.problems] == [("open_end", False)]


def test_odd_rows_are_told_but_kept(jsonl) -> None:
    large = {"prompt": "a", "completion": "b" * 300_000}
    dataset = read_dataset(jsonl(GOOD, {"prompt": "", "completion": "b"}, GOOD, large))
    assert len(dataset.rows) == 4
    assert [(p.row, p.code, p.skipped) for p in dataset.problems] == [
        (2, "prompt_empty", False),
        (3, "row_duplicate", False),
        (4, "value_large", False),
    ]
    assert dataset.problems[1].facts["first"] == 1
    assert len({row.id for row in dataset.rows}) == 4


def test_half_a_surrogate_pair_is_repaired_and_told(jsonl) -> None:
    dataset = read_dataset(jsonl('{"prompt": "a\\ud83d!", "completion": "b"}'))
    assert dataset.rows[0].streams["text"].messages[0].text == "a\ufffd!"
    assert [(p.code, p.skipped) for p in dataset.problems] == [("character_broken", False)]


def test_unicode_line_separators_inside_strings_do_not_split_rows(jsonl) -> None:
    dataset = read_dataset(jsonl({"prompt": "a\u2028b\x85c", "completion": "d"}))
    assert dataset.rows[0].streams["text"].messages[0].text == "a\u2028b\x85c"


def test_table_lines_of_the_wrong_width_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("prompt,completion\na,b\nc\nd,e,f\ng,h\n")
    dataset = read_dataset(tmp_path / "x.csv")
    assert len(dataset.rows) == 2
    assert [(p.row, p.code, p.facts["line"], p.facts["found"]) for p in dataset.problems] == [
        (2, "row_wrong_width", 3, 1),
        (3, "row_wrong_width", 4, 3),
    ]


def test_a_large_table_cell_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"prompt,completion\na,{'b' * 500_000}\n")
    assert len(read_dataset(tmp_path / "x.csv").rows[0].streams["text"].messages[1].text) == 500_000


def test_rows_that_are_all_bad_leave_a_dataset_that_says_so_when_used(jsonl) -> None:
    dataset = read_dataset(jsonl({"prompt": "a", "completion": ""}))
    assert (dataset.rows, [p.code for p in dataset.problems]) == ([], ["answer_empty"])
    with pytest.raises(StudioError) as caught:
        dataset.require()
    assert (caught.value.code, caught.value.facts["row"], caught.value.facts["problem"]) == (
        "data_no_usable_rows",
        1,
        "answer_empty",
    )


def test_data_of_another_objective_is_said_so(jsonl) -> None:
    dataset = read_dataset(jsonl({"prompt": "a", "chosen": "b", "rejected": "c"}))
    dataset.require("chosen")
    with pytest.raises(StudioError) as caught:
        dataset.require("text")
    assert (caught.value.code, caught.value.facts["found"]) == ("stream_missing", "chosen, rejected")


def test_a_folder_of_unlike_files_asks_which(jsonl, tmp_path: Path) -> None:
    jsonl(GOOD, name="set/one.jsonl")
    jsonl(GOOD, name="set/two.jsonl")
    assert failure(tmp_path / "set").code == "data_folder_unclear"


MARKS = (b'"', b"{", b"}", b"[", b"]", b"\n", b"\0", b"\xff", b"null", b",", b"\\")


def test_random_damage_never_crashes_and_keeps_the_untouched_rows(tmp_path: Path) -> None:
    """Bytes changed, cut, doubled, inserted in every format: either rows and problems, or a StudioError."""
    draw = random.Random(11)
    rows = [{"prompt": f"question {n}?", "completion": f"answer {n} é"} for n in range(12)]
    table = "prompt,completion\n" + "".join(f'"{r["prompt"]}","{r["completion"]}"\n' for r in rows)
    sources = {
        "x.jsonl": "\n".join(json.dumps(row) for row in rows).encode(),
        "x.json": json.dumps(rows, indent=1).encode(),
        "x.csv": table.encode(),
        "x.txt": "\n\n".join(row["completion"] for row in rows).encode(),
        "chat.jsonl": "\n".join(
            json.dumps(chat(("user", row["prompt"]), ("assistant", row["completion"]))) for row in rows
        ).encode(),
    }
    read = 0
    for name, source in sources.items():
        for _ in range(120):
            data = bytearray(source)
            for _ in range(draw.randint(1, 3)):
                at = draw.randrange(len(data))
                kind = draw.choice(["change", "cut", "insert", "truncate", "double"])
                if kind == "change":
                    data[at] = draw.randrange(256)
                elif kind == "cut":
                    del data[at : at + draw.randint(1, 30)]
                elif kind == "insert":
                    data[at:at] = draw.choice(MARKS)
                elif kind == "truncate":
                    del data[max(at, 1) :]
                else:
                    data[at:at] = data[at : at + 40]
                if not data:
                    data = bytearray(b"x")
            (tmp_path / name).write_bytes(data)
            try:
                dataset = read_dataset(tmp_path / name)
            except StudioError:
                continue
            read += 1
            assert dataset.rows or dataset.problems
            for row in dataset.rows:
                row.streams["text"].messages[0].text.encode()
    assert read > 300


def test_one_damaged_line_leaves_all_others_readable(tmp_path: Path) -> None:
    draw = random.Random(3)
    rows = [{"prompt": f"question {n}?", "completion": f"answer {n}"} for n in range(10)]
    for _ in range(80):
        lines = [json.dumps(row) for row in rows]
        hit = draw.randrange(10)
        cut = draw.randrange(1, len(lines[hit]))
        lines[hit] = lines[hit][:cut]
        (tmp_path / "x.jsonl").write_text("\n".join(lines))
        dataset = read_dataset(tmp_path / "x.jsonl")
        assert [row.source for row in dataset.rows] == [f"x.jsonl:{n + 1}" for n in range(10) if n != hit]
        assert [(p.row, p.code) for p in dataset.problems] == [(hit + 1, "row_not_json")]
