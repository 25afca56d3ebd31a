"""What other programs do otherwise than this studio, as far as it shows in memory.

They serve to check the estimate against what others published, and to say what a run would take elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Switches:
    """The defaults are the studio's own ways.

    `autocast` to 16 bit whatever the weights are held in (None: as the plan's precision says). `kbit_casts`:
    weights outside 4 bit go to 32 bit, `all` (peft's prepare_model_for_kbit_training) or the norms alone.
    `outputs_alive`: the program holds the logits during the backward pass. `outputs_fp32`: it copies them to
    32 bit first (accelerate under autocast). `upcast`: where 16-bit logits become 32-bit ones: in the model's
    `forward`, in the `loss`, or not at all. `shift_copy`: the loss copies them without the last position.
    `alive_chunks`: positions of each row per chunk of logits where all chunks stay. `kernels` stand in place
    of the model's own code: `rms`, `rope`, `lora` (a 4-bit layer's adapter in one function), `padded` (an
    adapter put into zeros of the whole matrix), `repeated` (keys and values once for each head), `inputs` (a
    4-bit layer keeps its input: bitsandbytes before 0.43), `cached` (the cache of keys and values is filled
    although checkpointing is on; they look at all of the matrix that made them). `state_at_peak`: the
    optimizer's state is there when the longest batch comes. `reentrant`: torch's older kind of checkpointing.
    `experts_quantised`: experts are linear layers, and in 4 bit with the rest (transformers before 5).
    """

    autocast: bool | None = None
    kbit_casts: Literal["no", "norms", "all"] = "no"
    outputs_alive: bool = False
    outputs_fp32: bool = False
    upcast: Literal["forward", "loss", "no"] = "loss"
    shift_copy: bool = False
    alive_chunks: int | None = None
    kernels: frozenset[str] = frozenset()
    state_at_peak: bool = True
    reentrant: bool = False
    experts_quantised: bool = False


STUDIO = Switches()
