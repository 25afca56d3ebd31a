"""The endpoint of `serve`: its models, its key, its limits, its end; then the whole job with its command."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from backend.api import ServeRequest
from backend.chat.protocol import Limits
from backend.home import open_home
from backend.jobs.kinds.serve import Served
from backend.jobs.queue import any_worker_lives
from backend.parts import recipe_of
from backend.serving import ServePlan, key_of, start
from backend.store.database import open_store
from studio.errors import StudioError
from studio.merge.combine import combine
from studio.names import mix, mix_of, parse
from tests.chat.homes import CONTEXT, ChatHome, write_home

ROOT = Path(__file__).resolve().parents[2]
KEY = "a key of my own"
PROMPT = "tell me"


def plan_of(home: ChatHome, *models: str, limits: Limits | None = None) -> ServePlan:
    return ServePlan(home.base, models, home.base, "127.0.0.1", 0, "cpu", limits or Limits())


@contextlib.contextmanager
def serving(plan: ServePlan, home: ChatHome) -> Iterator[tuple[Served, openai.OpenAI]]:
    environment = dict(os.environ)
    served = Served(open_home(home.root), plan, KEY)
    served.start()
    assert served.answering.ready.wait(60)
    client = openai.OpenAI(base_url=f"{served.server.url}/v1", api_key=KEY, max_retries=0)
    try:
        yield served, client
    finally:
        client.close()
        served.close()
        served.answering.join(20)
        assert not served.answering.is_alive()
        os.environ.clear()
        os.environ.update(environment)


@pytest.fixture(scope="module")
def client(chat_home: ChatHome) -> Iterator[openai.OpenAI]:
    limits = Limits(body_bytes=20_000, rows=2, waiting=2, tokens=40)
    models = (chat_home.base, "run:tuned-1", "run:tuned-1@best", "run:early-1")
    with serving(plan_of(chat_home, *models, limits=limits), chat_home) as (_, made):
        yield made


def ask(client: openai.OpenAI, model: str, prompt: str = PROMPT, **more: Any) -> Any:
    settings = {"temperature": 0.0, "max_tokens": 30, **more}
    messages: Any = [{"role": "user", "content": prompt}]
    return client.chat.completions.create(model=model, messages=messages, **settings)


def refusal(client: openai.OpenAI, model: str, **more: Any) -> Any:
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client, model, **more)
    return refused.value.status_code, refused.value.code


def test_every_served_model_answers_by_its_name(chat_home: ChatHome, client: openai.OpenAI) -> None:
    places = {
        chat_home.base: None,
        "run:tuned-1": "tuned-1/adapter",
        "run:tuned-1@best": "tuned-1/checkpoints/step-00000004/adapter",
        "run:early-1": "early-1/checkpoints/step-00000006/adapter",
    }
    assert [model.id for model in client.models.list()] == list(places)
    answers = {}
    for model, place in places.items():
        adapter = None if place is None else chat_home.root / "runs" / place
        answer = ask(client, model)
        assert answer.model == model
        answers[model] = answer.choices[0].message.content
        assert answers[model] == chat_home.text(chat_home.reference(PROMPT, 30, adapter))
    assert len(set(answers.values())) == 4


def test_what_is_not_served_does_not_answer(client: openai.OpenAI) -> None:
    for other in ("base", "run:lst-1", "run:nothing-1", "gpt-4o"):
        assert refusal(client, other) == (404, "serve_model_unknown")
    body = {"template_of": "run:lst-1"}
    assert refusal(client, "run:tuned-1", extra_body=body) == (404, "serve_model_unknown")


def test_a_mix_is_served_by_its_name(chat_home: ChatHome, tmp_path: Path) -> None:
    """It answers as the adapter that a merge of the same parts writes; another weight is another model."""
    parts = [("run:tuned-1", 0.6), ("run:early-1", 0.4)]
    name, other = (str(mix(chat_home.base, adapters)) for adapters in (parts, parts[:1]))
    recipe = recipe_of(chat_home.root / "runs", mix_of(parse(name)))
    written = combine(recipe.inputs, recipe.how, recipe.params, tmp_path / "merged").folder
    with serving(plan_of(chat_home, "run:tuned-1", name), chat_home) as (_, client):
        assert [model.id for model in client.models.list()] == ["run:tuned-1", name]
        answer = ask(client, name)
        assert answer.model == name
        said = answer.choices[0].message.content
        assert said == chat_home.text(chat_home.reference(PROMPT, 30, written))
        assert said != ask(client, "run:tuned-1").choices[0].message.content
        assert refusal(client, other) == (404, "serve_model_unknown")


def test_limits_hold(client: openai.OpenAI) -> None:
    assert refusal(client, "run:tuned-1", prompt="x" * 20_000) == (413, "chat_body_too_large")
    assert refusal(client, "run:tuned-1", max_tokens=41) == (400, "chat_field_wrong")
    assert refusal(client, "run:tuned-1", n=3) == (400, "chat_field_wrong")
    answer = ask(client, "run:tuned-1", max_tokens=None)
    assert answer.usage.completion_tokens == 40
    assert answer.choices[0].finish_reason == "length"


def test_a_full_queue_is_said_so_and_empties(chat_home: ChatHome) -> None:
    """Two answers at a time and one more in line: of six, three are refused at once, and room comes back."""
    limits = Limits(rows=2, waiting=1)
    with serving(plan_of(chat_home, chat_home.base, limits=limits), chat_home) as (served, client):
        prompt = chat_home.endless()
        streams = [
            ask(client, chat_home.base, prompt=prompt, max_tokens=90_000, stream=True) for _ in range(3)
        ]
        for _ in range(3):
            assert refusal(client, chat_home.base) == (429, "chat_queue_full")
        for stream in streams:
            stream.close()
        deadline = time.monotonic() + 30
        while served.server.open_requests and time.monotonic() < deadline:
            time.sleep(0.02)
        assert ask(client, chat_home.base).usage.completion_tokens == 30


def test_nobody_ends_it_by_a_request_and_a_wrong_key_gets_nothing(client: openai.OpenAI) -> None:
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=30)
    connection.request("POST", "/shutdown", b"{}", {"Authorization": f"Bearer {KEY}"})
    assert connection.getresponse().status == 404
    connection.close()
    keyless = client.with_options(default_headers={"Authorization": "Basic guessed"})
    for stranger in (client.with_options(api_key="guessed"), keyless):
        with pytest.raises(openai.AuthenticationError) as refused:
            ask(stranger, "run:tuned-1")
        body: Any = refused.value.body
        assert (body["type"], body["code"]) == ("authentication_error", "chat_token_wrong")
        assert body["message"].startswith(
            "The key is missing or wrong. Send the header Authorization: Bearer"
        )


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        (
            {"model": "gpt-4o"},
            None,
            "There is no model called gpt-4o here. Ask for one of {models}. GET /v1/models lists them.",
        ),
        (
            {"temperature": -1},
            "temperature",
            "temperature in the request should be a number from 0 to 2. "
            "Correct it and send the request again.",
        ),
        (
            {"max_tokens": 41},
            "max_tokens",
            "max_tokens in the request should be a whole number from 1 to 40. "
            "Correct it and send the request again.",
        ),
        ({"logit_bias": {"5": 1}}, "logit_bias", "logit_bias is not supported here. Leave it out."),
        ({"prompt": "x" * 20_000}, None, "The request is larger than 20 KB. Shorten the conversation."),
    ],
)
def test_a_refusal_is_a_sentence(
    chat_home: ChatHome, client: openai.OpenAI, fields: dict[str, Any], param: str | None, message: str
) -> None:
    models = ", ".join((chat_home.base, "run:tuned-1", "run:tuned-1@best", "run:early-1"))
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client, **{"model": "run:tuned-1", **fields})
    body: Any = refused.value.body
    assert (body["message"], body["param"]) == (message.format(models=models), param)


def test_a_conversation_that_is_too_long_is_refused_in_a_sentence(chat_home: ChatHome) -> None:
    with serving(plan_of(chat_home, chat_home.base), chat_home) as (_, client):
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError) as refused:
                ask(client, chat_home.base, prompt="x" * CONTEXT, stream=stream)
            body: Any = refused.value.body
            assert body["code"] == "prompt_too_long"
            assert body["message"] == (
                f"The conversation has {CONTEXT + 2:,} tokens, and this model can hold {CONTEXT:,} with its "
                "answer. Start a new conversation, or shorten the prompt."
            )


def test_one_model_is_told_by_its_name(chat_home: ChatHome, client: openai.OpenAI) -> None:
    for listed in client.models.list():
        assert client.models.retrieve(listed.id) == listed
    assert "/" in chat_home.base
    for other in ("base", "run:lst-1", "gpt-4o"):
        with pytest.raises(openai.NotFoundError) as refused:
            client.models.retrieve(other)
        assert refused.value.code == "serve_model_unknown"


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("DELETE", "/v1/models/run:tuned-1", 405, "chat_method_wrong", "GET"),
        ("POST", "/v1/models", 405, "chat_method_wrong", "GET"),
        ("GET", "/v1/chat/completions?a=b", 405, "chat_method_wrong", "POST"),
        ("PATCH", "/v1/completions", 405, "chat_method_wrong", "POST"),
        ("DELETE", "/v1/nothing", 404, "chat_path_unknown", None),
        ("GET", "/", 404, "chat_path_unknown", None),
        ("BREW", "/v1/models", 501, "chat_body_broken", None),
        ("GET", "/" + "x" * 70_000, 414, "chat_body_broken", None),
    ],
)
def test_what_is_not_there_is_refused_in_json(
    client: openai.OpenAI, method: str, path: str, status: int, code: str, allow: str | None
) -> None:
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=30)
    connection.request(method, path, headers={"Authorization": f"Bearer {KEY}"})
    response = connection.getresponse()
    assert (response.status, response.getheader("Allow")) == (status, allow)
    assert response.getheader("Content-Type") == "application/json"
    error = json.loads(response.read())["error"]
    assert set(error) == {"message", "type", "param", "code", "facts"}
    assert error["code"] == code
    assert code not in error["message"]
    connection.close()


def test_a_refusal_without_a_body_leaves_the_connection_usable(client: openai.OpenAI) -> None:
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=30)
    for method, status in (("HEAD", 405), ("GET", 200)):
        connection.request(method, "/v1/models", headers={"Authorization": f"Bearer {KEY}"})
        response = connection.getresponse()
        assert response.status == status
        assert bool(response.read()) == (method == "GET")
    connection.close()


def test_answers_are_let_out_and_new_ones_refused_at_the_end(chat_home: ChatHome) -> None:
    with serving(plan_of(chat_home, chat_home.base), chat_home) as (served, client):
        stream = ask(client, chat_home.base, max_tokens=300, stream=True)
        next(iter(stream))
        closing = threading.Thread(target=served.close)
        closing.start()
        while not served._closing:
            time.sleep(0.001)
        assert refusal(client, chat_home.base) == (503, "chat_engine_ending")
        finish = [choice.finish_reason for chunk in stream for choice in chunk.choices][-1]
        assert finish in ("stop", "length")
        closing.join(10)
        assert not closing.is_alive()


def test_an_answer_that_is_too_long_for_the_end_gets_its_error_in_ten_seconds(chat_home: ChatHome) -> None:
    with serving(plan_of(chat_home, chat_home.base), chat_home) as (served, client):
        prompt = chat_home.endless()
        stream = ask(client, chat_home.base, prompt=prompt, max_tokens=CONTEXT - 100, stream=True)
        next(iter(stream))
        began = time.monotonic()
        served.close()
        assert time.monotonic() - began < 10
        with pytest.raises(openai.APIError) as ended:
            list(stream)
        assert ended.value.code == "chat_engine_ending"
        assert ended.value.message.startswith("What answers here is about to end. Ask again")


@pytest.mark.parametrize(
    ("models", "host", "code"),
    [
        (("run:tuned-1",), "0.0.0.0", "api_key_needed"),
        (("run:tuned-1", "run:foreign-1"), "127.0.0.1", "serve_bases_differ"),
        (("run:tuned-1", "starter"), "127.0.0.1", "serve_bases_differ"),
        (("run:nothing-1",), "127.0.0.1", "run_missing"),
        (("run:empty-1",), "127.0.0.1", "run_has_no_adapter"),
        (("path:/nowhere",), "127.0.0.1", "model_missing"),
        ((str(mix("starter", [("run:nothing-1", 1.0)])),), "127.0.0.1", "run_missing"),
        ((str(mix("starter", [("run:tuned-1", 1.0)])), "run:tuned-1"), "127.0.0.1", "serve_bases_differ"),
    ],
)
def test_what_cannot_be_served_is_no_job(
    tmp_path: Path, chat_home: ChatHome, models: tuple[str, ...], host: str, code: str
) -> None:
    home = open_home(tmp_path)
    home.runs.rmdir()
    home.runs.symlink_to(chat_home.root / "runs")
    store = open_store(home.store, any_worker_lives)
    with pytest.raises(StudioError, match=code):
        start(home, store, ServeRequest(models, host=host), None)
    assert store.value("SELECT count(*) FROM job") == 0
    store.close()


def test_the_key_is_its_owners_and_in_no_table(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    store = open_store(home.store, any_worker_lives)
    job = start(home, store, ServeRequest(("starter",), host="0.0.0.0"), KEY)
    assert key_of(home, job) == KEY
    assert stat.S_IMODE((home.run(job) / "key").stat().st_mode) == 0o600
    dump = "\n".join(store.connection.iterdump())
    store.close()
    assert '"models": ["starter"]' in dump or '"models":["starter"]' in dump
    assert KEY not in dump


@pytest.mark.worker
def test_the_command_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    """`serve --json` in a process of its own: its document, the job in the list, SIGTERM, no leftovers."""
    home = write_home(tmp_path)
    common = [sys.executable, "-m", "ui.cli", "--home", str(home.root), "--json"]
    command = [*common, "serve", "run:tuned-1", home.base, "--max-tokens", "50"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "STUDIO_API_KEY": KEY}
    )
    assert process.stdout is not None
    text = ""
    while not text.endswith("}\n"):
        text += process.stdout.readline()
    document = json.loads(text)
    assert document["token"] == KEY
    assert document["models"] == ["run:tuned-1", home.base]
    client = openai.OpenAI(base_url=f"{document['url']}/v1", api_key=document["token"], max_retries=0)
    expected = home.text(home.reference(PROMPT, 30, home.run("tuned-1") / "adapter"))
    assert ask(client, "run:tuned-1").choices[0].message.content == expected
    with pytest.raises(openai.NotFoundError, match=r"There is no model called gpt-4o here\. Ask for one of"):
        ask(client, "gpt-4o")
    listed = subprocess.run(
        [*common, "runs", "list", "--kind", "serve"], capture_output=True, check=True, cwd=ROOT
    )
    (run,) = json.loads(listed.stdout)
    assert (run["run"], run["kind"], run["state"]) == (document["run"], "serve", "running")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert time.monotonic() - began < 10
    assert process.stdout.read() == ""
    with pytest.raises(openai.APIConnectionError):
        ask(client, "run:tuned-1")
    shown = subprocess.run(
        [*common, "runs", "show", document["run"]], capture_output=True, check=True, cwd=ROOT
    )
    assert json.loads(shown.stdout)["state"] == "stopped"
    assert not (home.run(document["run"]) / "endpoint.json").exists()
    assert "Traceback" not in (home.run(document["run"]) / "log.txt").read_text()
