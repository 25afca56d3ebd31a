"""The recipe of this model, runnable: `python recipe.py --data ROWS.jsonl --model FOLDER_OR_HUB_ID`.

With the studio itself:

    COMMAND

This script needs torch, transformers and peft only (bitsandbytes for a base in 4 bit). It follows the same
recipe in plain code; it does not draw the same batches, so expect a like result, not an equal one. A row of
the data is {"messages": [...]}, {"prompt", "completion"} or {"instruction", "input", "output"}.
"""

import argparse
import json
import random
import re
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, get_scheduler

RECIPE = {}
OPEN, CLOSE = "\ue000", "\ue001"


def messages(row):
    """A row as a conversation."""
    if "messages" in row:
        return row["messages"]
    asked = row.get("prompt") or "\n".join(filter(None, (row["instruction"], row.get("input"))))
    answer = row["completion"] if "completion" in row else row["output"]
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def encode(row, tokenizer):
    """Token ids, and the labels: those of every answer with the token that ends it, -100 elsewhere."""
    text, spans = answers(messages(row), tokenizer)
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, special = coded["input_ids"], set(tokenizer.all_special_ids)
    labels = [-100] * len(ids)
    for place, (start, end) in enumerate(coded["offset_mapping"]):
        for first, last in spans:
            swallowed = start < first and ids[place] in special  # a role's token with white space behind it
            if start < last and end > first and not swallowed:
                labels[place] = ids[place]
    return ids[: RECIPE["seq"]], labels[: RECIPE["seq"]]


def answers(said, tokenizer):
    """The conversation as text, and where each answer stands in it."""
    hello = [{"role": "user", "content": "Hello?"}]
    asked = tokenizer.apply_chat_template(hello, tokenize=False)
    prompted = tokenizer.apply_chat_template(hello, tokenize=False, add_generation_prompt=True)
    pairs = zip(asked, prompted, strict=False)
    shared = next(
        (at for at, (one, other) in enumerate(pairs) if one != other), min(len(asked), len(prompted))
    )
    opening = prompted[shared:]
    marked = tokenizer.apply_chat_template([wrapped(message) for message in said], tokenize=False)
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    ends = re.compile(r"\s*(" + "|".join(map(re.escape, [*added, *tokenizer.all_special_tokens])) + ")")
    text, *pieces = marked.split(OPEN)
    spans, before = [], 0
    for piece in pieces:
        answer, rest = piece.split(CLOSE)
        opened = text.rfind(opening, before) if opening else -1
        start = len(text) if opened < 0 else opened + len(opening)
        closed = ends.match(rest)
        before = len(text) + len(answer)
        spans.append((start, before + (closed.end() if closed else 0)))
        text += answer + rest
    if text != tokenizer.apply_chat_template(said, tokenize=False):
        raise SystemExit("The chat template of this base changes or leaves out an answer.")
    return text, spans


def wrapped(message):
    """An answer between marks, which stand inside the white space at its ends; others as they are."""
    if message["role"] != "assistant":
        return message
    core = message["content"].strip()
    return {**message, "content": message["content"].replace(core, f"{OPEN}{core}{CLOSE}", 1)}


def batch_of(rows, pad):
    """Rows padded on the right to the longest."""
    longest = max(len(ids) for ids, _ in rows)
    filled = [
        (ids + [pad] * (longest - len(ids)), labels + [-100] * (longest - len(ids))) for ids, labels in rows
    ]
    mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows]
    ids, labels = zip(*filled, strict=True)
    return torch.tensor(ids), torch.tensor(labels), torch.tensor(mask)


def load(name, device):
    """The base, with the adapter that is to be trained."""
    dtype = torch.float32 if RECIPE["precision"] == "fp32" else torch.bfloat16
    options = {}
    if RECIPE["quantised"]:
        config = BitsAndBytesConfig(**RECIPE["quantised"], bnb_4bit_compute_dtype=dtype)
        options = {"quantization_config": config, "device_map": {"": device}}
    model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, **options)
    model = model if RECIPE["quantised"] else model.to(device)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):  # its packed form passes no gradient on
            module.support_avx512bf16_for_cpu = False
    if RECIPE["lora"] is None:
        return model
    from peft import LoraConfig, get_peft_model

    model.requires_grad_(False)
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **RECIPE["lora"]))


def main():
    """Train, and save beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the rows, one JSON object a line")
    help = f"the base, a folder or a hub id: {RECIPE['base']}"
    parser.add_argument("--model", default=RECIPE["model"], help=help.replace("%", "%%"))
    parser.add_argument("--steps", type=int, default=RECIPE["steps"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", default="trained")
    given = parser.parse_args()
    if given.model is None:
        parser.error(f"--model is needed, the folder of {RECIPE['base']}")
    torch.manual_seed(RECIPE["seed"])
    order = random.Random(RECIPE["seed"])
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    lines = Path(given.data).read_text(encoding="utf-8").splitlines()
    rows = [encode(json.loads(line), tokenizer) for line in lines if line.strip()]
    model = load(given.model, given.device).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RECIPE["lr"], weight_decay=RECIPE["weight_decay"])
    warmup = round(RECIPE["warmup"] * given.steps)
    schedule = get_scheduler(RECIPE["schedule"], optimizer, warmup, given.steps)
    waiting = []
    for step in range(given.steps):
        batches = []
        for _ in range(RECIPE["accumulation"]):
            if len(waiting) < RECIPE["batch"]:
                waiting += order.sample(rows, len(rows))
            batches.append(batch_of(waiting[: RECIPE["batch"]], tokenizer.pad_token_id or 0))
            del waiting[: RECIPE["batch"]]
        learned = sum(int((labels[:, 1:] != -100).sum()) for _, labels, _ in batches)
        total = 0.0
        for ids, labels, mask in batches:
            logits = model(input_ids=ids.to(given.device), attention_mask=mask.to(given.device)).logits
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1).float(),
                labels[:, 1:].flatten().to(given.device),
                reduction="sum",
            )
            (loss / learned).backward()
            total += loss.item() / learned
        if RECIPE["grad_clip"]:
            torch.nn.utils.clip_grad_norm_(trained, RECIPE["grad_clip"])
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        print(json.dumps({"step": step + 1, "loss": round(total, 4)}), flush=True)
    model.save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)


if __name__ == "__main__":
    main()
