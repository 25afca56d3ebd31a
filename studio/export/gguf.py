"""A whole model as one GGUF file (the format of llama.cpp), tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gguf
import numpy as np
import torch
from gguf.constants import GGMLQuantizationType as Kind
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from studio.errors import StudioError
from studio.export.gguf_words import add_words
from studio.export.ollama import modelfile
from studio.export.subject import Progress, Subject
from studio.exports.gguf import GgufParams
from studio.identity import weight_files
from studio.merge import shards
from studio.merge.into_base import moved, require_places
from studio.merge.layout import Layout
from studio.merge.verify import BOUNDS
from studio.models.config import load_config

MODELFILE = "Modelfile"
_FILE_TYPES = {
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
_KINDS = {"f16": Kind.F16, "bf16": Kind.BF16, "q8_0": Kind.Q8_0}
# As `studio.merge.verify.BOUNDS`; 8 bit rounds to a 254th of a block's largest weight, see docs/export.md.
_BOUNDS = {"f16": BOUNDS[torch.float16], "bf16": BOUNDS[torch.bfloat16], "q8_0": 0.1}
# llama.cpp has one code for both; it knows no sliding window there.
_ARCHITECTURES = {"mistral": "llama"}


@dataclass(frozen=True)
class _Tensor:
    """One tensor to come: its name and kind in the file, where it is now and what it is called there."""

    name: str
    kind: Kind
    file: Path
    place: shards.Place
    parameter: str


class GgufWriter:
    """See `studio.export.subject.Writer`."""

    def __init__(self, subject: Subject, params: GgufParams) -> None:
        self._subject, self._params = subject, params
        self._config = load_config(subject.base / "config.json")
        self._stretch = rope_factors(self._config)
        self._architecture = _ARCHITECTURES.get(self._config["model_type"], self._config["model_type"])

    @property
    def file(self) -> str:
        """The name of the one file."""
        return f"model-{self._params.type}.gguf"

    def write(self, folder: Path, prompts: Sequence[Sequence[int]], progress: Progress) -> None:
        """Raises StudioError `export_tokenizer_unknown`, `export_tokenizer_differs`, `export_rope_unknown`,
        `merge_tensor_unknown`."""
        layout, files = Layout(self._subject.base), weight_files(self._subject.base)
        change = self._subject.change(layout, self._params.exact)
        require_places(files, layout, change.names)
        tensors = list(self._tensors(layout, files))
        writer = gguf.GGUFWriter(folder / self.file, self._architecture)
        self._add_facts(writer)
        vocabulary = next(t.place.shape[0] for t in tensors if t.name == "token_embd.weight")
        around = add_words(writer, self._subject.words, self._subject.renderer, vocabulary, prompts)
        for tensor in tensors:
            size = gguf.quant_shape_to_byte_shape(tensor.place.shape, tensor.kind)
            writer.add_tensor_info(
                tensor.name, tensor.place.shape, np.dtype(np.float32), int(np.prod(size)), tensor.kind
            )
        if self._stretch is not None:
            factors = self._stretch.numpy()
            writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        total, done = sum(t.place.end - t.place.start for t in tensors), 0
        for tensor in tensors:
            weight = moved(change, tensor.parameter, shards.read(tensor.file, tensor.place), 1.0)
            writer.write_tensor_data(gguf.quantize(self._turned(tensor, weight).numpy(), tensor.kind))
            done += tensor.place.end - tensor.place.start
            progress(done / total)
        if self._stretch is not None:
            writer.write_tensor_data(self._stretch.numpy())
        writer.close()
        written = modelfile(self.file, self._subject.renderer, around.begin, around.lead)
        (folder / MODELFILE).write_text(written, encoding="utf-8")

    def open(self, folder: Path) -> nn.Module:
        config = AutoConfig.from_pretrained(folder, gguf_file=self.file, local_files_only=True)
        if self._stretch is not None:  # which llama.cpp reads out of the file, and transformers does not
            config.rope_parameters = _rope(self._config)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=self.file, config=config, dtype=self._subject.dtype, local_files_only=True
        )
        return cast(nn.Module, model.eval())

    def allowed(self, folder: Path) -> float:
        del folder
        return max(_BOUNDS[self._params.type], BOUNDS[self._subject.dtype])

    def _tensors(self, layout: Layout, files: list[Path]) -> Iterator[_Tensor]:
        names = gguf.get_tensor_name_map(
            gguf.MODEL_ARCH[self._architecture.upper()], self._config["num_hidden_layers"]
        )
        seen = set()
        for file in files:
            places = shards.places(file)
            parameters = layout.parameters(place.name for place in places)
            for place in places:
                # A weight that two names share is stored once.
                parameter = parameters.get(place.name)
                if parameter is None or parameter in seen:
                    continue
                seen.add(parameter)
                name = names.get_name(parameter, try_suffixes=(".weight", ".bias"))
                if name is None:
                    raise StudioError("merge_tensor_unknown", tensors=[place.name], count=1)
                yield _Tensor(name, self._kind(place), file, place, parameter)

    def _kind(self, place: shards.Place) -> Kind:
        """Vectors stay in 32 bit; a matrix whose rows are no whole blocks is not rounded to them."""
        if len(place.shape) == 1:
            return Kind.F32
        wanted = _KINDS[self._params.type]
        return Kind.F16 if place.shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0] else wanted

    def _turned(self, tensor: _Tensor, weight: Tensor) -> Tensor:
        """llama.cpp's Llama pairs neighbouring entries in rotary positions, where transformers pairs halves:
        the rows of queries and keys change places."""
        if self._architecture != "llama" or not (".attn_q." in tensor.name or ".attn_k." in tensor.name):
            return weight.contiguous()
        config = self._config
        heads = config["num_attention_heads"]
        if ".attn_k." in tensor.name:
            heads = config.get("num_key_value_heads") or heads
        halves = weight.view(heads, 2, -1, *weight.shape[1:])
        return halves.transpose(1, 2).reshape(weight.shape).contiguous()

    def _add_facts(self, writer: gguf.GGUFWriter) -> None:
        config = self._config
        heads = config["num_attention_heads"]
        head_dim = _head_dim(config)
        window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
        context = config["max_position_embeddings"]
        writer.add_name(self._architecture)  # transformers reads more out of the name than a name
        writer.add_file_type(_FILE_TYPES[self._params.type])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        # Beyond a sliding window the two would differ, so the file does not offer to go there.
        writer.add_context_length(min(context, window) if window else context)
        writer.add_embedding_length(config["hidden_size"])
        writer.add_block_count(config["num_hidden_layers"])
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count(heads)
        writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_rope_dimension_count(head_dim)
        writer.add_rope_freq_base(_rope(config)["rope_theta"])
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _head_dim(config: dict[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """What the configuration says of rotary positions, in an older file or a newer one."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return {"rope_theta": config.get("rope_theta", 10000.0), **given}


def rope_factors(config: dict[str, Any]) -> Tensor | None:
    """What each frequency of the rotary positions is divided by, as llama.cpp reads it (head_dim / 2); None
    where the positions are as they are.

    Llama 3.1 stretches low frequencies, leaves high ones, and goes from one to the other between. Raises
    StudioError `export_rope_unknown` (rope) for other ways of stretching.
    """
    rope = _rope(config)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind != "llama3":
        raise StudioError("export_rope_unknown", rope=kind)
    size = _head_dim(config)
    wavelengths = 2 * torch.pi * rope["rope_theta"] ** (torch.arange(0, size, 2).double() / size)
    turns = rope["original_max_position_embeddings"] / wavelengths
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    factors: Tensor = (1 / ((1 - kept) / rope["factor"] + kept)).float()
    return factors
