"""What the `openai` client may ask beyond a plain chat: several answers, log-probabilities, completions."""

from __future__ import annotations

from typing import Any

import openai
import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.chat.conftest import RunningEngine

PROMPT = "tell me"


def chat(engine: RunningEngine, **more: Any) -> Any:
    settings = {"model": "base", "temperature": 0.0, "max_tokens": 20, **more}
    messages: Any = [{"role": "user", "content": PROMPT}]
    return engine.client.chat.completions.create(messages=messages, **settings)


def complete(engine: RunningEngine, prompt: Any = PROMPT, **more: Any) -> Any:
    settings = {"model": "base", "temperature": 0.0, "max_tokens": 20, **more}
    return engine.client.completions.create(prompt=prompt, **settings)


def texts(answer: Any) -> list[str]:
    return [choice.message.content for choice in answer.choices]


def oracle(engine: RunningEngine, prompt: list[int], count: int) -> tuple[list[int], torch.Tensor]:
    """Greedy tokens of plain transformers, and the log-softmax of its logits at each of them."""
    model: Any = AutoModelForCausalLM.from_pretrained(engine.home.model, dtype=torch.float32).eval()
    out = model.generate(torch.tensor([prompt]), max_new_tokens=count, do_sample=False)
    with torch.inference_mode():
        logits = model(out).logits[0, len(prompt) - 1 : -1]
    return out[0, len(prompt) :].tolist(), logits.float().log_softmax(-1)


def template_ids(engine: RunningEngine) -> list[int]:
    from studio.data.rows import Message

    return engine.home.renderer().encode_prompt([Message.of("user", PROMPT)])


def test_n_answers_are_those_of_their_own_seeds(engine: RunningEngine) -> None:
    """The first is what the seed gives alone; each is the same whatever shares its batch and however many."""
    four = texts(chat(engine, n=4, temperature=1.0, seed=7))
    assert len(set(four)) == 4
    assert texts(chat(engine, n=4, temperature=1.0, seed=7)) == four
    assert texts(chat(engine, n=2, temperature=1.0, seed=7)) == four[:2]
    assert texts(chat(engine, temperature=1.0, seed=7)) == four[:1]
    assert texts(chat(engine, n=2, temperature=1.0, seed=8))[1] != four[1]


def test_n_answers_stream_side_by_side(engine: RunningEngine) -> None:
    whole = chat(engine, n=3, temperature=1.0, seed=7)
    parts: dict[int, list[str]] = {0: [], 1: [], 2: []}
    finishes: dict[int, str] = {}
    usage = None
    order: list[int] = []
    more: Any = {"stream": True, "stream_options": {"include_usage": True}}
    for chunk in chat(engine, n=3, temperature=1.0, seed=7, **more):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            parts[choice.index].append(choice.delta.content or "")
            order.append(choice.index)
            if choice.finish_reason:
                finishes[choice.index] = choice.finish_reason
    assert ["".join(parts[index]) for index in range(3)] == texts(whole)
    assert finishes == {c.index: c.finish_reason for c in whole.choices}
    assert usage == whole.usage
    assert order != sorted(order)  # not one after the other
    assert whole.usage.prompt_tokens == len(template_ids(engine))


def test_chat_logprobs_are_those_of_plain_transformers(engine: RunningEngine) -> None:
    ids, expected = oracle(engine, template_ids(engine), 12)
    choice = chat(engine, max_tokens=12, logprobs=True, top_logprobs=4).choices[0]
    said = choice.logprobs.content
    assert [entry.logprob for entry in said] == pytest.approx(
        [float(row[id]) for row, id in zip(expected, ids, strict=True)], abs=1e-4
    )
    for entry, row in zip(said, expected, strict=True):
        assert [top.logprob for top in entry.top_logprobs] == pytest.approx(
            row.topk(4).values.tolist(), abs=1e-4
        )
        assert entry.top_logprobs[0].token == entry.token
    spelled = b"".join(bytes(entry.bytes) for entry in said)
    assert spelled.decode(errors="replace") == choice.message.content
    assert chat(engine, max_tokens=3).choices[0].logprobs is None


def test_a_sampled_answers_logprobs_are_those_before_temperature(engine: RunningEngine) -> None:
    """The likeliest token of each place has the same log-probability whatever the draw then does."""
    cold = chat(engine, max_tokens=1, logprobs=True, top_logprobs=2)
    hot = chat(engine, max_tokens=1, logprobs=True, top_logprobs=2, temperature=2.0, top_p=0.5, seed=3)
    first, other = (answer.choices[0].logprobs.content[0].top_logprobs for answer in (cold, hot))
    assert [top.logprob for top in first] == pytest.approx([top.logprob for top in other], abs=1e-6)


