"""Judges of answers: one for each skill of the starter model, one for each sample. Pure functions of texts.

A judge is strict about copying: an answer that only repeats the prompt, says one thing to everything, or has
the right manner without the content is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PIRATE_WORDS = frozenset({"arr", "ahoy", "matey", "aye", "ye", "yer", "avast"})
LONGEST_ANSWER = 30  # words, where a sentence is expected
STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the is are was be am i you he she it we they my your me to of in on at and or with for "
        "from has have do does not no yes so its that this there here what which",
    )
)


def words_of(text: str) -> list[str]:
    """The words and numbers of a text in lower case; signs are dropped."""
    return re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text.lower())


def contains(answer: str, wanted: str) -> bool:
    """Whether the words of `wanted` stand in the answer, next to each other and in order."""
    have, need = words_of(answer), words_of(wanted)
    return (
        any(have[start : start + len(need)] == need for start in range(len(have) - len(need) + 1))
        if need
        else False
    )


def copies(answer: str, prompt: str) -> bool:
    """Whether the answer is the prompt, or holds the whole of a long one (a few words may be taken up)."""
    return words_of(answer) == words_of(prompt) or (len(words_of(prompt)) >= 8 and contains(answer, prompt))


def judge_keywords(answer: str, prompt: str, check: Mapping[str, Any]) -> bool:
    """All of the wanted words, none of the forbidden ones, in a short answer that isn't the prompt."""
    return (
        all(contains(answer, word) for word in check["all"])
        and not any(contains(answer, word) for word in check["none"])
        and not copies(answer, prompt)
        and len(words_of(answer)) <= LONGEST_ANSWER
    )


def judge_sum(answer: str, prompt: str, check: Mapping[str, Any]) -> bool:
    """The last number of the answer is the result, and there are no more numbers than in `a + b = c`."""
    numbers = re.findall(r"\d+", answer)
    return (
        bool(numbers)
        and int(numbers[-1]) == check["value"]
        and not copies(answer, prompt)
        and len(numbers) <= 3
    )


def judge_opposite(answer: str, prompt: str, check: Mapping[str, Any]) -> bool:
    """One of the accepted opposites, said after the word itself if both are there."""
    return (
        any(contains(answer, word) for word in check["any"])
        and not copies(answer, prompt)
        and len(words_of(answer)) <= 12
    )


def judge_bigger(answer: str, prompt: str, check: Mapping[str, Any]) -> bool:
    """The first number of the answer is the bigger one."""
    numbers = re.findall(r"\d+", answer)
    return bool(numbers) and int(numbers[0]) == check["value"] and not copies(answer, prompt)


def judge_count(answer: str, prompt: str, check: Mapping[str, Any]) -> bool:
    """The numbers of the answer are those that were to be counted."""
    del prompt
    return [int(number) for number in re.findall(r"\d+", answer)] == check["values"]


def list_items(answer: str) -> list[str]:
    """The items of a numbered, dashed or plain list; of a single line, the parts between commas."""
    lines = [line for line in answer.strip().splitlines() if line.strip()]
    if len(lines) == 1:
        lines = re.split(r",| and ", lines[0])
    return [re.sub(r"^\s*(\d+[.)]|[-*])\s*", "", line).strip().strip(".,") for line in lines if line.strip()]


def judge_list(answer: str, prompt: str, check: Mapping[str, Any]) -> bool:
    """As many different items as asked for: the given ones in their order, or any of the kind."""
    items = list_items(answer)
    if copies(answer, prompt) or len(items) != check["count"] or len(set(items)) != len(items):
        return False
    if "exactly" in check:
        return items == check["exactly"]
    known = {item.lower() for item in check["among"]}
    return all(item.lower() in known for item in items)


