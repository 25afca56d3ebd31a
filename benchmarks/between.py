"""What weights between a base and a run of full tuning take in the chat: `python -m benchmarks.between`.

Random Llama weights, held in 32 bit, and a run's saved in bf16. Six weights are asked for, one after the
other; what counts is the resident memory above that with the base alone, in copies of the base. The peak has
the pages of the run's file in it, which the system may take back. Linux only; writes
benchmarks/results/between.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.merging import ROOT, resident, write_model

RESULT = ROOT / "benchmarks" / "results" / "between.json"
WEIGHTS = (1.0, 0.5, 0.25, 0.75, 0.1, 0.9)


def run(layers: int) -> dict[str, Any]:
    """Load the base, then move the weight."""
    import torch
    from safetensors.torch import save_file

    from studio.generate.request import Request
    from studio.generate.tuned import Shared, TunedDecoders
    from studio.models.load import load_model
    from studio.plan import methods
    from studio.train.full import WEIGHTS as FILE

    torch.set_num_threads(1)
    full, rows = methods.get("full"), []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_model(folder, layers, "130MB")
        model: Any = load_model(folder, dtype=torch.float32, device="cpu").eval()
        tuned = {n: (p + 0.01 * torch.randn_like(p)).bfloat16() for n, p in model.named_parameters()}
        (folder / "run").mkdir()
        save_file(tuned, folder / "run" / FILE)
        copy = sum(4 * parameter.numel() for parameter in model.parameters())
        del tuned
        gc.collect()
        base = resident("VmRSS")
        decoders = TunedDecoders(
            Shared(model), lambda _: load_model(folder, dtype=torch.float32, device="cpu")
        )
        for weight in WEIGHTS:
            Path("/proc/self/clear_refs").write_text("5")  # sets the peak back
            began = time.monotonic()
            decoder = decoders.between(folder / "run", full, full.params(), weight)
            took = time.monotonic() - began
            decoder.add(Request((1, 2, 3), max_tokens=4))
            while decoder.busy:
                decoder.step()
            held, peak = ((resident(field) - base) / copy for field in ("VmRSS", "VmHWM"))
            rows.append({"weight": weight, "copies": held, "copies_at_peak": peak, "seconds": took})
    return {"copy_bytes": copy, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=12)
    asked = parser.parse_args()
    document = {"command": "python -m benchmarks.between", **run(asked.layers)}
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
