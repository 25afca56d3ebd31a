"""The engine through the `openai` client package, over real sockets."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
import torch

from studio.data.rows import Message
from studio.train.tuner import make_tuner
from tests.chat.conftest import RunningEngine
from tests.chat.homes import CONTEXT, OWN, load_base
from tests.toys.folders import tiny_plan

PROMPT = "tell me"


def ask(engine: RunningEngine, model: str, prompt: str = PROMPT, **more: Any) -> Any:
    settings = {"temperature": 0.0, "max_tokens": 30, **more}
    messages: Any = [{"role": "user", "content": prompt}]
    return engine.client.chat.completions.create(model=model, messages=messages, **settings)


def text(engine: RunningEngine, model: str, prompt: str = PROMPT, **more: Any) -> str:
    return str(ask(engine, model, prompt, **more).choices[0].message.content)


def refusal(engine: RunningEngine, **more: Any) -> Any:
    with pytest.raises(openai.APIStatusError) as refused:
        ask(engine, **{"model": "base", **more})
    return refused.value


def raw(
    engine: RunningEngine, path: str, body: bytes = b"{}", method: str = "POST", **headers: str
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", engine.engine.server.server_port, timeout=30)
    sent = {"Authorization": f"Bearer {engine.token}", **headers}
    connection.request(method, path, body if method == "POST" else None, sent)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def test_the_base_answers_as_plain_transformers_also_after_an_adapter_was_used(engine: RunningEngine) -> None:
    home = engine.home
    for prompt in (PROMPT, "and now something longer, please", "7"):
        expected = home.text(home.reference(prompt, 30))
        assert text(engine, "base", prompt) == expected
        assert text(engine, "run:tuned-1", prompt) != expected
        assert text(engine, "base", prompt) == expected


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("run:tuned-1", "tuned-1/adapter"),
        ("run:tuned-1@best", "tuned-1/checkpoints/step-00000004/adapter"),
        ("run:tuned-1@8", "tuned-1/checkpoints/step-00000008/adapter"),
        ("run:early-1", "early-1/checkpoints/step-00000006/adapter"),
    ],
)
def test_a_run_answers_as_peft_with_its_adapter(engine: RunningEngine, model: str, place: str) -> None:
    home = engine.home
    expected = home.reference(PROMPT, 30, home.root / "runs" / place)
    assert text(engine, model) == home.text(expected)


@pytest.mark.parametrize("method", OWN)
def test_a_run_of_every_method_answers_as_that_method_computes(engine: RunningEngine, method: str) -> None:
    home = engine.home
    tuner = make_tuner(tiny_plan(method))
    model: Any = tuner.load(load_base(home, method), home.run(f"{method}-1") / "adapter")
    ids = torch.tensor([home.renderer().encode_prompt([Message.of("user", PROMPT)])])
    out = model.generate(input_ids=ids, max_new_tokens=30, do_sample=False)
    base = home.text(home.reference(PROMPT, 30))
    assert text(engine, f"run:{method}-1") == home.text(out[0, ids.shape[1] :].tolist()) != base
    assert text(engine, "base") == base


def test_answers_do_not_depend_on_who_else_asks(engine: RunningEngine) -> None:
    """Base and two adapters, greedy and sampled, all at once, each as it was alone."""
    orders: list[dict[str, Any]] = [
        {"model": model, "prompt": prompt, "temperature": temperature, "seed": 5, "max_tokens": 30}
        for model in ("base", "run:tuned-1", "run:early-1")
        for prompt, temperature in ((PROMPT, 0.0), ("a rather different prompt", 1.0))
    ]
    alone = [text(engine, **order) for order in orders]
    together = [""] * len(orders)

    def fill(index: int) -> None:
        together[index] = text(engine, **orders[index])

    threads = [threading.Thread(target=fill, args=(i,)) for i in range(len(orders))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert together == alone
    assert len(set(alone)) == len(alone)


def test_a_stream_gives_the_same_text_in_pieces(engine: RunningEngine) -> None:
    whole = ask(engine, "run:tuned-1")
    chunks = list(ask(engine, "run:tuned-1", stream=True, stream_options={"include_usage": True}))
    pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert sum(bool(piece) for piece in pieces) > 4
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason == "length"
    assert chunks[-1].usage == whole.usage
    assert chunks[-1].proof == whole.proof
    assert len({chunk.id for chunk in chunks}) == 1


def test_usage_counts_prompt_and_answer(engine: RunningEngine) -> None:
    usage = ask(engine, "base", max_tokens=7).usage
    # One token per byte and one per role: <|user|>, the text, <|assistant|>.
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(PROMPT) + 2, 7)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_seed_repeats_an_answer(engine: RunningEngine) -> None:
    sampled = [text(engine, "base", temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]


def test_a_stop_string_ends_the_answer_before_it(engine: RunningEngine) -> None:
    whole = text(engine, "base", max_tokens=60)
    stop = whole[20:23]
    answer = ask(engine, "base", max_tokens=60, stop=[stop])
    assert answer.choices[0].message.content == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"
    streamed = ask(engine, "base", max_tokens=60, stop=stop, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in streamed) == whole[: whole.index(stop)]


def test_a_stop_token_of_the_run_ends_the_answer_and_is_not_shown(engine: RunningEngine) -> None:
    home = engine.home
    tokens = home.reference(PROMPT, 60)
    stop = next(token for token in tokens[10:] if token not in tokens[:10])
    until = tokens.index(stop)
    run = home.run("stopping-1")
    shutil.copytree(home.run("tuned-1") / "tokenizer", run / "tokenizer")
    (run / "plan.json").write_text(json.dumps({"model": home.base}))
    facts = json.loads((run / "tokenizer" / "renderer.json").read_text())
    (run / "tokenizer" / "renderer.json").write_text(json.dumps({**facts, "stop_ids": [1, stop]}))
    answer = ask(engine, "base", max_tokens=60, extra_body={"template_of": "run:stopping-1"})
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content == home.text(tokens[:until])
    assert answer.usage.completion_tokens == until + 1


def test_the_base_can_use_a_runs_template(engine: RunningEngine) -> None:
    run = engine.home.run("early-1") / "tokenizer" / "chat_template.jinja"
    before = run.read_text()
    plain = ask(engine, "base")
    run.write_text(before.replace("'<|' + m.role + '|>'", "'<|' + m.role + '|>' + '> '"))
    (run.parent / "touched").touch()
    try:
        other = ask(engine, "base", extra_body={"template_of": "run:early-1"})
    finally:
        run.write_text(before)
        (run.parent / "touched").unlink()
    assert other.usage.prompt_tokens == plain.usage.prompt_tokens + 2
    same = ask(engine, "base", extra_body={"template_of": "run:tuned-1"})
    assert same.choices[0].message.content == plain.choices[0].message.content


def test_models_are_the_base_and_its_runs_that_can_answer(engine: RunningEngine) -> None:
    runs = {"tuned-1", "early-1", "moved-1", *(f"{method}-1" for method in OWN)}
    listed = [model.id for model in engine.client.models.list()]
    assert sorted(listed) == sorted(["base", "merge:merge-1", *(f"run:{run}" for run in runs)])


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": "run:nothing-1"}, 404, "run_missing"),
        ({"model": "gpt-4o"}, 404, "chat_model_unknown"),
        ({"model": "run:foreign-1"}, 404, "chat_model_unknown"),
        ({"model": "run:empty-1"}, 409, "run_has_no_adapter"),
        ({"model": "run:moved-1"}, 409, "run_base_changed"),
        ({"model": "run:tuned-1@5"}, 404, "checkpoint_missing"),
        ({"temperature": -1}, 400, "chat_field_wrong"),
        ({"top_p": 1.5}, 400, "chat_field_wrong"),
        ({"max_tokens": 0}, 400, "chat_field_wrong"),
        ({"stop": ["a", "b", "c", "d", "e"]}, 400, "chat_field_wrong"),
        ({"n": 65}, 400, "chat_field_wrong"),
        ({"logprobs": True, "top_logprobs": 21}, 400, "chat_field_wrong"),
        ({"frequency_penalty": 3}, 400, "chat_field_wrong"),
        ({"logit_bias": {"5": 1}}, 400, "chat_field_unsupported"),
        ({"prompt": "x" * CONTEXT}, 400, "prompt_too_long"),
        ({"extra_body": {"template_of": "base"}}, 404, "chat_model_unknown"),
    ],
)
def test_refusals_have_openais_shape(
    engine: RunningEngine, fields: dict[str, Any], status: int, code: str
) -> None:
    for stream in (False, True):
        error = refusal(engine, stream=stream, **fields)
        assert (error.status_code, error.code) == (status, code)
        assert set(error.body) == {"message", "type", "param", "code", "facts"}
    assert text(engine, "base", max_tokens=2)  # and it goes on answering


def test_a_run_that_goes_away_meanwhile_ends_its_own_answer_only(
    engine: RunningEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("backend.chat.runs.adapter_folder", lambda runs, _name: runs / "gone" / "adapter")
        error = refusal(engine, model="run:tuned-1")
    assert (error.status_code, error.code) == (404, "run_files_gone")
    assert text(engine, "run:tuned-1", max_tokens=2)


def test_a_prompt_that_is_too_long_names_both_lengths(engine: RunningEngine) -> None:
    error: Any = refusal(engine, prompt="x" * CONTEXT)
    assert error.body["facts"] == {"tokens": CONTEXT + 2, "context": CONTEXT}


def test_a_wrong_token_gets_nothing(engine: RunningEngine) -> None:
    stranger = openai.OpenAI(base_url=f"{engine.url}/v1", api_key="guessed", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    for headers in ({"Authorization": ""}, {"Authorization": f"Basic {engine.token}"}):
        assert raw(engine, "/v1/models", method="GET", **headers)[0] == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "192.168.1.7"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Host": "127.0.0.1:1"}, 200),  # a tunnel's port
        ({}, 200),
    ],
)
def test_pages_of_other_sites_are_refused(
    engine: RunningEngine, headers: dict[str, str], status: int
) -> None:
    assert raw(engine, "/v1/models", method="GET", **headers)[0] == status


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/chat/completions", b"not json", "chat_body_broken"),
        ("/v1/chat/completions", b"[1]", "chat_body_broken"),
        ("/v1/chat/completions", b'{"model": "base"}', "chat_field_wrong"),
        ("/v1/chat/completions", b'{"model": "base", "messages": []}', "chat_field_wrong"),
        ("/v1/embeddings", b"{}", "chat_path_unknown"),
    ],
)
def test_a_body_that_is_none_is_said_so(engine: RunningEngine, path: str, body: bytes, code: str) -> None:
    assert raw(engine, path, body)[1]["error"]["code"] == code


def test_a_client_that_leaves_ends_its_answer(engine: RunningEngine) -> None:
    """Streamed and not: an answer of 90,000 tokens stops within seconds of its client's leaving."""
    body: dict[str, Any] = {
        "model": "base",
        "messages": [{"role": "user", "content": engine.home.endless()}],
        "temperature": 0,
        "max_tokens": 90_000,
    }
    for stream in (True, False):
        connection = http.client.HTTPConnection("127.0.0.1", engine.engine.server.server_port, timeout=30)
        headers = {"Authorization": f"Bearer {engine.token}"}
        connection.request("POST", "/v1/chat/completions", json.dumps({**body, "stream": stream}), headers)
        if stream:
            assert connection.getresponse().readline().startswith(b"data: ")
        time.sleep(0.3)
        assert engine.engine.working
        connection.close()
        _wait_for(lambda: not engine.engine.working)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
