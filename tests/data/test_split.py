"""Which rows are held out: DESIGN's rule, against a plain restatement of it."""

from __future__ import annotations

import hashlib
import json
import random

import pytest

from studio.data.rows import Message, Row, Stream
from studio.data.split import split_heldout


def row(prompt: str, answer: str = "b") -> Row:
    messages = (Message.of("user", prompt), Message.of("assistant", answer))
    return Row(f"{prompt}-{answer}", {"text": Stream(messages, (False, True))}, {}, "x.jsonl:1")


def position(prompt: str) -> float:
    key = json.dumps([["user", prompt]], ensure_ascii=False)
    return int(hashlib.sha256(key.encode()).hexdigest()[:16], 16) / 2**64


def test_lowest_tenth_of_prompt_hashes_is_held_out() -> None:
    rows = [row(f"question {n}") for n in range(500)]
    split = split_heldout(rows)
    expected = [r for r in rows if position(r.streams["text"].messages[0].text) < 0.1]
    assert split.heldout == expected
    assert split.train == [r for r in rows if r not in expected]
    assert 30 < len(split.heldout) < 70
    assert split.reason.code == "heldout_split"


def test_few_rows_are_topped_up_to_eight_in_hash_order() -> None:
    rows = [row(f"question {n}") for n in range(40)]
    split = split_heldout(rows)
    by_hash = sorted(rows, key=lambda r: position(r.streams["text"].messages[0].text))
    below = sum(position(r.streams["text"].messages[0].text) < 0.1 for r in rows)
    assert below < 8
    assert {r.id for r in split.heldout} == {r.id for r in by_hash[:8]}


def test_the_order_of_the_file_does_not_matter() -> None:
    rows = [row(f"question {n}") for n in range(200)]
    shuffled = random.Random(1).sample(rows, len(rows))
    assert {r.id for r in split_heldout(rows).heldout} == {r.id for r in split_heldout(shuffled).heldout}


def test_rows_with_the_same_prompt_stay_together() -> None:
    rows = [row(f"question {n // 3}", f"answer {n % 3}") for n in range(300)]
    split = split_heldout(rows)
    trained = {r.streams["text"].messages[0].text for r in split.train}
    assert split.heldout
    assert not trained & {r.streams["text"].messages[0].text for r in split.heldout}


@pytest.mark.parametrize(("count", "heldout"), [(1, 0), (39, 0), (40, 8)])
def test_under_forty_rows_none_are_held_out(count: int, heldout: int) -> None:
    split = split_heldout([row(f"question {n}") for n in range(count)])
    assert (len(split.train), len(split.heldout)) == (count - heldout, heldout)
    assert (split.reason.code == "heldout_too_few_rows") == (heldout == 0)


def test_the_part_that_the_dataset_brings_wins() -> None:
    rows, own = [row(f"question {n}") for n in range(100)], [row("another")]
    split = split_heldout(rows, own)
    assert (split.train, split.heldout, split.reason.code) == (rows, own, "heldout_own")


def test_a_prompt_that_most_rows_share_is_never_held_out() -> None:
    alike = split_heldout([row("tell me a story", f"story {n}") for n in range(100)])
    assert (alike.heldout, alike.reason.code) == ([], "heldout_prompts_alike")
    mixed = split_heldout(
        [row("tell me a story", f"story {n}") for n in range(90)] + [row(f"q {n}") for n in range(50)]
    )
    assert len(mixed.heldout) >= 8
    assert all(r.streams["text"].messages[0].text.startswith("q ") for r in mixed.heldout)


def test_plain_text_is_split_by_its_own_hash() -> None:
    texts = [Row(str(n), {"text": Stream((Message.of("text", f"text {n}"),), (True,))}) for n in range(400)]
    assert 20 < len(split_heldout(texts).heldout) < 60
