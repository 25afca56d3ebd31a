"""What was learned, by itself: thin matrices for PEFT, or a side network and the code that runs it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from studio.export.standalone import FILE, standalone_source
from studio.export.subject import Progress, Subject
from studio.exports.adapter import AdapterParams
from studio.identity import file_sha256, weight_files
from studio.merge.expand_adapter import COMPACT, expand
from studio.merge.verify import BOUNDS
from studio.models.config import load_config
from studio.models.load import keep_trainable
from studio.models.survey import family_of

TOKENIZER = "tokenizer"


class AdapterWriter:
    """See `studio.export.subject.Writer`."""

    def __init__(self, subject: Subject, params: AdapterParams) -> None:
        del params
        assert subject.adapter is not None, "the facade lets no whole model come here"
        self.subject, self.adapter = subject, subject.adapter

    @property
    def _beside(self) -> bool:
        return not (self.adapter / "adapter_config.json").is_file()

    def write(self, folder: Path, prompts: Sequence[Sequence[int]], progress: Progress) -> None:
        del prompts
        for file in sorted(self.adapter.iterdir()):
            if file.suffix in (".safetensors", ".json") and file.name not in ("manifest.json", COMPACT):
                shutil.copyfile(file, folder / file.name)
        if (self.adapter / COMPACT).is_file():
            expand(self.adapter, folder)
        progress(0.5)
        self.subject.renderer.save(folder / TOKENIZER)
        if self._beside:
            family = family_of(load_config(self.subject.base / "config.json"))
            (folder / FILE).write_text(standalone_source(family), encoding="utf-8")
            dtype = str(self.subject.dtype).removeprefix("torch.")
            facts = {
                "quantised": self._quantised(),
                "dtype": dtype,
                "base": self.subject.base_hash,
                "base_files": self._base_files(),
            }
            body = json.loads((folder / "side.json").read_text(encoding="utf-8"))
            (folder / "side.json").write_text(json.dumps(body | facts, indent=1), encoding="utf-8")
        progress(1.0)

    def open(self, folder: Path) -> nn.Module:
        if self._beside:
            load = run_file(folder / FILE).load
            return cast(
                nn.Module, load(str(self.subject.base), folder, check=False, dtype=self.subject.dtype)
            )
        from peft import PeftModel

        options: dict[str, Any] = {"dtype": self.subject.dtype, "local_files_only": True}
        if quantised := self._quantised():
            config: Any = BitsAndBytesConfig
            options["quantization_config"] = config(**quantised, bnb_4bit_compute_dtype=self.subject.dtype)
        model: Any = AutoModelForCausalLM.from_pretrained(self.subject.base, **options)
        keep_trainable(model)  # the packed form has arithmetic of its own, and fails on narrow layers
        return cast(nn.Module, PeftModel.from_pretrained(model, str(folder)).eval())

    def allowed(self, folder: Path) -> float:
        del folder
        return BOUNDS[self.subject.dtype]

    def _base_files(self) -> dict[str, str]:
        """sha256 of each weight file of the base, which the loader compares."""
        known = self.subject.base_files
        if known is not None:
            return dict(known)
        return {file.name: file_sha256(file) for file in weight_files(self.subject.base)}

    def _quantised(self) -> dict[str, Any] | None:
        """bitsandbytes' settings for the base, as transformers takes them."""
        held = self.subject.quantisation
        if held is None:
            return None
        kinds = {"bnb_4bit_quant_type": held.kind, "bnb_4bit_use_double_quant": held.double}
        return {"load_in_4bit": True, **kinds}


def run_file(file: Path) -> Any:
    """The module that a file is, under a name of its own."""
    name = f"exported_{abs(hash(file))}"
    spec = util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
