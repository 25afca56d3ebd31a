"""llama.cpp's side of benchmarks/llama_cpp.py: runs under a Python that has llama-cpp-python, and by itself.

    python -I llama_cpp_asked.py QUESTIONS ANSWERS

QUESTIONS is a JSON file: `file` (GGUF), `positions`, `max_tokens`, `prompts` (what a user says, each by
itself), `texts` (token ids whose last logits are wanted) and `strings` (to be tokenised). ANSWERS becomes an
.npz: `logits`, one after the other, and `said`, JSON.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np


def answer(model: Any, prompt: str, max_tokens: int) -> dict[str, Any]:
    """Ids of the prompt by the template inside the file, and the greedy answer as text and as ids."""
    messages = [{"role": "user", "content": prompt}]
    model.reset()
    made = model.create_chat_completion(messages, temperature=0.0, max_tokens=max_tokens)
    begin = made["usage"]["prompt_tokens"]
    asked, ids = model.input_ids[:begin].tolist(), model.input_ids[begin : model.n_tokens].tolist()
    choice = made["choices"][0]
    if choice["finish_reason"] == "length":  # the last token was said and not read again
        model.reset()
        ids = [int(token) for token in islice(model.generate(asked, temp=0.0), max_tokens)]
    return {"prompt": asked, "answer": ids, "text": choice["message"]["content"]}


def last_logits(model: Any, ids: list[int], positions: int) -> Any:
    """Logits (positions, vocabulary) at the end of a text."""
    model.reset()
    model.eval(ids)
    return model.scores[max(0, len(ids) - positions) : len(ids)].copy()


def main(questions: Path, answers: Path) -> None:
    """Ask all of it."""
    asked = json.loads(questions.read_text(encoding="utf-8"))
    model = llama_cpp.Llama(
        asked["file"], n_ctx=0, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False
    )
    said = {
        "version": llama_cpp.__version__,
        "answers": [answer(model, prompt, asked["max_tokens"]) for prompt in asked["prompts"]],
        "strings": [model.tokenize(text.encode(), add_bos=False, special=True) for text in asked["strings"]],
    }
    logits = [last_logits(model, text, asked["positions"]) for text in asked["texts"]]
    joined = np.concatenate(logits) if logits else np.empty((0, 0), np.float32)
    np.savez(answers, logits=joined, said=json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