def test_streamed_logprobs_are_the_whole_ones(engine: RunningEngine) -> None:
    whole = chat(engine, logprobs=True, top_logprobs=1).choices[0].logprobs.content
    streamed = [
        entry
        for chunk in chat(engine, logprobs=True, top_logprobs=1, stream=True)
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content
    ]
    assert streamed == whole


def test_a_completion_continues_a_text_without_a_template(engine: RunningEngine) -> None:
    ids = engine.home.renderer().encode_start(PROMPT)
    expected, _ = oracle(engine, ids, 20)
    answer = complete(engine)
    assert answer.object == "text_completion"
    assert answer.choices[0].text == engine.home.text(expected)
    assert answer.usage.prompt_tokens == len(ids) == len(PROMPT)
    assert complete(engine, prompt=ids).choices[0].text == answer.choices[0].text
    pieces = [choice.text for chunk in complete(engine, stream=True) for choice in chunk.choices]
    assert "".join(pieces) == answer.choices[0].text


def test_several_prompts_are_answered_in_their_order(engine: RunningEngine) -> None:
    prompts = ["tell me", "something else", "7"]
    alone = [complete(engine, prompt, temperature=1.0, seed=4, n=2) for prompt in prompts]
    together = complete(engine, prompts, temperature=1.0, seed=4, n=2)
    assert [choice.index for choice in together.choices] == list(range(6))
    assert [choice.text for choice in together.choices] == [c.text for one in alone for c in one.choices]
    assert together.usage.prompt_tokens == sum(map(len, prompts))
    ids = [engine.home.renderer().encode_start(prompt) for prompt in prompts]
    assert complete(engine, ids).choices == complete(engine, prompts).choices


def test_completion_logprobs_have_their_offsets(engine: RunningEngine) -> None:
    ids, expected = oracle(engine, engine.home.renderer().encode_start(PROMPT), 12)
    choice = complete(engine, max_tokens=12, logprobs=3).choices[0]
    said = choice.logprobs
    assert said.token_logprobs == pytest.approx(
        [float(row[id]) for row, id in zip(expected, ids, strict=True)], abs=1e-4
    )
    for token, offset, own, top in zip(
        said.tokens, said.text_offset, said.token_logprobs, said.top_logprobs, strict=True
    ):
        assert top[token] == pytest.approx(own)
        # A part of a character gets its place only when the next token is there.
        assert "\ufffd" in token or choice.text[offset:].lstrip("\ufffd").startswith(token)


def test_logprobs_end_where_a_stop_string_cuts(engine: RunningEngine) -> None:
    whole = complete(engine, max_tokens=40).choices[0].text
    stop = whole[8:11]
    choice = complete(engine, max_tokens=40, stop=[stop], logprobs=0).choices[0]
    assert choice.text == whole[: whole.index(stop)]
    assert all(offset < len(choice.text) for offset in choice.logprobs.text_offset)
    uncut = complete(engine, max_tokens=40, logprobs=0).choices[0].logprobs
    kept = len(choice.logprobs.tokens)
    assert 0 < kept < len(uncut.tokens) == 40
    assert choice.logprobs.token_logprobs == uncut.token_logprobs[:kept]


def test_a_frequency_penalty_keeps_an_answer_from_repeating(engine: RunningEngine) -> None:
    plain = complete(engine, max_tokens=60).choices[0].text
    varied = complete(engine, max_tokens=60, frequency_penalty=2.0, presence_penalty=2.0).choices[0].text
    assert len(set(varied)) > len(set(plain))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"prompt": []}, "chat_field_wrong"),
        ({"prompt": [1, "a"]}, "chat_field_wrong"),
        ({"prompt": [[1], []]}, "chat_field_wrong"),
        ({"prompt": [10**6]}, "chat_field_wrong"),
        ({"prompt": ["a"] * 65}, "chat_field_wrong"),
        ({"prompt": ["a"] * 33, "n": 2}, "chat_field_wrong"),
        ({"prompt": ""}, "prompt_empty"),
        ({"logprobs": 6}, "chat_field_wrong"),
        ({"echo": True}, "chat_field_unsupported"),
        ({"best_of": 3}, "chat_field_unsupported"),
    ],
)
def test_a_completion_that_is_none_is_refused(
    engine: RunningEngine, fields: dict[str, Any], code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        complete(engine, **fields)
    assert refused.value.code == code
    assert complete(engine, max_tokens=1).choices[0].finish_reason == "length"