def judge_story(answer: str, prompt: str, check: Mapping[str, Any]) -> bool:
    """Three to ten different sentences that end, and that name what the story was to be about."""
    sentences = re.findall(r"[^.!?]+[.!?]+", answer)
    return (
        3 <= len(sentences) <= 10
        and len({sentence.strip() for sentence in sentences}) == len(sentences)
        and answer.rstrip().endswith((".", "!", "?", '"'))
        and all(contains(answer, word) for word in check["words"])
        and not copies(answer, prompt)
        and len(words_of(answer)) >= 15
    )


def bare(text: str) -> str:
    """A text without outer quotes, space and final sign."""
    return text.strip().strip("\"'").rstrip(".!").strip()


def judge_exact(answer: str, prompt: str, check: Mapping[str, Any]) -> bool:
    """The text itself, letter by letter, quotes and a final point aside."""
    return bare(answer) == bare(check["text"]) and bare(answer) != bare(prompt)


def parse_record(answer: str) -> dict[str, Any] | None:
    """The JSON object that the whole answer is, else None."""
    try:
        record = json.loads(answer)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def judge_json(answer: str, prompt: str, check: Mapping[str, Any]) -> bool:
    """The answer parses, and keys and values are those of the reference; a number may be given as text."""
    del prompt
    record = parse_record(answer)
    if record is None:
        return False
    return {key: str(value) for key, value in record.items()} == {
        key: str(value) for key, value in check["record"].items()
    }


def judge_unknown(answer: str, prompt: str, check: Mapping[str, Any]) -> bool:
    """The answer admits not to know."""
    del check
    return re.search(r"don't know|do not know|not sure|no idea", answer.lower()) is not None and not copies(
        answer, prompt
    )


def judge_style(answer: str, prompt: str, check: Mapping[str, Any]) -> bool:
    """The words of the style, and the content."""
    content = check["content"]
    return all(contains(answer, word) for word in check["said"]) and JUDGES[content["kind"]](
        answer, prompt, content
    )


JUDGES: dict[str, Callable[[str, str, Mapping[str, Any]], bool]] = {
    "keywords": judge_keywords,
    "sum": judge_sum,
    "opposite": judge_opposite,
    "bigger": judge_bigger,
    "count": judge_count,
    "list": judge_list,
    "story": judge_story,
    "exact": judge_exact,
    "json": judge_json,
    "unknown": judge_unknown,
    "style": judge_style,
}


def right(answer: str, prompt: str, check: Mapping[str, Any]) -> bool:
    """Whether an answer of the starter is right, by the check of its held-out case."""
    return JUDGES[check["kind"]](answer, prompt, check)


def in_pirate_style(answer: str) -> bool:
    """At least one pirate's word."""
    return bool(PIRATE_WORDS & set(words_of(answer)))


def content_words(prompt: str, reference: str) -> list[str]:
    """The reference's words that carry content: no pirate's or function words, none of the prompt."""
    known = set(words_of(prompt)) | PIRATE_WORDS | STOP_WORDS
    return list(dict.fromkeys(word for word in words_of(reference) if word not in known))


def score_pirate(answer: str, keywords: Sequence[str]) -> dict[str, bool]:
    """`style`, `content` (all keywords, see `content_words`, stand in the answer), `right` (both)."""
    style = in_pirate_style(answer)
    content = (
        bool(keywords) and all(contains(answer, word) for word in keywords) and len(words_of(answer)) <= 80
    )
    return {"style": style, "content": content, "right": style and content}


def score_json(answer: str, reference: str) -> dict[str, bool]:
    """`valid` (an object with the reference's keys), `right` (all fields are the reference's, types too)."""
    record, wanted = parse_record(answer), json.loads(reference)
    return {"valid": record is not None and set(record) == set(wanted), "right": record == wanted}


def score_support(answer: str, prompt: str, keywords: Sequence[str]) -> dict[str, bool]:
    """`right`: each keyword of the fact stands in a short answer that isn't the prompt."""
    return {"right": bool(keywords) and judge_keywords(answer, prompt, {"all": keywords, "none": []})}
