"""A hub on loopback and an empty cache for each test; the client reads both from its constants."""

import json

import numpy
import pytest
from huggingface_hub import constants
from safetensors.numpy import save

from tests.hub import server


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with server.running() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        running.repos["ada/tiny"] = server.Repo(tiny_model())
        yield running


def tiny_model() -> dict[str, bytes]:
    """Files of a small model, with others beside them that loading does not need."""
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 32,
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": save({"w": numpy.arange(60_000, dtype=numpy.float32)}),
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b"{}",
        "chat_template.jinja": b"{{ messages }}",
        "README.md": b"# Tiny",
        "pytorch_model.bin": b"never fetched",
        "onnx/model.json": b"never fetched",
        "consolidated.safetensors": b"never fetched",
    }
