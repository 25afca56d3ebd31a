"""The end of the file that `studio.export.standalone` makes: loading a side network, and asking it."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from studio.models.anatomy import Anatomy
from studio.train.side.hooks import Ladder
from studio.train.side.network import SideNetwork
from studio.train.side.shape import SideShape


def load(base: str, folder: str | Path = Path(__file__).parent, *, check: bool = True, **options: Any) -> Any:
    """The model `base` (a folder or a hub id) with the side network of `folder` beside it, ready to answer.

    `options` go to `from_pretrained`. A side network that was trained beside 4 bit gets its base in 4 bit.
    Raises ValueError for a base of another width or depth, and with `check`, which reads its weights once
    more, for one with other weights.
    """
    body = json.loads((Path(folder) / "side.json").read_text(encoding="utf-8"))
    files = body.get("base_files", {}) if check else {}
    if Path(base).is_dir():
        require_base(base, files, options)
    if body["quantised"] is not None:
        options = {"dtype": body["dtype"], **options}
        config: Any = BitsAndBytesConfig
        config = config(**body["quantised"], bnb_4bit_compute_dtype=options["dtype"])
        options = {"quantization_config": config, **options}
    model: Any = AutoModelForCausalLM.from_pretrained(base, **options)
    if not Path(base).is_dir():  # now its files are in the hub's cache
        require_base(base, files, options)
    model.eval()
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):  # bitsandbytes' other form for processors
            module.support_avx512bf16_for_cpu = False
    anatomy = Anatomy(model)
    shape = SideShape(**{**body["shape"], "taps": tuple(body["shape"]["taps"])})
    hidden, layers = anatomy.config.hidden_size, len(anatomy.layers)
    if shape.hidden != hidden or max(shape.taps) >= layers:
        raise ValueError(f"trained beside a model {shape.hidden} wide, this one is {hidden}, {layers} layers")
    head: Any = anatomy.head
    network = SideNetwork(shape, head.weight.shape[-1], body["mixed"])
    tensors = load_file(Path(folder) / "side.safetensors")
    network.to(tensors["up.weight"].dtype)
    network.load_state_dict(tensors)
    model.side = network.to(model.device).eval().requires_grad_(False)
    model.side_ladder = Ladder(anatomy, network)
    return model


def require_base(base: str, files: Mapping[str, str], options: Mapping[str, Any]) -> None:
    """Raises ValueError with the name of the first weight file that is not what `files` says (sha256)."""
    for name, wanted in files.items():
        if Path(base).is_dir():
            found: Any = Path(base) / name
        else:
            where = {key: options[key] for key in ("cache_dir", "revision") if options.get(key)}
            found = try_to_load_from_cache(base, name, **where)
        there = isinstance(found, str | Path) and Path(found).is_file()
        # The hub's cache calls a file's content by its sha256.
        if there and (Path(found).resolve().name == wanted or _sha256(Path(found)) == wanted):
            continue
        said = "has other content than the one" if there else "is missing, one of those"
        raise ValueError(f"{base}: {name} {said} that this was trained beside; --no-check takes it as it is")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main() -> None:
    """Answer the prompt of the command line, greedily."""
    parser = argparse.ArgumentParser(description="Answer a prompt with a side network beside its model.")
    parser.add_argument(
        "base", metavar="BASE", help="the model that it was trained beside: a folder or a hub id"
    )
    parser.add_argument("prompt", metavar="PROMPT", help="what to answer, in quotes")
    parser.add_argument(
        "--no-check", action="store_true", help="do not compare the weights of BASE with those of then"
    )
    asked = parser.parse_args()
    try:
        model = load(asked.base, check=not asked.no_check)
    except (OSError, ValueError) as error:  # there is no such model, or it is another one
        parser.exit(1, f"{error}\n")
    tokenizer: Any = AutoTokenizer.from_pretrained(Path(__file__).parent / "tokenizer")
    tokens = tokenizer.apply_chat_template(
        [{"role": "user", "content": asked.prompt}], add_generation_prompt=True, return_tensors="pt"
    )
    given = tokens.to(model.device)
    answer = model.generate(**given, max_new_tokens=256, do_sample=False)
    print(tokenizer.decode(answer[0, given["input_ids"].shape[1] :], skip_special_tokens=True))  # noqa: T201


if __name__ == "__main__":
    main()
