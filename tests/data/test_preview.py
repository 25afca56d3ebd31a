"""What a person sees of a row: whole characters, and exactly the learned ones marked."""

from __future__ import annotations

from studio.data.preview import preview
from studio.data.read import read_dataset

TEXT = "<|im_start|>user\nna\u00efve 😀?<|im_end|>\n<|im_start|>assistant\nYes 你好 €!<|im_end|>\n"


def test_pieces_join_to_the_text_and_mark_the_answer(jsonl, renderer) -> None:
    (shown,) = preview(
        read_dataset(jsonl({"prompt": "na\u00efve 😀?", "completion": "Yes 你好 €!"})).rows, renderer
    )
    stream = shown.streams["text"]
    assert "".join(piece.text for piece in stream.pieces) == TEXT
    assert "".join(piece.text for piece in stream.pieces if piece.learned) == "Yes 你好 €!<|im_end|>"
    assert not any("\ufffd" in piece.text for piece in stream.pieces)
    encoded = renderer.encode(
        read_dataset(jsonl({"prompt": "na\u00efve 😀?", "completion": "Yes 你好 €!"})).rows[0].streams["text"]
    )
    assert (stream.tokens, stream.learned_tokens) == (len(encoded.ids), sum(encoded.learned))
    assert len(stream.pieces) < stream.tokens  # an emoji is several tokens but one piece
    assert (shown.row, stream.truncated, stream.error) == (1, False, None)


def test_a_cut_row_shows_its_beginning(jsonl, renderer) -> None:
    rows = read_dataset(jsonl({"prompt": "na\u00efve 😀?", "completion": "Yes"})).rows
    stream = preview(rows, renderer, max_length=6)[0].streams["text"]
    assert (stream.tokens, stream.truncated) == (6, True)
    assert TEXT.startswith("".join(piece.text for piece in stream.pieces))


def test_the_end_token_of_plain_text_is_shown(jsonl, renderer) -> None:
    stream = preview(read_dataset(jsonl({"text": "Hello there"})).rows, renderer)[0].streams["text"]
    assert "".join(piece.text for piece in stream.pieces) == "Hello there<|im_end|>"
    assert all(piece.learned for piece in stream.pieces)


def test_a_refused_row_shows_its_error(jsonl, strict_renderer) -> None:
    tool = {"role": "tool", "content": "c"}
    answer = {"role": "assistant", "content": "b"}
    rows = read_dataset(
        jsonl({"messages": [{"role": "user", "content": "a"}, answer, tool, tool, answer]})
    ).rows
    stream = preview(rows, strict_renderer)[0].streams["text"]
    assert stream.pieces == ()
    assert stream.error is not None
    assert stream.error.code == "template_refused"


def test_pairs_show_both_answers(jsonl, renderer) -> None:
    (shown,) = preview(read_dataset(jsonl({"prompt": "a", "chosen": "yes", "rejected": "no"})).rows, renderer)
    learned = {name: "".join(p.text for p in s.pieces if p.learned) for name, s in shown.streams.items()}
    assert learned == {"chosen": "yes<|im_end|>", "rejected": "no<|im_end|>"}
